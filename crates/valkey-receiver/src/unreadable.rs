//! Messages that this consumer cannot read, and another one might: how long they are put back for it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a message is put back within the time it has.
const TRIES: u32 = 6;
/// So many are remembered; a message more is given up at once.
const MOST: usize = 65_536;
/// Whoever saw a message last this many waits ago has lost sight of it: another consumer had it.
const FORGOTTEN: u32 = 60;

/// Which messages were seen when. By consumer, not by queue: a frame has no room to count what does not count.
#[derive(Debug)]
pub(crate) struct Unreadable {
    wait: Duration,
    first_seen: Mutex<HashMap<u64, Instant>>,
}

impl Unreadable {
    pub(crate) fn new(wait: Duration) -> Self {
        Self { wait, first_seen: Mutex::default() }
    }

    /// How long to put it back, or `None` to give it up.
    pub(crate) fn put_back(&self, raw: &[u8], now: Instant) -> Option<Duration> {
        let mut hasher = DefaultHasher::new();
        hasher.write(raw);
        let name = hasher.finish();
        // A panic while it was held left a map in order.
        let mut seen = self.first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = self.wait.saturating_mul(FORGOTTEN);
        if seen.len() >= MOST && !seen.contains_key(&name) {
            seen.retain(|_, first| now.saturating_duration_since(*first) < forgotten);
            if seen.len() >= MOST {
                return None;
            }
        }
        let first = seen.entry(name).or_insert(now);
        let age = now.saturating_duration_since(*first);
        if age >= forgotten {
            *first = now;
        } else if age >= self.wait {
            seen.remove(&name);
            return None;
        }
        (!self.wait.is_zero()).then(|| (self.wait / TRIES).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_mins(1);

    #[test]
    fn a_message_is_put_back_a_few_times_and_then_given_up() {
        let (unreadable, mut now) = (Unreadable::new(WAIT), Instant::now());
        let mut times = 0;
        while let Some(delay) = unreadable.put_back(b"a", now) {
            times += 1;
            now += delay;
        }
        assert_eq!(times, TRIES);
        assert!(unreadable.put_back(b"a", now).is_some(), "replayed, it has its time again");
        assert!(unreadable.put_back(b"b", now).is_some(), "each has its own time");
    }

    #[test]
    fn without_a_wait_nothing_is_put_back() {
        let unreadable = Unreadable::new(Duration::ZERO);
        assert_eq!(unreadable.put_back(b"a", Instant::now()), None);
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let (unreadable, now) = (Unreadable::new(WAIT), Instant::now());
        for n in 0..MOST {
            assert!(unreadable.put_back(&n.to_be_bytes(), now).is_some());
        }
        assert_eq!(unreadable.put_back(b"one more", now), None);
        assert!(unreadable.put_back(&7_usize.to_be_bytes(), now).is_some());
        assert!(unreadable.put_back(b"one more", now + WAIT * FORGOTTEN).is_some());
    }
}
