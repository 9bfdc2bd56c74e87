//! What a test has measured, told to whoever wants to make a table of it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where [`Figures::publish`] writes; without it nothing is written.
const DIRECTORY: &str = "VALKIT_FIGURES";

/// The figures of one test, or of one case of a test that has several.
///
/// Published ones become a file of one JSON object in the directory that the variable `VALKIT_FIGURES` names, under the
/// names of the package and of the test; without that variable publishing does nothing. Figures judge nothing: what must
/// hold is asserted by the test.
///
/// ```
/// use std::time::Duration;
/// use valkey_testkit::Figures;
///
/// Figures::new().sent(10_000).lost(0).twice(12).recovery(Duration::from_millis(2_040)).publish();
/// Figures::case("replicated(1)").sent(1_850).confirmed(24).unknown(1_826).lost(0).publish();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "figures are told by `publish`"]
pub struct Figures {
    texts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, u64)>,
}

impl Figures {
    /// Those of a test as a whole.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of one case of a test: a mode, an engine, a way to die.
    pub fn case(name: impl Into<String>) -> Self {
        Self::new().text("case", name.into())
    }

    /// Messages sent, in all.
    pub fn sent(self, messages: u64) -> Self {
        self.number("sent", messages)
    }

    /// Sends answered with a promise.
    pub fn confirmed(self, messages: u64) -> Self {
        self.number("confirmed", messages)
    }

    /// Sends answered with "nobody knows".
    pub fn unknown(self, messages: u64) -> Self {
        self.number("unknown", messages)
    }

    /// Sends refused.
    pub fn rejected(self, messages: u64) -> Self {
        self.number("rejected", messages)
    }

    /// Messages confirmed and gone.
    pub fn lost(self, messages: u64) -> Self {
        self.number("lost", messages)
    }

    /// Messages handed to a handler more than once.
    pub fn twice(self, messages: u64) -> Self {
        self.number("twice", messages)
    }

    /// The longest time from the fault until work went on.
    pub fn recovery(self, took: Duration) -> Self {
        self.number("recovery_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    /// What a reader of the table should know besides.
    pub fn note(self, note: impl Into<String>) -> Self {
        self.text("note", note.into())
    }

    /// Tells them.
    ///
    /// # Panics
    /// When the directory is named and cannot be written to: the table would lack a row without saying so.
    pub fn publish(self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Some(directory) = std::env::var_os(DIRECTORY).filter(|name| !name.is_empty()) else { return };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = PathBuf::from(directory).join(format!("{}-{number}.json", std::process::id()));
        if let Err(error) = write(&file, &self.to_json(&package(), &test())) {
            panic!(
                "cannot write {}: {error}; {DIRECTORY} names a directory that can be written to",
                file.display()
            );
        }
    }

    fn number(mut self, name: &'static str, value: u64) -> Self {
        self.numbers.push((name, value));
        self
    }

    fn text(mut self, name: &'static str, value: String) -> Self {
        self.texts.push((name, value));
        self
    }

    fn to_json(&self, package: &str, test: &str) -> String {
        let mut json = format!("{{\"package\":{},\"test\":{}", quoted(package), quoted(test));
        for (name, value) in &self.texts {
            let _ = write!(json, ",\"{name}\":{}", quoted(value));
        }
        for (name, value) in &self.numbers {
            let _ = write!(json, ",\"{name}\":{value}");
        }
        json.push('}');
        json
    }
}

/// Cargo tells its tests whose they are.
fn package() -> String {
    std::env::var("CARGO_PKG_NAME").unwrap_or_default()
}

/// The test harness names its threads after the tests.
fn test() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// Lets a long test say how far it is, past the harness, which keeps what tests print to itself.
///
/// Like figures, it is told only where the variable `VALKIT_FIGURES` is set: there somebody listens.
///
/// ```
/// valkey_testkit::progress("round 3 of 20");
/// ```
pub fn progress(text: impl std::fmt::Display) {
    if std::env::var_os(DIRECTORY).is_some_and(|name| !name.is_empty()) {
        // Whoever listens may be gone; the test is not about that.
        let _ = writeln!(std::io::stderr(), "PROGRESS {}: {text}", test());
    }
}

/// Says that the test on this thread cannot do its work here, and why: in words that `cargo xtask` counts, past the harness,
/// which keeps what passing tests print to itself and calls them ok.
///
/// ```
/// valkey_testkit::skipped("the server has no WAITAOF");
/// ```
pub fn skipped(why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", test());
}

fn write(file: &Path, json: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::create(file)?;
    file.write_all(json.as_bytes())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_one_json_object() {
        let figures = Figures::case("a \"b\"\n").sent(3).recovery(Duration::from_millis(7));
        assert_eq!(
            figures.to_json("crate", "kill::one"),
            r#"{"package":"crate","test":"kill::one","case":"a \"b\"\u000a","sent":3,"recovery_ms":7}"#
        );
    }

    #[test]
    fn a_test_knows_its_name() {
        assert_eq!(test(), "figures::tests::a_test_knows_its_name");
        assert_eq!(package(), "valkey-testkit");
    }
}
