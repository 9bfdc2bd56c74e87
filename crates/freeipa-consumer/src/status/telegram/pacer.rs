//! When the next message may go: pure, the times come in.

use std::time::Duration;

use tokio::time::Instant;

/// Keeps messages apart, and back while Telegram wants none.
#[derive(Debug)]
pub(super) struct Pacer {
    gap: Duration,
    next: Instant,
    paused_until: Instant,
}

impl Pacer {
    pub(super) fn new(gap: Duration, now: Instant) -> Self {
        Self { gap, next: now, paused_until: now }
    }

    /// The time of the next message, which is taken by that; or how long to wait, if it would be longer than `patience`.
    pub(super) fn reserve(&mut self, now: Instant, patience: Duration) -> Result<Instant, Duration> {
        let at = now.max(self.next).max(self.paused_until);
        let wait = at - now;
        if wait > patience {
            return Err(wait);
        }
        self.next = at + self.gap;
        Ok(at)
    }

    /// Nothing before then. A pause is never shortened by a later, shorter one.
    pub(super) fn pause_until(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(until);
    }

    /// How long the pause lasts yet.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.paused_until.checked_duration_since(now).filter(|pause| !pause.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(50);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn messages_keep_their_distance() {
        let start = Instant::now();
        let mut pacer = Pacer::new(GAP, start);
        for n in 0..20 {
            assert_eq!(pacer.reserve(start, SECOND), Ok(start + GAP * n));
        }
        assert_eq!(
            pacer.reserve(start + 2 * SECOND, SECOND),
            Ok(start + 2 * SECOND),
            "unused turns are not saved up"
        );
    }

    #[test]
    fn a_pause_holds_everybody_and_nobody_waits_longer_than_he_likes() {
        let start = Instant::now();
        let mut pacer = Pacer::new(GAP, start);
        pacer.pause_until(start + 5 * SECOND);
        pacer.pause_until(start + 2 * SECOND);
        assert_eq!(pacer.pause(start), Some(5 * SECOND));
        assert_eq!(pacer.reserve(start, SECOND), Err(5 * SECOND));
        assert_eq!(pacer.reserve(start + 4 * SECOND, SECOND), Ok(start + 5 * SECOND));
        assert_eq!(pacer.reserve(start + 4 * SECOND, 2 * SECOND), Ok(start + 5 * SECOND + GAP));
        assert_eq!(pacer.pause(start + 5 * SECOND), None);
    }
}
