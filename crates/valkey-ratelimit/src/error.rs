//! Why a limit could not be asked.

use std::time::Duration;

use valkey_connection::{Error, ErrorKind};

use crate::rule::{InvalidRule, RuleName};
use crate::scripts::BadAnswer;

/// Why there is no decision. Never that the limit is reached: that is a [`Decision`](crate::Decision).
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum LimitError {
    /// No request of this cost can ever be allowed.
    #[error(
        "rule {rule}: a request that costs {cost} is never allowed, the limit is {limit}: raise the limit, or ask for less"
    )]
    CostAboveLimit {
        /// The rule.
        rule: RuleName,
        /// What the request costs.
        cost: u64,
        /// What there is at most.
        limit: u64,
    },
    /// The rule itself cannot be kept.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    /// The subject is empty: all who have no name would share one count.
    #[error(
        "rule {rule}: the subject is empty: count whoever has no name by something else, or leave the check out"
    )]
    NoSubject {
        /// The rule.
        rule: RuleName,
    },
    /// Several limits that cannot be asked together.
    #[error("rule {rule} and those asked with it: at most {most}, and each of them once")]
    Demands {
        /// The first of them.
        rule: RuleName,
        /// How many there can be.
        most: usize,
    },
    /// Somebody else keeps something else under the key.
    #[error(
        "rule {rule}: key `{key}` holds something else, or what another algorithm counted: rename the rule, give it another prefix, or remove the key"
    )]
    ForeignKey {
        /// The rule.
        rule: RuleName,
        /// The key.
        key: String,
    },
    /// The store does not answer, and was not asked: nothing was charged. It took no round trip.
    #[error("rule {rule}: the store is away, and was not asked; see Limiter::health")]
    Away {
        /// The rule.
        rule: RuleName,
    },
    /// The store did not answer in time. Whether the request was charged is unknown.
    #[error("rule {rule}: no answer within {} ms; it may have been charged", deadline.as_millis())]
    Late {
        /// The rule.
        rule: RuleName,
        /// How long was waited.
        deadline: Duration,
    },
    /// The store could not be asked, or refused. Whether the request was charged is unknown.
    #[error("rule {rule}: {source}")]
    Unavailable {
        /// The rule.
        rule: RuleName,
        /// What the connection says.
        source: Error,
    },
    /// The runtime of another caller made the call, and ended. Whether the request was charged is unknown.
    #[error(
        "rule {rule}: the runtime that asked for this check and others ended; it may have been charged, ask again"
    )]
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

impl LimitError {
    /// Whether the store could not be asked: the request may be as good as any other, and would best be told to come again.
    /// All else is a mistake in what was asked.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::Late { .. } | Self::Unavailable { .. } | Self::GivenUp { .. }
        )
    }

    /// The class as a word for metrics and logs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::CostAboveLimit { .. } => "cost_above_limit",
            Self::Rule(_) => "invalid_rule",
            Self::NoSubject { .. } => "no_subject",
            Self::Demands { .. } => "demands",
            Self::ForeignKey { .. } => "foreign_key",
            Self::Away { .. } => "away",
            Self::Late { .. } => "late",
            Self::Unavailable { .. } => "unavailable",
            Self::GivenUp { .. } => "given_up",
            Self::BadAnswer { .. } => "bad_answer",
        }
    }

    pub(crate) fn of(rule: &RuleName, error: Failed) -> Self {
        let rule = rule.clone();
        match error {
            Failed::Store(source) => Self::Unavailable { rule, source },
            Failed::Late(deadline) => Self::Late { rule, deadline },
            Failed::GivenUp => Self::GivenUp { rule },
            Failed::Answer(reason) => Self::BadAnswer { rule, reason },
        }
    }
}

/// Why a call came to nothing, for all who waited for it.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    Store(Error),
    Late(Duration),
    GivenUp,
    Answer(String),
}

impl Failed {
    /// Whether it speaks of how the store does, rather than of what was asked.
    pub(crate) fn is_of_the_store(&self) -> bool {
        match self {
            Self::Store(error) => {
                // A store that is full, or lets this user do nothing, decides as little as one that is gone.
                let decides_nothing = matches!(
                    error.kind(),
                    ErrorKind::OutOfMemory | ErrorKind::Denied | ErrorKind::BreakerOpen | ErrorKind::Closed
                );
                decides_nothing || error.is_store_failure()
            }
            Self::Late(_) => true,
            Self::GivenUp | Self::Answer(_) => false,
        }
    }
}

impl From<BadAnswer> for Failed {
    fn from(error: BadAnswer) -> Self {
        match error {
            BadAnswer::Reply(error) => Self::Store(error),
            length @ BadAnswer::Length { .. } => Self::Answer(length.to_string()),
        }
    }
}
