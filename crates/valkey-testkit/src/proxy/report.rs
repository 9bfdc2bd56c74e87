//! What a proxy has seen.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One connection of a [`FaultProxy`](crate::FaultProxy), open or closed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Counts from 1 in the order in which the proxy accepted them.
    pub number: u64,
    /// Whether it is still open.
    pub open: bool,
    /// Bytes of the client's that the server was given.
    pub request_bytes: u64,
    /// Bytes of the server's that the client was given.
    pub reply_bytes: u64,
    /// Whole commands that the server was given. 0 for encrypted connections.
    pub requests: u64,
    /// Whole replies that the client was given, push messages not counted. 0 for encrypted connections.
    pub replies: u64,
}

/// All connections of a [`FaultProxy`](crate::FaultProxy) together, those that are closed included.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted so far.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes of clients that servers were given.
    pub request_bytes: u64,
    /// Bytes of servers that clients were given.
    pub reply_bytes: u64,
    /// Whole commands that servers were given. Encrypted connections add none.
    pub requests: u64,
    /// Whole replies that clients were given, push messages not counted. Encrypted connections add none.
    pub replies: u64,
}

#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) number: u64,
    pub(crate) closed: AtomicBool,
    pub(crate) requests: Passed,
    pub(crate) replies: Passed,
}

#[derive(Debug, Default)]
pub(crate) struct Passed {
    bytes: AtomicU64,
    units: AtomicU64,
}

impl Counters {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            closed: AtomicBool::new(false),
            requests: Passed::default(),
            replies: Passed::default(),
        }
    }

    pub(crate) fn report(&self) -> ConnectionReport {
        ConnectionReport {
            number: self.number,
            open: !self.closed.load(Ordering::Acquire),
            request_bytes: self.requests.bytes(),
            reply_bytes: self.replies.bytes(),
            requests: self.requests.units.load(Ordering::Acquire),
            replies: self.replies.units.load(Ordering::Acquire),
        }
    }
}

impl Passed {
    pub(crate) fn add(&self, bytes: usize, units: u64) {
        self.bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        self.units.fetch_add(units, Ordering::AcqRel);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

impl Traffic {
    pub(crate) fn sum(reports: impl Iterator<Item = ConnectionReport>) -> Self {
        reports.fold(Self::default(), |sum, one| Self {
            connections: sum.connections + 1,
            open: sum.open + u64::from(one.open),
            request_bytes: sum.request_bytes + one.request_bytes,
            reply_bytes: sum.reply_bytes + one.reply_bytes,
            requests: sum.requests + one.requests,
            replies: sum.replies + one.replies,
        })
    }
}
