//! The oracle: what senders were told, held against what is there.

use std::collections::BTreeMap;

use valkey_sender::{Certainty, Receipt, SendError};
use valkey_testkit::Figures;

/// What senders were told. Messages have names here, the same as in what is there: ids, or payloads.
#[derive(Default)]
pub(crate) struct Books {
    confirmed: Vec<String>,
    unknown: u64,
    rejected: u64,
    unanswered: u64,
}

/// The answers, held against what is there.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    pub(crate) confirmed: u64,
    pub(crate) unknown: u64,
    rejected: u64,
    unanswered: u64,
    /// Confirmed, and not there.
    pub(crate) lost: Vec<String>,
    /// There more often than once.
    pub(crate) twice: Vec<String>,
}

impl Books {
    /// Enters the answer about a message.
    pub(crate) fn note(&mut self, name: impl ToString, answer: &Result<Receipt, SendError>) {
        match Certainty::of(answer) {
            Certainty::Confirmed => self.confirm(name),
            Certainty::Unknown => self.unknown += 1,
            Certainty::Rejected => self.rejected += 1,
        }
    }

    /// Enters a message that was put there past our senders.
    #[expect(clippy::needless_pass_by_value, reason = "mostly made on the spot")]
    pub(crate) fn confirm(&mut self, name: impl ToString) {
        self.confirmed.push(name.to_string());
    }

    /// Enters a send that was dropped before its answer.
    pub(crate) fn drop_one(&mut self) {
        self.unanswered += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.confirmed.extend(other.confirmed);
        self.unknown += other.unknown;
        self.rejected += other.rejected;
        self.unanswered += other.unanswered;
    }

    /// Given the name of each message that is there, as often as it is.
    pub(crate) fn balance(&self, there: &[String]) -> Balance {
        let mut counts = BTreeMap::<&str, u64>::new();
        for name in there {
            *counts.entry(name).or_default() += 1;
        }
        let mut lost: Vec<String> =
            self.confirmed.iter().filter(|name| !counts.contains_key(name.as_str())).cloned().collect();
        // A duplicate is confirmed as often as it is sent; it is one message.
        lost.sort();
        lost.dedup();
        let twice = counts.into_iter().filter(|(_, count)| *count > 1);
        Balance {
            confirmed: self.confirmed.len() as u64,
            unknown: self.unknown,
            rejected: self.rejected,
            unanswered: self.unanswered,
            lost,
            twice: twice.map(|(name, _)| name.to_owned()).collect(),
        }
    }
}

impl Balance {
    pub(crate) fn add(&mut self, other: Self) {
        self.confirmed += other.confirmed;
        self.unknown += other.unknown;
        self.rejected += other.rejected;
        self.unanswered += other.unanswered;
        self.lost.extend(other.lost);
        self.twice.extend(other.twice);
    }

    /// As figures: of the test as a whole, or of a case of it.
    pub(crate) fn publish(&self, figures: Figures) {
        figures
            .sent(self.confirmed + self.unknown + self.rejected + self.unanswered)
            .confirmed(self.confirmed)
            .unknown(self.unknown)
            .rejected(self.rejected)
            .lost(self.lost.len() as u64)
            .twice(self.twice.len() as u64)
            .publish();
    }

    /// Publishes them, and then judges.
    pub(crate) fn assert_whole(&self) {
        self.publish(Figures::new());
        let Self { lost, twice, .. } = self;
        assert!(lost.is_empty() && twice.is_empty(), "lost: {lost:?}, there twice: {twice:?}");
    }
}
