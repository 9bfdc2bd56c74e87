//! Documents that programs write: each is an example of this crate that prints it, and the file must be equal.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{run, workspace};

/// The document and the example in `xtask/examples/` that prints it.
const GENERATED: &[(&str, &str)] = &[("docs/configuration.md", "configuration")];

/// Fails if a document is not what its program prints.
pub(crate) fn compare() -> Result<()> {
    let mut found = Vec::new();
    for (document, example) in GENERATED {
        let expected = print(example)?;
        let actual = if workspace::root().join(document).is_file() {
            workspace::read(Path::new(document))?
        } else {
            String::new()
        };
        found.extend(difference(document, &actual, &expected));
    }
    workspace::report("generated documents are up to date", &found)
}

/// Writes all of them.
pub(crate) fn write() -> Result<()> {
    for (document, example) in GENERATED {
        let path = workspace::root().join(document);
        std::fs::write(&path, print(example)?).with_context(|| format!("cannot write {}", path.display()))?;
        run::step(format_args!("written: {document}"));
    }
    Ok(())
}

fn print(example: &str) -> Result<String> {
    let run = ["run", "--quiet", "--locked", "--package", "xtask", "--example", example];
    run::output(run::cargo().args(run))
}

/// Where the two part for the first time.
fn difference(document: &str, actual: &str, expected: &str) -> Option<String> {
    if actual == expected {
        return None;
    }
    let same = actual.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    let says = actual.lines().nth(same).unwrap_or("nothing more");
    let should = expected.lines().nth(same).unwrap_or("nothing more");
    let (says, should) = excerpts(says, should);
    Some(format!(
        "{document}:{}: says `{says}`, the code says `{should}`; `cargo xtask docs --write` brings it up to date",
        same + 1
    ))
}

/// A few words of each around the place where they part: a row of a table is long.
fn excerpts(a: &str, b: &str) -> (String, String) {
    const BEFORE: usize = 20;
    const LENGTH: usize = 80;
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let excerpt = |text: &str| text.chars().skip(same.saturating_sub(BEFORE)).take(LENGTH).collect();
    (excerpt(a), excerpt(b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{difference, excerpts};

    #[test]
    fn equal_documents_do_not_differ() {
        assert_eq!(difference("d", "a\nb\n", "a\nb\n"), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        let text = difference("d", "a\nb\n", "a\nc\n").unwrap();
        assert!(text.starts_with("d:2: says `b`, the code says `c`"), "{text}");
        assert!(difference("d", "", "a\n").unwrap().contains("d:1: says `nothing more`"));
        assert!(difference("d", "a\n", "a\n\n").is_some());
    }

    #[test]
    fn long_lines_are_cut_around_the_difference() {
        let long = "x".repeat(500);
        let (a, b) = excerpts(&format!("{long} one {long}"), &format!("{long} two {long}"));
        assert!(a.contains(" one ") && b.contains(" two ") && a.len() == 80, "{a} {b}");
        assert_eq!(excerpts("b", "c"), ("b".to_owned(), "c".to_owned()));
    }
}
