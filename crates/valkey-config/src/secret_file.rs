//! Secrets that are kept in files: `PASSWORD_FILE=/run/secrets/password`.

use crate::bounded;
use crate::entry::Entry;
use crate::error::{Problem, ProblemKind};

/// More than any password or key, in MiB.
const LARGEST_SECRET: u64 = 1;

/// The content of the file that an entry names, without the newline that editors add.
pub(crate) fn secret_from_file(entry: &Entry<'_>) -> Result<String, Problem> {
    let unreadable = |path: &str, why: &dyn std::fmt::Display| {
        let message = format!("the secret's file {path:?} cannot be used: {why}");
        Problem::new(ProblemKind::Unreadable, &entry.origin, message)
    };
    let Some(path) = entry.text() else {
        return Err(Problem::new(ProblemKind::Value, &entry.origin, "expected a path in quotes"));
    };
    let bytes = bounded::read(path, LARGEST_SECRET).map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable(path, &"it is not UTF-8"))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(unreadable(path, &"it is empty")),
        secret => Ok(secret.to_owned()),
    }
}
