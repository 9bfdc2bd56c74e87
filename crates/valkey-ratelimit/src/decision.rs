//! What became of a request to a limit.

use std::sync::Arc;
use std::time::Duration;

use crate::lease::Lease;
use crate::rule::RuleName;
use crate::scripts::{Charge, Limit};
use crate::subject::Subject;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may go on.
    Allowed(Allowed),
    /// There was no room; nothing is charged.
    Denied(Denied),
}

/// A request that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Who decided.
    pub source: Source,
    /// How much is left of the limit, as far as whoever decided knows.
    pub remaining: u64,
    /// After how long the limit is as new, if nobody comes.
    pub reset_after: Duration,
    pub(crate) ticket: Option<Ticket>,
}

/// A request that has to wait or give up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who decided.
    pub source: Source,
    /// How much is left of the limit: less than the request costs.
    pub remaining: u64,
    /// After how long there will be room, if nobody else comes. Zero: it is another of [several](crate::Limiter::check_all)
    /// that refuses.
    pub retry_after: Duration,
    /// After how long the limit is as new, if nobody comes.
    pub reset_after: Duration,
    /// Who has to wait: the subject, or the network of it that used up what it may have.
    pub subject: Subject,
}

/// Who decided.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The store, asked for this request.
    Store,
    /// This process, which remembers that the store refuses.
    Memory,
    /// This process, which holds some of the limit in advance.
    Lease,
    /// The rule's list of those who are never limited. Nothing is charged.
    AllowList,
    /// A rule that only counts: it would have refused. Nothing is charged.
    Shadow,
    /// The rule, which allows while the store cannot be asked. Nothing is charged.
    Fallback,
    /// This process by a count of its own, while the store cannot be asked. Nothing is charged in the store.
    Local,
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

/// What a request was charged, for [giving it back](crate::Limiter::refund) or [correcting it](crate::Limiter::commit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) rule: RuleName,
    pub(crate) charges: Charges,
    pub(crate) amount: u64,
}

/// Where a request was charged, the subject's own limit first.
#[derive(Clone, Debug)]
pub(crate) enum Charges {
    One((Limit, Charge)),
    Several(Vec<(Limit, Charge)>),
    Leased(Arc<Lease>),
}

impl Charges {
    pub(crate) fn as_slice(&self) -> &[(Limit, Charge)] {
        match self {
            Self::One(charge) => std::slice::from_ref(charge),
            Self::Several(charges) => charges,
            Self::Leased(lease) => std::slice::from_ref(&lease.charged),
        }
    }
}

impl PartialEq for Charges {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Charges {}

impl Decision {
    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Who decided.
    pub fn source(&self) -> Source {
        match self {
            Self::Allowed(Allowed { source, .. }) | Self::Denied(Denied { source, .. }) => *source,
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
    /// What was charged in the store, if anything was.
    #[must_use]
    pub fn into_ticket(self) -> Option<Ticket> {
        self.ticket
    }

    /// Allowed by somebody who knows nothing of how the limit stands.
    pub(crate) fn by(source: Source) -> Self {
        Self { source, remaining: 0, reset_after: Duration::ZERO, ticket: None }
    }
}

impl Source {
    pub(crate) const COUNT: usize = 7;

    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Memory => "memory",
            Self::Lease => "lease",
            Self::AllowList => "allow_list",
            Self::Shadow => "shadow",
            Self::Fallback => "fallback",
            Self::Local => "local",
        }
    }
}

impl Ticket {
    /// How much was charged.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}
