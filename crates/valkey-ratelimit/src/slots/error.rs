//! Why it could not be said whether there is room.

use std::time::Duration;

use valkey_connection::Error;

use crate::error::Failed;
use crate::rule::{InvalidPrefix, RuleName};

/// Why there is no slot, other than that there is no room: that is [`Acquired::Full`](crate::Acquired::Full).
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum SlotError {
    /// Several rules that cannot be asked together.
    #[error("rule {rule} and those asked with it: at most {most}, and each of them once for a subject")]
    Demands {
        /// The first of them.
        rule: RuleName,
        /// How many there can be.
        most: usize,
    },
    /// A subject is empty: all who have no name would share their slots.
    #[error(
        "rule {rule}: the subject is empty: count whoever has no name by something else, or leave the rule out"
    )]
    NoSubject {
        /// The rule.
        rule: RuleName,
    },
    /// Keys cannot begin so.
    #[error("rule {rule}: {source}")]
    Prefix {
        /// The rule.
        rule: RuleName,
        /// What is wrong with it.
        source: InvalidPrefix,
    },
    /// Somebody else keeps something else under the key.
    #[error(
        "rule {rule}: key `{key}` holds something else: rename the rule, give it another prefix, or remove the key"
    )]
    ForeignKey {
        /// The rule.
        rule: RuleName,
        /// The key.
        key: String,
    },
    /// More processes have a field under the key than can be counted in one step.
    #[error(
        "rule {rule}: key `{key}` has more than 1,024 fields: remove it, its processes say anew what they hold"
    )]
    Crowded {
        /// The rule.
        rule: RuleName,
        /// The key.
        key: String,
    },
    /// The store does not answer, and was not asked. It took no round trip.
    #[error("rule {rule}: the store is away, and was not asked; see Slots::health")]
    Away {
        /// The rule.
        rule: RuleName,
    },
    /// The store did not answer in time.
    #[error("rule {rule}: no answer within {} ms", deadline.as_millis())]
    Late {
        /// The rule.
        rule: RuleName,
        /// How long was waited.
        deadline: Duration,
    },
    /// The store could not be asked, or refused.
    #[error("rule {rule}: {source}")]
    Unavailable {
        /// The rule.
        rule: RuleName,
        /// What the connection says.
        source: Error,
    },
    /// The runtime that asked for all of this process ended.
    #[error("rule {rule}: the runtime that asked for this slot and others ended: ask again")]
    GivenUp {
        /// The rule.
        rule: RuleName,
    },
    /// The answer is none of the script's.
    #[error("rule {rule}: the store's answer makes no sense: {reason}")]
    BadAnswer {
        /// The rule.
        rule: RuleName,
        /// What is wrong with it.
        reason: String,
    },
}

impl SlotError {
    /// Whether the store could not be asked. All else is a mistake in what was asked, or somebody else's key.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::Late { .. } | Self::Unavailable { .. } | Self::GivenUp { .. }
        )
    }

    /// The class as a word for metrics and logs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Demands { .. } => "demands",
            Self::NoSubject { .. } => "no_subject",
            Self::Prefix { .. } => "prefix",
            Self::ForeignKey { .. } => "foreign_key",
            Self::Crowded { .. } => "crowded",
            Self::Away { .. } => "away",
            Self::Late { .. } => "late",
            Self::Unavailable { .. } => "unavailable",
            Self::GivenUp { .. } => "given_up",
            Self::BadAnswer { .. } => "bad_answer",
        }
    }

    pub(super) fn of(rule: &RuleName, error: Failed) -> Self {
        let rule = rule.clone();
        match error {
            Failed::Store(source) => Self::Unavailable { rule, source },
            Failed::Late(deadline) => Self::Late { rule, deadline },
            Failed::GivenUp => Self::GivenUp { rule },
            Failed::Answer(reason) => Self::BadAnswer { rule, reason },
        }
    }
}
