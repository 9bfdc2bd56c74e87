//! The books of a run of tests, kept from what `cargo test` says.

use super::Heard;

/// The books of a test run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(super) suites: u32,
    pub(crate) failures: Vec<String>,
    pub(crate) skipped: Vec<String>,
    pub(super) heard: Heard,
}

impl Tally {
    /// Takes one line of the output of `cargo test`.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        self.heard.line(line);
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.suites += 1;
            self.passed += number_before(counts, "passed");
            self.failed += number_before(counts, "failed");
        } else if let Some(at) = line.find("SKIPPED ") {
            // Tests that find their precondition missing say so themselves, whatever the harness thinks of them.
            let said = line[at + "SKIPPED ".len()..].trim().to_owned();
            if said.contains(':') && !self.skipped.contains(&said) {
                self.skipped.push(said);
            }
        } else if let Some(test) = line.strip_prefix("test ") {
            match test.rsplit_once(" ... ") {
                Some((name, "FAILED")) => self.failures.push(name.to_owned()),
                Some((name, verdict)) => {
                    if let Some(reason) = verdict.strip_prefix("ignored") {
                        let reason = reason.trim_start_matches([',', ' ']);
                        let reason = if reason.is_empty() { "marked `ignore`" } else { reason };
                        self.skipped.push(format!("{name}: {reason}"));
                    }
                }
                None => {}
            }
        }
    }

    pub(super) fn summary(&self) -> String {
        let Self { passed, failed, suites, .. } = self;
        let mut lines = vec![format!(
            "{passed} passed, {failed} failed, {} skipped, in {suites} suites",
            self.skipped.len()
        )];
        lines.extend(self.skipped.iter().map(|skipped| format!("  skipped  {skipped}")));
        lines.extend(self.failures.iter().map(|failure| format!("  FAILED   {failure}")));
        lines.join("\n") + "\n"
    }
}

/// The number in front of `word`, as in `12 passed; 0 failed`.
fn number_before(text: &str, word: &str) -> u32 {
    text.split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally
    }

    const OUTPUT: &str = "\
running 3 tests
test policy::tests::grows ... ok
test it_kill::needs_its_own ... ok
test slow ... ignored, takes an hour
test plain ... ignored
test broken ... FAILED
SKIPPED it_kill::needs_its_own: VALKIT_TEST_URL names a server that must not be killed
SKIPPED it_kill::needs_its_own: VALKIT_TEST_URL names a server that must not be killed
test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.10s

   Doc-tests valkey_envelope
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.23s
";

    #[test]
    fn suites_add_up() {
        let tally = tally(OUTPUT);
        assert_eq!((tally.passed, tally.failed, tally.suites), (9, 1, 2));
        assert_eq!(tally.failures, ["broken"]);
    }

    #[test]
    fn what_was_skipped_is_listed_once_with_its_reason() {
        assert_eq!(
            tally(OUTPUT).skipped,
            [
                "slow: takes an hour",
                "plain: marked `ignore`",
                "it_kill::needs_its_own: VALKIT_TEST_URL names a server that must not be killed",
            ]
        );
    }

    #[test]
    fn a_skip_is_seen_behind_the_name_of_another_test() {
        assert_eq!(tally("test a ... SKIPPED b: no Docker").skipped, ["b: no Docker"]);
    }

    #[test]
    fn the_summary_shows_failures_and_skips() {
        let summary = tally(OUTPUT).summary();
        assert!(summary.starts_with("9 passed, 1 failed, 3 skipped, in 2 suites\n"), "{summary}");
        assert!(
            summary.contains("FAILED   broken") && summary.contains("skipped  slow: takes an hour"),
            "{summary}"
        );
    }
}
