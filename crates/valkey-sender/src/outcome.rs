//! What one try did with one message.

use std::time::Duration;

use valkey_connection::{DurabilityRefusal, Error, ErrorKind};

use crate::links::Withheld;
use crate::progress::Try;
use crate::scripts::Fate;

/// What one try did with one message.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Accepted(Accepted),
    BreakerOpen {
        retry_after: Duration,
    },
    /// The server's clock jumps across dedup windows; nothing was done.
    ClockUnstable,
    /// The connection or the server failed. `unknown` is about this message: one that was never attempted because
    /// an earlier one failed is not in doubt, whatever the error says about the earlier one.
    Failed {
        error: Error,
        unknown: bool,
    },
    Full {
        limit: u64,
    },
    /// The answer was not one of the script's: it may have run.
    Garbled,
    /// The server cannot promise the durability; nothing was sent.
    Refused(DurabilityRefusal),
    /// Accepted, but not confirmed to be as safe as was asked for.
    Unconfirmed(Error),
}

/// The ways of being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Duplicate,
    Pushed,
    Scheduled,
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn of(fate: Fate, limit: Option<u64>) -> Self {
        match fate {
            Fate::Duplicate => Self::Accepted(Accepted::Duplicate),
            Fate::Full => Self::Full { limit: limit.unwrap_or(0) },
            Fate::Pushed => Self::Accepted(Accepted::Pushed),
            Fate::Scheduled => Self::Accepted(Accepted::Scheduled),
        }
    }

    /// Nothing was sent, whatever the error says about what was asked before.
    pub(crate) fn withheld(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Failed(error) => Self::Failed { error, unknown: false },
            Withheld::Refused(refusal) => Self::Refused(refusal),
        }
    }

    /// The same once it is confirmed. What was not accepted needs no confirmation.
    pub(crate) fn once(self, confirmed: &Result<(), Error>) -> Self {
        match (self, confirmed) {
            (Self::Accepted(_), Err(error)) => Self::Unconfirmed(error.clone()),
            (outcome, _) => outcome,
        }
    }

    pub(crate) fn failed(error: Error) -> Self {
        let unknown = error.outcome_unknown() || error.kind() == ErrorKind::Protocol;
        Self::Failed { error, unknown }
    }

    pub(crate) fn is_store_failure(&self) -> bool {
        match self {
            Self::Failed { error, .. } | Self::Unconfirmed(error) => error.is_store_failure(),
            Self::Garbled => true,
            _ => false,
        }
    }

    /// What it means for trying again.
    pub(crate) fn class(&self) -> Try {
        match self {
            Self::Accepted(_) => Try::Settled,
            Self::ClockUnstable => Try::Refused,
            // Between the push and the mark of its id, say: not even dedup recognises a message that stands like that.
            Self::Failed { error, unknown: true } if error.stopped_midway() => Try::Stranded,
            Self::Failed { unknown: true, .. } | Self::Garbled | Self::Unconfirmed(_) => Try::Unknown,
            Self::Failed { error, .. } if error.kind() == ErrorKind::OutOfMemory => Try::NoMemory,
            Self::Failed { error, .. } if error.is_transient() => Try::Refused,
            Self::BreakerOpen { .. } | Self::Failed { .. } | Self::Refused(_) => Try::Hopeless,
            Self::Full { .. } => Try::Full,
        }
    }
}
