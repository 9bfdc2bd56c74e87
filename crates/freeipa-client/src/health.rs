//! Whether a server is well enough to be given new work.

use std::time::{Duration, Instant};

/// So many failures in a row make a server unwell: one may be an accident.
const FAILURES: u32 = 2;

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What is known of one server. Pure: the clock is an argument.
///
/// After a pause it counts as well again, so that somebody finds out; the pause grows while it is not.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: u32,
    unwell_until: Option<Instant>,
}

impl Health {
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        self.unwell_until.is_none_or(|until| until <= now)
    }

    /// Whether nothing went wrong last. Unlike [`is_well`](Self::is_well) it does not come true by waiting.
    pub(crate) fn answers(&self) -> bool {
        self.failures == 0
    }

    /// It answered, whatever it said.
    pub(crate) fn success(&mut self) {
        *self = Self::default();
    }

    /// It did not answer, or could do nothing.
    pub(crate) fn failure(&mut self, now: Instant) {
        // Calls that were on their way when it fell ill say nothing new.
        if !self.is_well(now) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(FAILURES) {
            let pause = FIRST_PAUSE * 2_u32.pow(doublings.min(8));
            self.unwell_until = Some(now + pause.min(LONGEST_PAUSE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_an_accident_and_two_are_not() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failure(now);
        assert!(health.is_well(now));
        health.failure(now);
        assert!(!health.is_well(now));
        assert!(health.is_well(now + FIRST_PAUSE), "somebody has to find out");
        assert!(!health.answers(), "nobody has yet");
        health.success();
        assert!(health.is_well(now) && health.answers());
    }

    #[test]
    fn the_pause_grows_to_its_longest() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        health.failure(now);
        for seconds in [10, 20, 40, 60, 60] {
            health.failure(now);
            health.failure(now); // one that was on its way
            assert!(!health.is_well(now + Duration::from_secs(seconds - 1)), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(health.is_well(now), "{seconds}");
        }
    }
}
