//! Files that may have no end.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// All of a file that has no more than so many MiB; a path like `/dev/zero` ends there.
pub(crate) fn read(path: impl AsRef<Path>, mebibytes: u64) -> io::Result<Vec<u8>> {
    let most = mebibytes << 20;
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {mebibytes} MiB"),
        ));
    }
    Ok(bytes)
}
