//! The circuit breaker: stops callers from queueing up in front of a store that keeps failing.
//!
//! [`state`] decides and is pure; this file adds the lock, the clock and the permit that cannot be forgotten.

mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::state::{BreakerPolicy, BreakerState};
use self::state::{Machine, Outcome, Ticket};
use crate::error::{Error, ErrorKind, Progress};
use crate::telemetry;

/// A circuit breaker shared by all who ask it.
///
/// It gates only those who [`acquire`](Self::acquire) a permit (the senders). Takes, settles and lease renewals do not
/// ask: refusing them would turn a short outage into redeliveries.
///
/// # When it lets calls through again
///
/// Probes go out once it has been open for [`timeout`](BreakerPolicy::timeout). A connection that learns more does not
/// let them wait so long:
///
/// - The Sentinels name another primary: it is closed, for the failures were another server's.
/// - The store is back: a lost connection was made again, at the same address or to the nodes that a cluster names now; it
///   answers again after a silence; or the address leads to a primary again, after a replica. Then probes go out at once,
///   and if one fails, again after 1/4 s, 1/2 s and so on, up to `timeout`.
///
/// A connection that comes and goes gains little: those pauses are counted from one return to the next, and begin small
/// again only after as long without a return as the longer of [`interval`](BreakerPolicy::interval) and `timeout`.
///
/// ```
/// use valkey_connection::{Breaker, BreakerPolicy, BreakerState};
/// use std::time::Duration;
///
/// let breaker = Breaker::new(BreakerPolicy {
///     failure_threshold: 0,
///     interval: Duration::from_mins(2),
///     timeout: Duration::from_mins(1),
///     max_requests: 5,
/// });
/// breaker.acquire().unwrap().failure();
/// assert_eq!(breaker.state(), BreakerState::Open);
/// assert!(breaker.acquire().unwrap_err().retry_after() > Duration::from_secs(59));
/// ```
#[derive(Clone, Debug)]
pub struct Breaker {
    machine: Arc<Mutex<Machine>>,
}

/// Admission to one call. Settle it with [`success`](Self::success), [`failure`](Self::failure) or
/// [`record`](Self::record); dropping it (a cancelled call) counts as neither and frees the probe slot.
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct Permit {
    machine: Arc<Mutex<Machine>>,
    ticket: Ticket,
    outcome: Outcome,
}

/// The breaker refuses: the store failed repeatedly, nothing was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BreakerOpen {
    retry_after: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(policy, Instant::now()))) }
    }

    /// Closes it and forgets all failures: they were those of another server.
    pub(crate) fn start_afresh(&self) {
        self.change(Machine::start_afresh);
    }

    /// The store was away, and is back.
    pub(crate) fn store_is_back(&self) {
        self.change(Machine::back);
    }

    /// Whether calls have failed since the last success.
    pub(crate) fn is_in_doubt(&self) -> bool {
        lock(&self.machine).is_in_doubt()
    }

    fn change(&self, how: impl FnOnce(&mut Machine, Instant)) {
        let mut machine = lock(&self.machine);
        let now = Instant::now();
        let before = machine.state(now);
        how(&mut machine, now);
        let after = machine.state(now);
        drop(machine);
        if before != after {
            telemetry::breaker_changed(before, after);
        }
    }

    /// Asks for admission.
    ///
    /// # Errors
    /// [`BreakerOpen`] with the time to wait.
    pub fn acquire(&self) -> Result<Permit, BreakerOpen> {
        let result = lock(&self.machine).acquire(Instant::now());
        match result {
            Ok(ticket) => {
                Ok(Permit { machine: Arc::clone(&self.machine), ticket, outcome: Outcome::Neutral })
            }
            Err(retry_after) => {
                telemetry::breaker_refused();
                Err(BreakerOpen { retry_after })
            }
        }
    }

    /// The state now.
    pub fn state(&self) -> BreakerState {
        lock(&self.machine).state(Instant::now())
    }
}

impl Permit {
    /// The store answered.
    pub fn success(mut self) {
        self.outcome = Outcome::Success;
    }

    /// The store failed.
    pub fn failure(mut self) {
        self.outcome = Outcome::Failure;
    }

    /// Settles by the result: an answer of the store, even a refusal, is a success; a
    /// [store failure](Error::is_store_failure) counts against it.
    pub fn record<T>(self, result: &Result<T, Error>) {
        match result {
            Err(error) if error.is_store_failure() => self.failure(),
            _ => self.success(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut machine = lock(&self.machine);
        let before = machine.state(now);
        machine.settle(&self.ticket, self.outcome, now);
        let after = machine.state(now);
        drop(machine);
        if before != after {
            telemetry::breaker_changed(before, after);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl BreakerOpen {
    /// How long to wait before asking again. A store that is back earlier is tried earlier.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the circuit breaker is open; try again in {:.1} s", self.retry_after.as_secs_f64())
    }
}

impl std::error::Error for BreakerOpen {}

impl From<BreakerOpen> for Error {
    fn from(open: BreakerOpen) -> Self {
        Self::new(ErrorKind::BreakerOpen, Progress::NotSent, open.to_string())
    }
}

/// Nothing panics while the lock is held; should it happen all the same, the counts are still usable.
fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn breaker(timeout: Duration) -> Breaker {
        Breaker::new(BreakerPolicy {
            failure_threshold: 3,
            interval: Duration::from_mins(2),
            timeout,
            max_requests: 1,
        })
    }

    #[test]
    fn a_dropped_permit_is_neutral_and_frees_its_slot() {
        let breaker = breaker(Duration::ZERO);
        for _ in 0..4 {
            breaker.acquire().unwrap().failure();
        }
        let probe = breaker.acquire().unwrap();
        assert!(breaker.acquire().is_err(), "one probe at a time");
        drop(probe);
        breaker.acquire().unwrap().success();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn the_failures_of_one_server_are_not_held_against_the_next() {
        let breaker = breaker(Duration::from_mins(1));
        for _ in 0..4 {
            breaker.acquire().unwrap().failure();
        }
        assert!(breaker.acquire().is_err());
        breaker.start_afresh();
        for _ in 0..3 {
            breaker.acquire().unwrap().failure();
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.acquire().unwrap().failure();
        assert_eq!(breaker.state(), BreakerState::Open, "the next has as many tries");
    }

    #[test]
    fn refusals_of_the_server_are_no_failures_of_the_store() {
        let breaker = breaker(Duration::from_mins(1));
        for _ in 0..10 {
            breaker.acquire().unwrap().record::<()>(&Err(Error::from_reply("WRONGTYPE x")));
            breaker.acquire().unwrap().record::<()>(&Err(Error::from_reply("OOM command not allowed")));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..4 {
            let lost = Error::new(ErrorKind::Disconnected, Progress::Unknown, "connection closed");
            breaker.acquire().unwrap().record::<()>(&Err(lost));
        }
        let refused = Error::from(breaker.acquire().unwrap_err());
        assert!(refused.is_not_sent() && refused.is_transient());
    }
}
