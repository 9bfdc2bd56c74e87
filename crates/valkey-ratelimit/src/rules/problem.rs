//! What is wrong with a file of rules.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there are no rules, or not those of the file.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("{}: the rules cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it is wrong: all of that, at least one.
    #[error("{}", Listed(.0))]
    Invalid(Vec<RulesProblem>),
    /// It has no longer, or never had, a rule that somebody asks for.
    #[error("{}: there is no rule {name}, which is in use: put [rules.{name}] into the file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The rule.
        name: String,
    },
    /// A rule is to count in another way under the same keys.
    #[error(
        "{}: rule {name} counted by {before} and is to count by {after}, which cannot read what the keys hold: give it \
         another prefix too", path.display()
    )]
    Recounted {
        /// The file.
        path: PathBuf,
        /// The rule.
        name: String,
        /// The algorithm that is in force.
        before: &'static str,
        /// The one in the file.
        after: &'static str,
    },
    /// It has no rules any more, as a file has that is just being written.
    #[error("{}: there are no rules in it, and there were before: to lift a limit, remove it from the program", path.display())]
    Emptied {
        /// The file.
        path: PathBuf,
    },
}

/// One thing that is wrong, or odd, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesProblem {
    file: Option<String>,
    line: usize,
    place: String,
    message: String,
}

impl RulesProblem {
    pub(super) fn new(
        file: Option<&str>,
        line: usize,
        place: impl Into<String>,
        message: impl fmt::Display,
    ) -> Self {
        Self { file: file.map(str::to_owned), line, place: place.into(), message: message.to_string() }
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The rule and field, such as `rules.per-ip.quota`; empty if the file is no TOML.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong, and what would be right.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for RulesProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, place, message } = self;
        match file {
            Some(file) => write!(f, "{file}:{line}: ")?,
            None => write!(f, "line {line}: ")?,
        }
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        f.write_str(message)
    }
}

/// So many are told: a log line has an end.
const TOLD: usize = 50;

/// One problem on its own line, several in a list.
struct Listed<'a>(&'a [RulesProblem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.0 {
            return problem.fmt(f);
        }
        write!(f, "{} problems in the rules:", self.0.len())?;
        self.0.iter().take(TOLD).try_for_each(|problem| write!(f, "\n  - {problem}"))?;
        match self.0.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// The candidate that `name` is most likely a slip of, if any comes close.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    const CLOSE: f64 = 0.6;
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= CLOSE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
