//! Secrets that are kept in files: `PASSWORD_FILE=/run/secrets/password`.

use std::io::Read as _;

use crate::entry::Entry;
use crate::error::{Problem, ProblemKind};

/// More than any password or key; a path like `/dev/zero` ends here.
const LARGEST_SECRET: u64 = 1 << 20;

/// The content of the file that an entry names, without the newline that editors add.
pub(crate) fn secret_from_file(entry: &Entry<'_>) -> Result<String, Problem> {
    let unreadable = |path: &str, why: &dyn std::fmt::Display| {
        let message = format!("the secret's file {path:?} cannot be used: {why}");
        Problem::new(ProblemKind::Unreadable, &entry.origin, message)
    };
    let Some(path) = entry.text() else {
        return Err(Problem::new(ProblemKind::Value, &entry.origin, "expected a path in quotes"));
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_SECRET + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LARGEST_SECRET {
        return Err(unreadable(path, &"it is larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable(path, &"it is not UTF-8"))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(unreadable(path, &"it is empty")),
        secret => Ok(secret.to_owned()),
    }
}
