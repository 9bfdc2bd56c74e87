//! What an operator should hear about settings that are nevertheless used.

use std::fmt;

/// Something worth a warning that stops nothing. The library never prints: the program logs these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A setting is accepted and has no effect.
    NoEffect {
        /// Where it is set.
        place: String,
        /// Why it has no effect.
        why: &'static str,
    },
    /// A TOML table that no struct reads, but whose name is close to one that is read.
    UnknownSection {
        /// Where it begins.
        place: String,
        /// The table that may have been meant.
        nearest: String,
    },
    /// A variable under the prefix that no struct knows.
    UnknownVariable {
        /// Its full name.
        variable: String,
        /// The variable that may have been meant.
        nearest: Option<String>,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEffect { place, why } => write!(f, "{place} has no effect: {why}"),
            Self::UnknownSection { place, nearest } => {
                write!(f, "{place} is read by nobody; did you mean [{nearest}]?")
            }
            Self::UnknownVariable { variable, nearest: Some(nearest) } => {
                write!(f, "{variable} is not a setting; did you mean {nearest}?")
            }
            Self::UnknownVariable { variable, nearest: None } => write!(f, "{variable} is not a setting"),
        }
    }
}

/// The candidate that `name` is most likely a slip of, if any comes close.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl Iterator<Item = std::borrow::Cow<'c, str>>,
) -> Option<String> {
    const CLOSE: f64 = 0.6;
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, &candidate), candidate))
        .filter(|(similarity, _)| *similarity >= CLOSE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.into_owned())
}
