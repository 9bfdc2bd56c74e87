//! The one thing that every way of telling can do.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::Report;

/// A way to tell applicants.
///
/// ```
/// use freeipa_consumer::status::{Nobody, StatusReporter};
///
/// let reporters: Vec<Box<dyn StatusReporter>> = vec![Box::new(Nobody)];
/// assert!(reporters[0].paused().is_none());
/// ```
#[async_trait]
pub trait StatusReporter: fmt::Debug + Send + Sync {
    /// Tells it.
    ///
    /// # Errors
    /// [`ReportError`] says whether to try again, to wait, or to leave it.
    ///
    /// # Cancel safety
    /// After a drop it is told or not.
    async fn report(&self, report: &Report) -> Result<Told, ReportError>;

    /// Whether anybody could be told at all, without telling anybody; and a word about how.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    async fn check(&self) -> Result<String, ReportError> {
        Ok("nothing to check".to_owned())
    }

    /// How long nothing can be told, if it is known: worth asking before a password is made that would wait meanwhile.
    fn paused(&self) -> Option<Duration> {
        None
    }
}

/// It was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the chat may have moved, and the message may be needed to change it"]
pub struct Told {
    /// The message, where there is one.
    pub message_id: Option<i64>,
    /// Where the chat is now, if it has moved.
    pub moved_to: Option<i64>,
}

/// It was not told, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Somebody has to change something: until then nobody can be told anything.
    #[error("nobody can be told anything: {reason}")]
    Misconfigured {
        /// What, and what to do about it.
        reason: String,
    },
    /// Too much was told already. It does not count as a try.
    #[error("nothing may be told for another {} s", .retry_after.as_secs())]
    Paused {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It was not told; it may be later.
    #[error("it was not told: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It may have been told; telling it again does no harm.
    #[error("nobody knows whether it was told: {reason}")]
    Uncertain {
        /// Why.
        reason: String,
    },
    /// This applicant cannot be told, and will not be.
    #[error("the applicant cannot be told: {0}")]
    Unreachable(Unreachable),
}

/// Why an applicant cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreachable {
    /// The person has blocked the bot.
    Blocked,
    /// The person has never written to the bot.
    NeverMet,
    /// The account in Telegram is gone.
    Deactivated,
    /// There is no such chat.
    NoChat,
    /// The bot was put out of the group, or may not write there.
    NotInChat,
    /// The message itself was refused.
    Rejected,
}

/// Tells nobody anything: for deployments that look into the directory themselves.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // There is nothing to add to nothing.
pub struct Nobody;

#[async_trait]
impl StatusReporter for Nobody {
    async fn report(&self, _: &Report) -> Result<Told, ReportError> {
        Ok(Told::default())
    }
}

impl Unreachable {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Blocked, Self::NeverMet, Self::Deactivated, Self::NoChat, Self::NotInChat, Self::Rejected];

    /// One word for records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::NeverMet => "never_met",
            Self::Deactivated => "deactivated",
            Self::NoChat => "no_chat",
            Self::NotInChat => "not_in_chat",
            Self::Rejected => "rejected",
        }
    }

    /// The reverse of [`as_str`](Self::as_str).
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "the person has blocked the bot",
            Self::NeverMet => "the person has never written to the bot",
            Self::Deactivated => "the person's account is gone",
            Self::NoChat => "there is no such chat",
            Self::NotInChat => "the bot may not write to that chat",
            Self::Rejected => "the message was refused",
        })
    }
}
