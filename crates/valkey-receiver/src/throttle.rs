//! The rate at which handlers of this process may start: the pure arithmetic, and the gate that waits by it.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::settings::ReceiverSettings;

/// Lets workers pass one by one, never faster than the rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: Rate,
    /// When the next start would be on time if all had come evenly; in the past after a quiet time.
    due: Mutex<Instant>,
}

/// A rate with a burst, as the generic cell rate algorithm has it.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: Duration,
    /// How far starts may run ahead of the even pace.
    slack: Duration,
}

impl Throttle {
    /// The throttle that `settings` ask for.
    pub(crate) fn of(settings: &ReceiverSettings) -> Option<Self> {
        let per_second = settings.rate_limit_requests?;
        let burst = settings.rate_limit_burst.unwrap_or(per_second);
        Some(Self { rate: Rate::new(per_second.get(), burst.get()), due: Mutex::new(Instant::now()) })
    }

    /// Waits for the turn, then for `next`. The turn is spent only if there is something: an idle worker takes nothing
    /// from the rate. Cancel safe if `next` is.
    pub(crate) async fn pass<T>(&self, next: impl Future<Output = Option<T>>) -> Option<T> {
        let mut due = self.due.lock().await;
        sleep_until(self.rate.earliest(*due)).await;
        let something = next.await?;
        *due = self.rate.after(*due, Instant::now());
        Some(something)
    }
}

impl Rate {
    fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self { interval, slack: interval * burst.saturating_sub(1) }
    }

    fn earliest(self, due: Instant) -> Instant {
        due.checked_sub(self.slack).unwrap_or(due)
    }

    fn after(self, due: Instant, start: Instant) -> Instant {
        due.max(start) + self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn starts(throttle: &Throttle, count: usize) -> Vec<u128> {
        let begin = Instant::now();
        let mut at = Vec::new();
        for _ in 0..count {
            throttle.pass(async { Some(()) }).await;
            at.push(begin.elapsed().as_millis());
        }
        at
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_evenly() {
        let throttle = Throttle { rate: Rate::new(10, 3), due: Mutex::new(Instant::now()) };
        assert_eq!(starts(&throttle, 6).await, [0, 0, 0, 100, 200, 300]);
        // A long quiet time earns one burst, not more.
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(starts(&throttle, 5).await, [0, 0, 0, 100, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_nothing_spends_nothing() {
        let throttle = Throttle { rate: Rate::new(1, 1), due: Mutex::new(Instant::now()) };
        for _ in 0..5 {
            assert_eq!(throttle.pass(async { None::<()> }).await, None);
        }
        assert_eq!(starts(&throttle, 2).await, [0, 1000]);
    }
}
