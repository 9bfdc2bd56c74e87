//! What was asked of the double.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was asked of the double, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Logins tried, whatever came of them.
    pub logins: u64,
    /// Logins by login name tried.
    pub logins_by_user: BTreeMap<String, u64>,
    /// Logins that opened a session.
    pub logins_accepted: u64,
    /// Logins rejected, by the reason they were given.
    pub logins_rejected: BTreeMap<String, u64>,
    /// Calls by command, those within batches included.
    pub calls: BTreeMap<String, u64>,
    /// Errors replied, by number.
    pub errors: BTreeMap<i64, u64>,
    /// Requests turned away with 400 for their Referer.
    pub bad_referers: u64,
    /// Requests sent on because of their Host.
    pub redirected: u64,
    /// Requests turned away with 401 for want of a session.
    pub without_session: u64,
    /// Requests turned away with 401 by the directory.
    pub denied: u64,
    /// Calls under way right now.
    pub in_flight: u64,
    /// The most calls that were ever under way at a time.
    pub in_flight_most: u64,
    /// Sessions that are open.
    pub sessions: usize,
}

// === impl Stats ===

impl Stats {
    pub(crate) fn count_call(&mut self, command: &str) {
        *self.calls.entry(command.to_owned()).or_default() += 1;
    }

    pub(crate) fn begin(&mut self) {
        self.in_flight += 1;
        self.in_flight_most = self.in_flight_most.max(self.in_flight);
    }

    pub(crate) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Calls of one command.
    #[must_use]
    pub fn calls_of(&self, command: &str) -> u64 {
        self.calls.get(command).copied().unwrap_or_default()
    }
}
