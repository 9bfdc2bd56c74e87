//! What became of a request to a limit.

use std::time::Duration;

use crate::scripts::Charge;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There was room, and the request is charged.
    Allowed(Allowed),
    /// There was none; nothing is charged.
    Denied(Denied),
}

/// A request that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How much is left of the limit.
    pub remaining: u64,
    /// After how long the limit is as new, if nobody comes.
    pub reset_after: Duration,
    pub(crate) ticket: Ticket,
}

/// Who decided.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The store, asked for this request.
    Store,
    /// This process, which remembers that the store refuses.
    Memory,
}

/// A request that has to wait or give up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who decided.
    pub source: Source,
    /// How much is left of the limit: less than the request costs.
    pub remaining: u64,
    /// After how long there will be room, if nobody else comes.
    pub retry_after: Duration,
    /// After how long the limit is as new, if nobody comes.
    pub reset_after: Duration,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How much is left of the limit.
    pub remaining: u64,
    /// After how long a request of the cost asked about would be allowed; zero: now.
    pub retry_after: Duration,
    /// After how long the limit is as new, if nobody comes.
    pub reset_after: Duration,
}

/// What a request was charged, for giving it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) charge: Charge,
    pub(crate) amount: u64,
}

impl Decision {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Who decided.
    pub fn source(&self) -> Source {
        match self {
            Self::Allowed(_) => Source::Store,
            Self::Denied(Denied { source, .. }) => *source,
        }
    }

    /// How much is left of the limit.
    pub fn remaining(&self) -> u64 {
        match self {
            Self::Allowed(Allowed { remaining, .. }) | Self::Denied(Denied { remaining, .. }) => *remaining,
        }
    }
}

impl Allowed {
    /// What was charged.
    #[must_use]
    pub fn into_ticket(self) -> Ticket {
        self.ticket
    }
}

impl Ticket {
    /// How much was charged.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}
