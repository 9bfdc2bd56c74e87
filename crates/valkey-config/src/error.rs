//! Everything that is wrong with the settings, said at once.

use std::fmt;

use crate::Notice;

/// The settings cannot be used. Holds all problems of all sources and structs, so that one run shows them all.
///
/// `Display` gives one line for one problem and a list for several, and after them one line for each notice. `Debug` gives the same, because that is what a
/// `fn main() -> Result<(), Box<dyn Error>>` shows to an operator. No secret appears in either.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl ConfigError {
    /// `problems` is never empty.
    pub(crate) fn new(problems: Vec<Problem>, notices: Vec<Notice>) -> Self {
        debug_assert!(!problems.is_empty(), "an error has at least one problem");
        Self { problems, notices }
    }

    /// What the operator should hear besides: a misspelled variable is often why a setting is missing.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The problems in the order they were found: of the files and names first, then struct by struct, contradictions last.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problems[..] {
            [problem] => problem.fmt(f)?,
            problems => {
                write!(f, "{} problems in the settings:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))?;
            }
        }
        self.notices.iter().try_for_each(|notice| write!(f, "\nwarning: {notice}"))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong. `Display` names the place, the value unless secret, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemKind,
    place: String,
    message: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// One setting is given twice in one source, under two of its names or as value and as file.
    Ambiguous,
    /// Settings are each valid and wrong together.
    Contradiction,
    /// A variable of ours is not UTF-8.
    Encoding,
    /// A file is not TOML.
    Syntax,
    /// A key in a file or an explicit name that no struct has.
    Unknown,
    /// A file cannot be read.
    Unreadable,
    /// A value is not what its setting takes.
    Value,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, place: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { kind, place: place.to_string(), message: message.to_string() }
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Where it is: the variable, or `file:line: section.key`, or the label of an explicit value.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong, with the value unless it is secret, and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
