//! Files that settings name. A path may lead to a pipe that nobody writes to, or to something without an end.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// More than any bundle of certificates, and any file of texts, in MiB.
const LARGEST: u64 = 1;

/// All of a file.
///
/// # Errors
/// It cannot be read, is no regular file, or is too large.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: whoever opens a pipe waits until somebody writes into it, for ever.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let most = LARGEST << 20;
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {LARGEST} MiB")));
    }
    Ok(bytes)
}

/// The same as text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("good"), "text").unwrap();
        assert_eq!(read_text(&path("good")).unwrap(), "text");
        std::fs::write(path("binary"), b"\xff").unwrap();
        assert!(read_text(&path("binary")).unwrap_err().to_string().contains("UTF-8"));
        std::fs::write(path("large"), vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(read(&path("large")).unwrap_err().to_string().contains("1 MiB"));
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        for no_file in [path("pipe"), directory.path().to_owned(), "/dev/zero".into()] {
            let error = read(&no_file).unwrap_err();
            assert!(error.to_string().contains("regular file"), "{no_file:?}: {error}");
        }
    }
}
