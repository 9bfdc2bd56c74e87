//! The time the doubles live in: the machine's, moved ahead by whoever tests; or one that stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The machine's time, plus what it was moved ahead. Clones move together.
///
/// Lockouts, expiries and the pace of Telegram follow it; delays and hangs, which clients feel, do not.
///
/// ```
/// use std::time::Duration;
///
/// use freeipa_double::Clock;
///
/// let clock = Clock::standing();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(600));
/// assert_eq!(clock.now().duration_since(before).as_secs(), 600);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock {
    stands_at: Option<Timestamp>,
    ahead_ms: Arc<AtomicI64>,
}

impl Clock {
    /// One that stands, at the time it is now, and moves only when told to.
    #[must_use]
    pub fn standing() -> Self {
        Self { stands_at: Some(Timestamp::now()), ahead_ms: Arc::default() }
    }

    /// The time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        let here = self.stands_at.unwrap_or_else(Timestamp::now);
        here.saturating_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// Moves it ahead. There is no way back.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let _ = self
            .ahead_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead| Some(ahead.saturating_add(by)));
    }
}
