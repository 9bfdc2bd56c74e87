//! How many subjects a rule counts by themselves.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::subject::Subject;

/// The subjects that this process saw in the last window or two, as hashes: nobody fills the store by coming under many names.
#[derive(Debug)]
pub(crate) struct Subjects {
    most: usize,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    now: HashSet<u64>,
    before: HashSet<u64>,
}

impl Subjects {
    pub(crate) fn new(most: usize) -> Self {
        let seen = Seen { since: Instant::now(), now: HashSet::new(), before: HashSet::new() };
        Self { most, hasher: RandomState::new(), seen: Mutex::new(seen) }
    }

    /// Whether a subject is counted by itself: it was in the last window, or there is room for one more.
    pub(crate) fn admit(&self, subject: &Subject, window: Duration, now: Instant) -> bool {
        let hash = self.hasher.hash_one(subject);
        let mut seen = self.seen();
        let age = now.saturating_duration_since(seen.since);
        if age >= window {
            let gone = std::mem::take(&mut seen.now);
            seen.before = if age < window * 2 { gone } else { HashSet::new() };
            seen.since = now;
        }
        if seen.now.contains(&hash) {
            return true;
        }
        let room = seen.now.len() < self.most;
        if room {
            seen.now.insert(hash);
        }
        room || seen.before.contains(&hash)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another rule has seen nobody yet.
impl Clone for Subjects {
    fn clone(&self) -> Self {
        Self::new(self.most)
    }
}

/// Who was seen is no part of what a rule says.
impl PartialEq for Subjects {
    fn eq(&self, other: &Self) -> bool {
        self.most == other.most
    }
}

impl Eq for Subjects {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_there_stays_and_newcomers_find_room_in_the_next_window() {
        let (subjects, window) = (Subjects::new(10), Duration::from_mins(1));
        let begin = Instant::now();
        let admitted = |from: u32, to: u32, now: Instant| {
            (from..to).filter(|name| subjects.admit(&Subject::text(name.to_string()), window, now)).count()
        };
        assert_eq!(admitted(0, 30, begin), 10);
        assert_eq!(admitted(0, 10, begin), 10, "who was there goes on being counted");
        assert_eq!(admitted(100, 105, begin + window), 5);
        assert_eq!(admitted(0, 10, begin + window), 10, "also in the next window, though others came first");
        assert_eq!(admitted(200, 205, begin + window), 0);
        assert_eq!(admitted(0, 30, begin + window * 4), 10, "all are forgotten");
    }
}
