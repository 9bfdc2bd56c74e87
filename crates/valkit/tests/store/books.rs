//! What was sent with which answer, and what was handled how often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use valkey_sender::SendError;

/// Messages are known by their number, from 1 on. Clones share the books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    confirmed: BTreeMap<u32, Instant>,
    /// Sends that ended without a promise, by the reason of the last one; some are sent again and confirmed later.
    open: BTreeMap<u32, &'static str>,
    /// How often each reason was given.
    reasons: BTreeMap<&'static str, u64>,
    /// The text of the first refusal for each reason.
    texts: BTreeMap<&'static str, String>,
    handed: BTreeMap<u32, u32>,
    done: BTreeMap<u32, u32>,
    crashes: u32,
}

impl Books {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap()
    }

    pub(crate) fn confirm(&self, number: u32) {
        let mut lines = self.lines();
        lines.open.remove(&number);
        lines.confirmed.insert(number, Instant::now());
    }

    pub(crate) fn fail(&self, number: u32, error: &SendError) {
        let mut lines = self.lines();
        let reason = error.reason();
        lines.open.insert(number, reason);
        *lines.reasons.entry(reason).or_default() += 1;
        lines.texts.entry(reason).or_insert_with(|| error.to_string());
    }

    pub(crate) fn hand(&self, number: u32, crashes: u32) {
        let mut lines = self.lines();
        *lines.handed.entry(number).or_default() += 1;
        lines.crashes = lines.crashes.max(crashes);
    }

    pub(crate) fn done(&self, number: u32) {
        *self.lines().done.entry(number).or_default() += 1;
    }

    pub(crate) fn confirmed(&self) -> BTreeSet<u32> {
        self.lines().confirmed.keys().copied().collect()
    }

    pub(crate) fn confirmed_at(&self, number: u32) -> Instant {
        self.lines().confirmed[&number]
    }

    /// Sends whose last answer was no promise, with the reason of that one.
    pub(crate) fn open(&self) -> BTreeMap<u32, &'static str> {
        self.lines().open.clone()
    }

    /// How often sends ended for this reason.
    pub(crate) fn failures(&self, reason: &str) -> u64 {
        self.lines().reasons.get(reason).copied().unwrap_or(0)
    }

    pub(crate) fn reasons(&self) -> BTreeMap<&'static str, u64> {
        self.lines().reasons.clone()
    }

    /// What the first one said.
    pub(crate) fn text(&self, reason: &str) -> String {
        self.lines().texts.get(reason).cloned().unwrap_or_default()
    }

    pub(crate) fn handed(&self) -> BTreeSet<u32> {
        self.lines().handed.keys().copied().collect()
    }

    pub(crate) fn finished(&self) -> BTreeSet<u32> {
        self.lines().done.keys().copied().collect()
    }

    /// Confirmed, and never handled.
    pub(crate) fn missing(&self) -> BTreeSet<u32> {
        let lines = self.lines();
        lines.confirmed.keys().copied().filter(|number| !lines.done.contains_key(number)).collect()
    }

    /// Handed to a handler more than once.
    pub(crate) fn twice(&self) -> BTreeSet<u32> {
        self.lines().handed.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect()
    }

    /// The highest crash count any message came with.
    pub(crate) fn crashes(&self) -> u32 {
        self.lines().crashes
    }
}
