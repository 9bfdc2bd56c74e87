//! Tells people of refusals, a line each, and of a flood of them in sums: logs must not be what an attack brings down.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::telemetry::{self, Refusal};

/// Lines a second.
const LINES: u32 = 20;

/// Counts what is told, and what is not.
#[derive(Debug)]
pub(super) struct Refusals {
    budget: Mutex<Budget>,
}

#[derive(Debug)]
struct Budget {
    since: Instant,
    told: u32,
    untold: BTreeMap<&'static str, u64>,
}

impl Refusals {
    /// A client was sent away.
    pub(super) fn note(&self, reason: Refusal, client: IpAddr, retry_after: Option<Duration>) {
        telemetry::connection_refused(reason);
        if self.budget().is_told(reason.as_str(), Instant::now()) {
            let retry_after = retry_after.map(|time| time.as_millis() as f64 / 1_000.0);
            info!(rule = reason.as_str(), %client, retry_after, "refused");
        }
    }

    /// Nobody can be accepted.
    pub(super) fn trouble(&self, error: &io::Error) {
        if self.budget().is_told("accept", Instant::now()) {
            warn!(%error, "cannot accept; is the limit of open files too low?");
        }
    }

    /// The mail server cannot be reached.
    pub(super) fn backend_failed(&self, backend: &str, error: &io::Error) {
        if self.budget().is_told("backend", Instant::now()) {
            warn!(backend, %error, "the mail server does not answer; clients are told to come again");
        }
    }

    /// There is no descriptor for the connection to the mail server.
    pub(super) fn no_descriptor(&self, error: &io::Error) {
        if self.budget().is_told("descriptors", Instant::now()) {
            warn!(
                %error,
                "no connection to the mail server, for want of descriptors of this node; clients are told to come again: raise the \
                 limit of open files (ulimit -Hn), or lower gate.max_local_connections"
            );
        }
    }

    /// Tells how many were not told of since the last time, if any.
    pub(super) fn summarise(&self) {
        let untold = std::mem::take(&mut self.budget().untold);
        for (rule, count) in untold {
            info!(rule, count, "refused, too many to tell each");
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self { budget: Mutex::new(Budget { since: Instant::now(), told: 0, untold: BTreeMap::new() }) }
    }
}

impl Budget {
    fn is_told(&mut self, reason: &'static str, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.told) = (now, 0);
        }
        if self.told < LINES {
            self.told += 1;
            return true;
        }
        *self.untold.entry(reason).or_default() += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_sums() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        let told =
            |after: Duration| (0..1_000).filter(|_| refusals.budget().is_told("rate", begun + after)).count();
        assert_eq!(told(Duration::ZERO), 20);
        assert_eq!(told(Duration::from_millis(500)), 0);
        assert_eq!(told(Duration::from_millis(1_500)), 20);
        assert_eq!(refusals.budget().untold.get("rate"), Some(&2_960));
        refusals.summarise();
        assert!(refusals.budget().untold.is_empty());
    }
}
