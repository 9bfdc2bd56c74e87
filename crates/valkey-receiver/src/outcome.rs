//! What a handler may say about a message, and what becomes of it.
//!
//! A handler speaks in the verbs of the trade ([`Outcome`]); the [`RetryPolicy`](crate::RetryPolicy) turns that,
//! knowing the attempt, into what is done on the server ([`Disposition`]).

use std::fmt::Display;
use std::time::Duration;

use valkey_envelope::DeadReason;

/// The longest error text kept with a message, in bytes. A longer one is cut at a character boundary.
pub(crate) const MAX_ERROR_BYTES: usize = 2048;

/// What a handler says about one message.
///
/// Handlers seldom name it: `()` and `Ok(())` mean [`Ack`](Self::Ack), an `Err` means [`Nack`](Self::Nack) with the
/// error's text; see [`IntoOutcome`].
///
/// ```
/// use std::time::Duration;
/// use valkey_receiver::Outcome;
///
/// let busy = Outcome::nack("directory is busy").retry_after(Duration::from_secs(5));
/// assert_eq!(busy.name(), "nack");
/// ```
///
/// One that is made and not returned says nothing, and the compiler warns of it:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// use valkey_receiver::Outcome;
///
/// async fn handle(_: valkey_receiver::Message) -> Outcome {
///     Outcome::nack("later");
///     Outcome::Ack
/// }
/// ```
#[must_use = "an outcome does nothing until the receiver settles the message with it"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished: the message is removed.
    Ack,
    /// Never again: the message is kept among the dead letters, for a person to look at.
    DeadLetter {
        /// The class of the reason, one word; a handler's own decision is `rejected`.
        reason: DeadReason,
        /// What went wrong, for the person who will look at it.
        error: Option<String>,
    },
    /// Failed: try again later. Counts as an attempt; after the last one the message becomes a dead letter.
    Nack {
        /// When to try again; by the retry policy's backoff if absent.
        retry_after: Option<Duration>,
        /// What went wrong; travels to the dead letter of the last attempt.
        error: Option<String>,
    },
    /// Not now: try again later. Does not count as an attempt, however often it happens.
    Snooze {
        /// When to try again.
        retry_after: Duration,
    },
}

impl Outcome {
    /// Finished.
    pub const fn ack() -> Self {
        Self::Ack
    }

    /// Failed with `error`; tried again by the policy's backoff.
    pub fn nack(error: impl Display) -> Self {
        Self::Nack { retry_after: None, error: Some(error_text(&error)) }
    }

    /// Not now, and nobody's fault: again after `retry_after`.
    pub const fn snooze(retry_after: Duration) -> Self {
        Self::Snooze { retry_after }
    }

    /// Rejected for good, with the explanation `error`.
    pub fn dead_letter(error: impl Display) -> Self {
        Self::DeadLetter { reason: DeadReason::Rejected, error: Some(error_text(&error)) }
    }

    /// Rejected for good under another class than `rejected`.
    pub fn dead_letter_as(reason: DeadReason, error: impl Display) -> Self {
        Self::DeadLetter { reason, error: Some(error_text(&error)) }
    }

    /// Sets when to try again, for a nack or a snooze; an ack and a dead letter stay as they are.
    pub fn retry_after(self, delay: Duration) -> Self {
        match self {
            Self::Nack { error, .. } => Self::Nack { retry_after: Some(delay), error },
            Self::Snooze { .. } => Self::Snooze { retry_after: delay },
            other => other,
        }
    }

    /// The verb in one word: `ack`, `dead_letter`, `nack` or `snooze`, as metrics and logs write it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::DeadLetter { .. } => "dead_letter",
            Self::Nack { .. } => "nack",
            Self::Snooze { .. } => "snooze",
        }
    }
}

/// What may stand as the answer of a handler.
///
/// | answer | becomes |
/// |---|---|
/// | `()` | [`Outcome::Ack`] |
/// | [`Outcome`] | itself |
/// | `Ok(x)` | what `x` becomes |
/// | `Err(e)` | [`Outcome::Nack`] with the text of `e` (`{:#}`, so the whole chain of an `anyhow::Error`) |
#[diagnostic::on_unimplemented(
    message = "a handler cannot answer `{Self}`",
    label = "not an outcome",
    note = "answer `()`, `Outcome`, or a `Result` of these whose error implements `Display`"
)]
pub trait IntoOutcome {
    /// Makes the outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Ack
    }
}

impl<T: IntoOutcome, E: Display> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(answer) => answer.into_outcome(),
            Err(error) => Outcome::nack(error),
        }
    }
}

/// What is done with a message on the server: the policy's pure answer to an [`Outcome`].
#[must_use = "a disposition decides about a message only when it is carried out"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Removed.
    Ack,
    /// Kept among the dead letters.
    Dead {
        /// Why, in one word.
        reason: DeadReason,
        /// The last error.
        error: Option<String>,
    },
    /// Back to the head of its queue at once and uncounted, as if it had never been taken.
    HandBack,
    /// Delivered again after `delay`.
    Retry {
        /// From now, on the server's clock.
        delay: Duration,
        /// Whether this was an attempt: true after a nack, false after a snooze.
        counted: bool,
        /// What went wrong.
        error: Option<String>,
    },
}

/// The text of an error as it is kept: with its chain if it knows one, and never longer than [`MAX_ERROR_BYTES`].
pub(crate) fn error_text(error: &impl Display) -> String {
    clip(format!("{error:#}"))
}

/// Cuts `text` to [`MAX_ERROR_BYTES`], saying so: errors may quote a payload, and they are stored with the message.
pub(crate) fn clip(mut text: String) -> String {
    const MARK: &str = "…";
    if text.len() > MAX_ERROR_BYTES {
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_outcomes() {
        assert_eq!(().into_outcome(), Outcome::Ack);
        assert_eq!(Ok::<(), String>(()).into_outcome(), Outcome::Ack);
        assert_eq!(Err::<(), _>("boom").into_outcome(), Outcome::nack("boom"));
        let snooze = Outcome::snooze(Duration::from_secs(1));
        assert_eq!(Ok::<_, String>(snooze.clone()).into_outcome(), snooze);
        assert_eq!(Err::<Outcome, _>("boom").into_outcome(), Outcome::nack("boom"));
    }

    #[test]
    fn retry_after_reaches_only_what_is_tried_again() {
        let second = Duration::from_secs(1);
        assert_eq!(
            Outcome::nack("x").retry_after(second),
            Outcome::Nack { retry_after: Some(second), error: Some("x".into()) }
        );
        assert_eq!(Outcome::ack().retry_after(second), Outcome::Ack);
        assert_eq!(Outcome::dead_letter("x").retry_after(second), Outcome::dead_letter("x"));
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        let cut = error_text(&"ü".repeat(MAX_ERROR_BYTES));
        assert!(cut.len() <= MAX_ERROR_BYTES, "{}", cut.len());
        assert!(cut.starts_with('ü') && cut.ends_with("ü…"));
        let whole = "x".repeat(MAX_ERROR_BYTES);
        assert_eq!(error_text(&whole), whole);
    }
}
