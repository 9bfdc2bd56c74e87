//! What was counted already.
//!
//! Postfix asks about a message several times: for each recipient, before the data, after it. What was charged at one of these
//! questions is noted here as a number, so that the next one does not charge it again.
//!
//! All questions about a message carry the same `instance`, and come from one process of Postfix, one after the other. So it
//! is this process that remembers, not the store: the questions reach the same guard as long as one address in Postfix's settings is
//! one guard. Where several stages name different guards, each of them counts.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A set that forgets: what was not noted or asked for during `age` may be gone, at twice of it is gone, and sooner only when
/// it holds as much as it may.
#[derive(Debug)]
pub(crate) struct Memory {
    generations: Mutex<Generations>,
    /// Chosen at random for this process: nobody outside can find texts that are taken for one another.
    hasher: RandomState,
    age: Duration,
    /// Of one generation.
    most: usize,
}

#[derive(Debug)]
struct Generations {
    young: HashSet<Note>,
    old: HashSet<Note>,
    turned: Instant,
}

/// Something that was counted. Two are taken for one another once in 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Note(u64);

// === impl Memory ===

impl Memory {
    /// Remembers for `age`, and `most` notes at a time, which take some 20 bytes each.
    pub(crate) fn new(age: Duration, most: usize, now: Instant) -> Self {
        let generations = Generations { young: HashSet::new(), old: HashSet::new(), turned: now };
        Self {
            generations: Mutex::new(generations),
            hasher: RandomState::new(),
            age,
            most: (most / 2).max(1),
        }
    }

    /// What stands for a thing here.
    pub(crate) fn note_of(&self, what: impl Hash) -> Note {
        Note(self.hasher.hash_one(what))
    }

    /// Whether it was noted. Being asked for keeps it.
    pub(crate) fn has(&self, note: Note, now: Instant) -> bool {
        let mut generations = self.turned(now);
        if generations.young.contains(&note) {
            return true;
        }
        let found = generations.old.contains(&note);
        if found {
            generations.insert(note, self.most, now);
        }
        found
    }

    /// Notes something.
    pub(crate) fn add(&self, note: Note, now: Instant) {
        self.turned(now).insert(note, self.most, now);
    }

    fn turned(&self, now: Instant) -> std::sync::MutexGuard<'_, Generations> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(generations.turned);
        if since >= self.age * 2 {
            generations.old = HashSet::new();
            generations.young = HashSet::new();
            generations.turned = now;
        } else if since >= self.age {
            generations.turn(now);
        }
        generations
    }
}

// === impl Generations ===

impl Generations {
    fn insert(&mut self, note: Note, most: usize, now: Instant) {
        if self.young.len() >= most && !self.young.contains(&note) {
            self.turn(now);
        }
        self.young.insert(note);
    }

    fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_mins(1);

    #[test]
    fn what_was_noted_is_known_for_its_age_and_gone_at_twice_of_it() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for first in 0..60 {
            let memory = Memory::new(AGE, 100, begun);
            let note = memory.note_of(("instance", "rule"));
            assert!(!memory.has(note, at(first)));
            memory.add(note, at(first));
            assert!(memory.has(note, at(first)));
            assert!(!memory.has(memory.note_of(("instance", "other")), at(first)));

            let kept = Memory::new(AGE, 100, begun);
            let note = kept.note_of(1);
            kept.add(note, at(first));
            assert!(kept.has(note, at(first + 59)));
            // Asked for then, it is known for as long again.
            assert!(kept.has(note, at(first + 118)));
            assert!(!kept.has(note, at(first + 118 + 120)));
        }
    }

    #[test]
    fn it_holds_no_more_than_it_may_and_forgets_the_oldest_first() {
        let now = Instant::now();
        let memory = Memory::new(AGE, 100, now);
        let notes: Vec<Note> = (0..1_000).map(|number| memory.note_of(number)).collect();
        for note in &notes {
            memory.add(*note, now);
            let generations = memory.turned(now);
            assert!(generations.young.len() + generations.old.len() <= 100);
        }
        assert!(notes[950..].iter().all(|note| memory.has(*note, now)));
        assert!(!notes[..900].iter().any(|note| memory.has(*note, now)));
    }
}
