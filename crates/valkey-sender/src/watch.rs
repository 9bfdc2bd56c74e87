//! What a sender knows about the server without asking each time: its clock, and whether a queue is limited.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How old the knowledge about `max_length` may become; the price of pushing without a script.
const REFRESH: Duration = Duration::from_secs(5);

/// The server's clock, as this process's clock and the difference seen last.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    offset_ms: AtomicI64,
}

impl ServerClock {
    pub(crate) fn now_ms(&self) -> u64 {
        system_ms().saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Takes over what the server has just said.
    pub(crate) fn sync(&self, server_ms: u64) {
        let offset = i128::from(server_ms) - i128::from(system_ms());
        self.offset_ms.store(i64::try_from(offset).unwrap_or(0), Ordering::Relaxed);
    }
}

/// This process's clock in Unix milliseconds.
pub(crate) fn system_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Whether the queue's control hash sets a max length, and when that was last looked up.
#[derive(Debug)]
pub(crate) struct ControlWatch {
    born: Instant,
    /// Milliseconds after `born` when the next look is due.
    due_ms: AtomicU64,
    limited: AtomicBool,
}

impl ControlWatch {
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), due_ms: AtomicU64::new(0), limited: AtomicBool::new(false) }
    }

    /// Whether it is time to look again; answers `true` to one caller a period.
    pub(crate) fn claim_refresh(&self) -> bool {
        let now_ms = self.age_ms();
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        now_ms >= due_ms
            && self
                .due_ms
                .compare_exchange(
                    due_ms,
                    now_ms + REFRESH.as_millis() as u64,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Makes the next look due at once.
    pub(crate) fn expire(&self) {
        self.due_ms.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limited(&self, limited: bool) {
        self.limited.store(limited, Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_the_server() {
        let clock = ServerClock::default();
        clock.sync(system_ms() + 3_600_000);
        let ahead = clock.now_ms() - system_ms();
        assert!((3_590_000..=3_610_000).contains(&ahead), "{ahead}");
        clock.sync(0);
        assert!(clock.now_ms() < 10_000);
    }

    #[test]
    fn one_refresh_a_period() {
        let watch = ControlWatch::new();
        assert!(watch.claim_refresh());
        assert!(!watch.claim_refresh());
        watch.expire();
        assert!(watch.claim_refresh());
    }
}
