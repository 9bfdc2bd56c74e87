//! Who was sent when, with which answer, and who was handled when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use valkey_sender::{Certainty, Receipt, SendError};
use valkey_testkit::Figures;

/// What [`Balance::silence`] is called in a table.
pub(crate) const SILENCE: &str = "recovery is the longest time without a confirmed send";

/// One send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) certainty: Certainty,
    /// Why there is no promise.
    reason: Option<&'static str>,
}

/// Messages are known by their payload, a number. Clones share the books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    sent: BTreeMap<u32, Sent>,
    done: BTreeMap<u32, Vec<Instant>>,
    most_crashes: u32,
}

impl Ledger {
    /// Tells whether there is a promise.
    pub(crate) fn sent(&self, number: u32, began: Instant, answer: &Result<Receipt, SendError>) -> bool {
        let certainty = Certainty::of(answer);
        let reason = answer.as_ref().err().map(SendError::reason);
        let sent = Sent { began, ended: Instant::now(), certainty, reason };
        self.0.lock().unwrap().sent.insert(number, sent);
        certainty == Certainty::Confirmed
    }

    pub(crate) fn done(&self, number: u32, crashes: u32) {
        let mut books = self.0.lock().unwrap();
        books.most_crashes = books.most_crashes.max(crashes);
        books.done.entry(number).or_default().push(Instant::now());
    }

    /// How many were sent and handled since then.
    pub(crate) fn handled_since(&self, since: Instant) -> usize {
        let books = self.0.lock().unwrap();
        let late = books.sent.iter().filter(|(_, sent)| sent.began > since);
        late.filter(|(number, _)| books.done.contains_key(number)).count()
    }

    /// What the books say once nothing is left in the queue.
    pub(crate) fn close(&self) -> Balance {
        let books = self.0.lock().unwrap();
        assert_eq!(books.most_crashes, 0, "nobody crashed");
        let firsts = books
            .sent
            .iter()
            .filter_map(|(number, sent)| Some((sent.began, *books.done.get(number)?.first()?)));
        let lost = books.sent.iter().filter(|(number, sent)| {
            sent.certainty == Certainty::Confirmed && !books.done.contains_key(number)
        });
        Balance {
            sent: books.sent.values().copied().collect(),
            handled: firsts.collect(),
            lost: lost.map(|(_, sent)| *sent).collect(),
            twice: books.done.values().filter(|times| times.len() > 1).count() as u64,
        }
    }
}

/// What the books say in the end.
pub(crate) struct Balance {
    sent: Vec<Sent>,
    /// When those that were handled had been sent, and when they were handled first.
    handled: Vec<(Instant, Instant)>,
    /// Those that were confirmed and never handled.
    pub(crate) lost: Vec<Sent>,
    pub(crate) twice: u64,
}

impl Balance {
    /// From `fault` until the first message was handled that was sent after `since`.
    pub(crate) fn recovery(&self, fault: Instant, since: Instant) -> Option<Duration> {
        let done = self.handled.iter().filter(|(began, _)| *began > since).map(|(_, done)| *done);
        done.min().map(|done| done - fault)
    }

    /// How many sends fell wholly into this time and had this answer.
    pub(crate) fn count_in(&self, from: Instant, to: Instant, certainty: Certainty) -> usize {
        let within = |sent: &&Sent| sent.began > from && sent.ended < to && sent.certainty == certainty;
        self.sent.iter().filter(within).count()
    }

    /// The longest time that a confirmed send has taken.
    pub(crate) fn longest(&self) -> Duration {
        let confirmed = self.sent.iter().filter(|sent| sent.certainty == Certainty::Confirmed);
        confirmed.map(|sent| sent.ended - sent.began).max().unwrap_or_default()
    }

    /// The longest time without the end of a confirmed send from then on.
    pub(crate) fn silence(&self, from: Instant) -> Duration {
        let confirmed = self.sent.iter().filter(|sent| sent.certainty == Certainty::Confirmed);
        let mut ends: Vec<Instant> = confirmed.map(|sent| sent.ended).filter(|ended| *ended > from).collect();
        ends.push(from);
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Why there was no promise, and how often.
    pub(crate) fn reasons(&self) -> BTreeMap<&'static str, usize> {
        let mut reasons = BTreeMap::new();
        for reason in self.sent.iter().filter_map(|sent| sent.reason) {
            *reasons.entry(reason).or_default() += 1;
        }
        reasons
    }

    /// By how much the last of the lost sends was begun and answered after that instant; negative before it.
    pub(crate) fn lateness(&self, instant: Instant) -> Option<(f64, f64)> {
        let began = self.lost.iter().map(|sent| sent.began).max()?;
        let ended = self.lost.iter().map(|sent| sent.ended).max()?;
        Some((seconds_after(began, instant), seconds_after(ended, instant)))
    }

    /// Publishes and prints.
    pub(crate) fn publish(&self, case: &str, recovery: Option<Duration>, note: &str) {
        let count = |certainty| self.sent.iter().filter(|sent| sent.certainty == certainty).count() as u64;
        let (confirmed, unknown) = (count(Certainty::Confirmed), count(Certainty::Unknown));
        let (rejected, sent) = (count(Certainty::Rejected), self.sent.len() as u64);
        let (lost, twice) = (self.lost.len() as u64, self.twice);
        eprintln!(
            "{case}: sent {sent}, confirmed {confirmed}, unknown {unknown}, rejected {rejected}, lost {lost}, \
             twice {twice}, recovery {recovery:?}, {:?} {note}",
            self.reasons(),
        );
        let mut figures = Figures::case(case).sent(sent).confirmed(confirmed).unknown(unknown);
        figures = figures.rejected(rejected).lost(lost).twice(twice);
        if let Some(recovery) = recovery {
            figures = figures.recovery(recovery);
        }
        if !note.is_empty() {
            figures = figures.note(note);
        }
        figures.publish();
    }
}

/// Negative before it.
pub(crate) fn seconds_after(instant: Instant, since: Instant) -> f64 {
    match instant.checked_duration_since(since) {
        Some(after) => after.as_secs_f64(),
        None => -(since - instant).as_secs_f64(),
    }
}
