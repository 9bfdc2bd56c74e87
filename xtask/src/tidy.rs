//! Small things that review should not have to look for.

use std::path::Path;

use anyhow::Result;

use crate::workspace;

/// The longest source file of a library or program, in lines.
const LONGEST: usize = 600;

/// Words that mark unfinished work. Split, so that this file passes its own check.
const MARKERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];

/// Where home directories are: such a path means that somebody's machine is in the text.
const HOMES: [&str; 2] = ["/home/", "/Users/"];

/// Checks every text file under version control.
pub(crate) fn run() -> Result<()> {
    let checkout = format!("{}/", workspace::root().display());
    let mut found = Vec::new();
    for path in workspace::files()? {
        // Cargo writes the lock; its text is not ours.
        if path.ends_with("Cargo.lock") {
            continue;
        }
        let text = workspace::read(&path)?;
        found.extend(too_long(&path, &text));
        found.extend(lines(&path, &text, &checkout));
    }
    workspace::report("tidy", &found)
}

/// A file that has become more than one thing.
fn too_long(path: &Path, text: &str) -> Option<String> {
    let source = path.starts_with("crates")
        && path.iter().any(|part| part == "src")
        && path.extension().is_some_and(|extension| extension == "rs");
    let length = text.lines().count();
    (source && length > LONGEST).then(|| format!("{}: {length} lines, at most {LONGEST}", path.display()))
}

/// Lines with a marker or a path of one machine.
fn lines(path: &Path, text: &str, checkout: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), number + 1);
        for marker in MARKERS {
            if line.contains(marker) {
                found.push(format!("{place}: `{marker}` marks unfinished work"));
            }
        }
        // What a passing test prints, the harness keeps to itself.
        if path.starts_with("crates") && !path.ends_with("figures.rs") && line.contains("\"SKIPPED ") {
            found.push(format!("{place}: only `valkey_testkit::skipped` is heard"));
        }
        for home in HOMES.iter().copied().chain([checkout]) {
            if line.contains(home) && !path.starts_with("xtask/src") {
                found.push(format!("{place}: `{home}` is a path of one machine"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        let path = Path::new(path);
        lines(path, text, "/somewhere/checkout/").len() + usize::from(too_long(path, text).is_some())
    }

    #[test]
    fn markers_are_found() {
        assert_eq!(check("README.md", &format!("fine\n// {} later\n", MARKERS[0])), 1);
        assert_eq!(check("README.md", "nothing left to do\n"), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(check("docs/a.md", "see /home/somebody/notes"), 1);
        assert_eq!(check("docs/a.md", "see /somewhere/checkout/docs"), 1);
        assert_eq!(check("docs/a.md", "see /etc/valkit.toml"), 0);
    }

    #[test]
    fn words_that_the_harness_swallows_are_found() {
        assert_eq!(check("crates/a/tests/b.rs", "println!(\n    \"SKIPPED b: no Docker\"\n);"), 1);
        assert_eq!(check("crates/a/tests/b.rs", "valkey_testkit::skipped(\"no Docker\");"), 0);
    }

    #[test]
    fn only_sources_have_a_length() {
        let long = "x\n".repeat(LONGEST + 1);
        assert_eq!(check("crates/a/src/b/c.rs", &long), 1);
        assert_eq!(check("crates/a/tests/c.rs", &long), 0);
        assert_eq!(check("crates/a/src/c.rs", &"x\n".repeat(LONGEST)), 0);
    }
}
