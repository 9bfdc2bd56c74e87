//! The books of a test: which message was handed out how often, and which was finished.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Messages are known by their payload, a number from 1 on. Clones share the books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    /// How often each was finished by a handler.
    done: BTreeMap<u32, u32>,
    /// How often each was handed out after so many crashes.
    handed: BTreeMap<(u32, u32), u32>,
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub(crate) fn handed_out(&self, number: u32, crashes: u32) {
        *self.books().handed.entry((number, crashes)).or_default() += 1;
    }

    pub(crate) fn done(&self, number: u32) {
        *self.books().done.entry(number).or_default() += 1;
    }

    /// Reads what a child said: `handed <number> <crashes>`, `done <number>`; anything else is not for the books.
    pub(crate) fn read(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["handed", number, crashes] => self.handed_out(number.parse().unwrap(), crashes.parse().unwrap()),
            ["done", number] => self.done(number.parse().unwrap()),
            _ => {}
        }
    }

    /// Those of `1..=count` that no handler ever finished.
    pub(crate) fn lost(&self, count: u32) -> Vec<u32> {
        let books = self.books();
        (1..=count).filter(|number| !books.done.contains_key(number)).collect()
    }

    pub(crate) fn is_missing(&self, number: u32) -> bool {
        !self.books().done.contains_key(&number)
    }

    pub(crate) fn finished(&self) -> usize {
        self.books().done.len()
    }

    /// How often messages were finished once more than needed.
    pub(crate) fn duplicates(&self) -> u32 {
        self.books().done.values().map(|times| times - 1).sum()
    }

    /// The same, of these messages alone.
    pub(crate) fn duplicates_among(&self, numbers: &BTreeSet<u32>) -> u32 {
        let books = self.books();
        numbers.iter().filter_map(|number| books.done.get(number)).map(|times| times - 1).sum()
    }

    /// The messages handed out more than once.
    pub(crate) fn handed_out_more_than_once(&self) -> BTreeSet<u32> {
        self.handed_out_more_than_once_with(&Self::default())
    }

    /// The same over these books and others.
    pub(crate) fn handed_out_more_than_once_with(&self, other: &Self) -> BTreeSet<u32> {
        let mut times = BTreeMap::<u32, u32>::new();
        for ledger in [self, other] {
            for ((number, _), count) in &ledger.books().handed {
                *times.entry(*number).or_default() += count;
            }
        }
        times.into_iter().filter(|(_, count)| *count > 1).map(|(number, _)| number).collect()
    }

    /// The messages handed out after at least one crash.
    pub(crate) fn reclaimed(&self) -> BTreeSet<u32> {
        self.books().handed.keys().filter(|(_, crashes)| *crashes > 0).map(|(number, _)| *number).collect()
    }

    /// The highest crash count each message was handed out with, of those that ever had one.
    pub(crate) fn crashes(&self) -> BTreeMap<u32, u32> {
        let books = self.books();
        let crashed = books.handed.keys().copied().filter(|(_, crashes)| *crashes > 0);
        // In the order of the crash counts of each number: the last one stays.
        crashed.collect()
    }

    /// The highest crash count any message was handed out with.
    pub(crate) fn most_crashes(&self) -> u32 {
        self.books().handed.keys().map(|(_, crashes)| *crashes).max().unwrap_or(0)
    }

    /// The messages handed out more than once with one and the same crash count.
    pub(crate) fn handed_out_twice(&self) -> Vec<u32> {
        self.books().handed.iter().filter(|(_, times)| **times > 1).map(|((number, _), _)| *number).collect()
    }
}
