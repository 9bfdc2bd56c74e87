//! What the test harness said about each test, in the output of `cargo test` or of one test program.

use std::collections::BTreeMap;
use std::path::Path;

/// The end of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// The harness or the test itself did not do it, and why.
    Skipped(String),
}

/// The verdicts so far, by program and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The file name of the program that speaks.
    program: String,
    verdicts: BTreeMap<(String, String), Verdict>,
    /// Tests that said themselves that they were skipped; they pass, as far as the harness knows.
    skipped: Vec<(String, String, String)>,
}

impl Heard {
    /// Sets who speaks from here on.
    pub(crate) fn program(&mut self, path: &Path) {
        self.program = file_name(path);
    }

    /// Takes one line of output. Returns the test's name if the line tells its end.
    pub(crate) fn line(&mut self, line: &str) -> Option<String> {
        let line = line.trim();
        if let Some(heading) = line.strip_prefix("Running ").and_then(|rest| rest.strip_suffix(')')) {
            // Running tests/kill.rs (target/debug/deps/kill-0123456789abcdef)
            if let Some((_, path)) = heading.rsplit_once('(') {
                self.program(Path::new(path));
            }
            return None;
        }
        if line.starts_with("Doc-tests ") {
            self.program.clear();
            return None;
        }
        if let Some(at) = line.find("SKIPPED ") {
            if let Some((test, reason)) = line[at + "SKIPPED ".len()..].split_once(": ") {
                self.skipped.push((self.program.clone(), test.trim().to_owned(), reason.trim().to_owned()));
            }
            return None;
        }
        let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let name = name.trim_end_matches(" - should panic");
        let verdict = match verdict {
            "ok" => Verdict::Passed,
            "FAILED" => Verdict::Failed,
            other => {
                let reason = other.strip_prefix("ignored")?.trim_start_matches([',', ' ']);
                Verdict::Skipped(if reason.is_empty() { "marked `ignore`" } else { reason }.to_owned())
            }
        };
        self.verdicts.insert((self.program.clone(), name.to_owned()), verdict);
        Some(name.to_owned())
    }

    /// Names and verdicts of one program's tests.
    pub(crate) fn of(&self, program: &Path) -> Vec<(String, Verdict)> {
        let program = file_name(program);
        let of_it = self.verdicts.iter().filter(|((speaker, _), _)| *speaker == program);
        of_it
            .map(|((_, name), verdict)| {
                let said = self.skipped.iter().find(|(speaker, test, _)| {
                    *speaker == program
                        && (test == name || name.rsplit("::").next() == test.rsplit("::").next())
                });
                let verdict = match said {
                    Some((.., reason)) if *verdict == Verdict::Passed => Verdict::Skipped(reason.clone()),
                    _ => verdict.clone(),
                };
                (name.clone(), verdict)
            })
            .collect()
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running tests/kill.rs (target/debug/deps/kill-01)
test one ... ok
test deep::two - should panic ... FAILED
SKIPPED rules::three: no Docker
test rules::three ... ok
test four ... ignored, takes an hour
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out
     Running unittests src/lib.rs (/elsewhere/deps/kill-02)
test one ... FAILED
   Doc-tests kill
test src/lib.rs - one (line 3) ... ok
";

    fn heard() -> Heard {
        let mut heard = Heard::default();
        OUTPUT.lines().for_each(|line| {
            heard.line(line);
        });
        heard
    }

    #[test]
    fn verdicts_belong_to_the_program_that_spoke() {
        assert_eq!(
            heard().of(Path::new("/w/target/debug/deps/kill-01")),
            [
                ("deep::two".to_owned(), Verdict::Failed),
                ("four".to_owned(), Verdict::Skipped("takes an hour".to_owned())),
                ("one".to_owned(), Verdict::Passed),
                ("rules::three".to_owned(), Verdict::Skipped("no Docker".to_owned())),
            ]
        );
        assert_eq!(heard().of(Path::new("kill-02")), [("one".to_owned(), Verdict::Failed)]);
        assert_eq!(heard().of(Path::new("kill-03")), []);
    }

    #[test]
    fn only_the_end_of_a_test_is_one() {
        let mut heard = Heard::default();
        assert_eq!(heard.line("test one ... ok"), Some("one".to_owned()));
        for line in ["test result: ok. 1 passed; 0 failed", "running 3 tests", "test two ...", "ok"] {
            assert_eq!(heard.line(line), None, "{line}");
        }
    }
}
