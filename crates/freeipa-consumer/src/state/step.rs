//! How far a registration has come.

use std::fmt;

/// How far a registration has come, as it is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// Nothing was done yet.
    #[default]
    Received,
    /// A name is being tried.
    Creating,
    /// An entry of ours waits among the stage users.
    Staged,
    /// The account is there.
    Created,
    /// It is in all its groups.
    Grouped,
    /// It has a password that nobody was told yet.
    Credentialed,
    /// Everything was done, and said.
    Done,
    /// It will not be.
    Dead,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Received,
        Self::Creating,
        Self::Staged,
        Self::Created,
        Self::Grouped,
        Self::Credentialed,
        Self::Done,
        Self::Dead,
    ];

    /// The word for it, in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Creating => "creating",
            Self::Staged => "staged",
            Self::Created => "created",
            Self::Grouped => "grouped",
            Self::Credentialed => "credentialed",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
