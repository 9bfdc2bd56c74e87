//! The ledger: what was sent against what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;
use valkey_admin::DeadLetter;
use valkey_envelope::{DeadReason, Envelope};

use super::{
    consumer::Report,
    load::{Fate, Form, Messages},
};

/// Kept while it runs.
#[derive(Default)]
pub(super) struct Books {
    sent: Messages,
    /// How often each id was acked.
    acks: BTreeMap<String, u64>,
    nacks: u64,
    /// Ids delivered again after their consumer had died.
    reclaimed: BTreeSet<String>,
    in_flight_at_kill: Option<u64>,
}

/// What the books say in the end.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Verdict {
    sent: u64,
    sent_go_inline: u64,
    sent_go_base64: u64,
    sent_ours: u64,
    acked: u64,
    retried: u64,
    dead: u64,
    expired: u64,
    reclaimed: u64,
    lost: u64,
    duplicates: u64,
    in_flight_at_kill: u64,
    /// Everything that does not add up.
    problems: Vec<String>,
    #[serde(skip)]
    pub(super) took: Duration,
}

// === impl Books ===

impl Books {
    pub(super) fn send(&mut self, messages: Messages) {
        self.sent = messages;
    }

    pub(super) fn note(&mut self, report: Report) {
        if report.crashes > 0 {
            self.reclaimed.insert(report.id.clone());
        }
        if report.acked {
            *self.acks.entry(report.id).or_default() += 1;
        } else {
            self.nacks += 1;
        }
    }

    pub(super) fn killed(&mut self, in_flight: u64) {
        self.in_flight_at_kill = Some(in_flight);
    }

    /// Different messages acked so far.
    pub(super) fn acked(&self) -> u64 {
        self.acks.len() as u64
    }

    /// Whether as many are acked or dead as were sent.
    pub(super) fn is_settled(&self, dead: u64) -> bool {
        self.acked() + dead >= self.sent.len() as u64
    }

    /// Compares.
    pub(super) fn close(self, dead: &[DeadLetter], left: u64, settled: bool, took: Duration) -> Verdict {
        let mut problems = Vec::new();
        let mut died: BTreeMap<String, DeadReason> = BTreeMap::new();
        for letter in dead {
            let Ok(envelope) = Envelope::decode(&letter.bytes) else {
                problems.push(format!("dead letter {} is no envelope", letter.id));
                continue;
            };
            let reason = letter.meta.as_ref().map(|meta| meta.reason.clone()).unwrap_or_default();
            if died.insert(envelope.id().to_string(), reason).is_some() {
                problems.push(format!("message {} died twice", envelope.id()));
            }
        }
        if !settled {
            problems.push(format!("{left} messages were not settled in time"));
        } else if left > 0 {
            problems.push(format!("{left} messages are left in the queue"));
        }
        if self.in_flight_at_kill.is_none() {
            problems.push("no consumer was killed".to_owned());
        }
        for id in self.acks.keys().chain(died.keys()).filter(|id| !self.sent.contains_key(*id)) {
            problems.push(format!("message {id} was never sent"));
        }
        let mut lost = 0;
        for (id, (_, fate)) in &self.sent {
            let (acked, death) = (self.acks.contains_key(id), died.get(id));
            let expected = match fate {
                Fate::Expired => Some(DeadReason::Expired),
                Fate::Poison => Some(DeadReason::MaxAttempts),
                Fate::Smooth | Fate::Flaky => None,
            };
            match (acked, death) {
                (false, None) => lost += 1,
                (true, Some(reason)) => problems.push(format!("message {id} was acked and died ({reason})")),
                (true, None) if expected.is_some() => {
                    problems.push(format!("message {id} was acked, though it is {fate:?}"));
                }
                (false, Some(reason)) if Some(reason) != expected.as_ref() => {
                    problems.push(format!("message {id}, which is {fate:?}, died ({reason})"));
                }
                _ => {}
            }
        }
        let of_form = |form| self.sent.values().filter(|(f, _)| *f == form).count() as u64;
        let expired = died.values().filter(|reason| **reason == DeadReason::Expired).count() as u64;
        Verdict {
            sent: self.sent.len() as u64,
            sent_go_inline: of_form(Form::GoInline),
            sent_go_base64: of_form(Form::GoBase64),
            sent_ours: of_form(Form::Ours),
            acked: self.acked(),
            retried: self.nacks.saturating_sub(died.len() as u64 - expired),
            dead: died.len() as u64 - expired,
            expired,
            reclaimed: self.reclaimed.len() as u64,
            lost,
            duplicates: self.acks.values().map(|times| times - 1).sum(),
            in_flight_at_kill: self.in_flight_at_kill.unwrap_or(0),
            problems,
            took,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether every message is accounted for.
    pub(super) fn balances(&self) -> bool {
        self.lost == 0 && self.problems.is_empty() && self.sent == self.acked + self.dead + self.expired
    }

    /// The table: name, number, remark.
    pub(super) fn lines(&self) -> Vec<(&'static str, u64, String)> {
        let forms = format!(
            "{} Go inline, {} Go base64, {} by our sender",
            self.sent_go_inline, self.sent_go_base64, self.sent_ours
        );
        let at_kill = format!(
            "delivered again after the SIGKILL; {} were in flight then, over all consumers",
            self.in_flight_at_kill
        );
        vec![
            ("sent", self.sent, forms),
            ("acked", self.acked, String::new()),
            ("retried", self.retried, "failed and tried again".to_owned()),
            ("dead", self.dead, "failed as often as allowed".to_owned()),
            ("expired", self.expired, "were too old, kept among the dead letters".to_owned()),
            ("reclaimed", self.reclaimed, at_kill),
            ("lost", self.lost, String::new()),
            ("duplicates", self.duplicates, "handled, but killed before the ack: at least once".to_owned()),
        ]
    }

    /// One sentence, and all that is wrong.
    pub(super) fn judgement(&self) -> String {
        if self.balances() {
            return format!(
                "{} = {} acked + {} dead + {} expired: the books balance",
                self.sent, self.acked, self.dead, self.expired
            );
        }
        let mut text = "the books do not balance".to_owned();
        for problem in self.problems.iter().take(20) {
            text.push_str("\n  ");
            text.push_str(problem);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use valkey_envelope::DeadMeta;

    use super::*;

    fn books(fates: &[(&str, Fate)]) -> Books {
        let mut books = Books::default();
        books.send(fates.iter().map(|(id, fate)| ((*id).to_owned(), (Form::Ours, *fate))).collect());
        books.killed(3);
        books
    }

    fn report(id: &str, acked: bool, crashes: u32) -> Report {
        Report { id: id.into(), acked, crashes }
    }

    fn letter(id: &str, reason: DeadReason) -> DeadLetter {
        let bytes = Envelope::new("x").unwrap().with_id(id).encode().unwrap();
        DeadLetter::new(id, 1, Some(DeadMeta::new(reason)), bytes)
    }

    #[test]
    fn books_that_balance() {
        let mut books =
            books(&[("a", Fate::Smooth), ("b", Fate::Flaky), ("c", Fate::Poison), ("d", Fate::Expired)]);
        for (id, acked, crashes) in
            [("a", true, 0), ("a", true, 1), ("b", false, 0), ("b", true, 0), ("c", false, 0)]
        {
            books.note(report(id, acked, crashes));
        }
        assert!(books.is_settled(2) && !books.is_settled(1));
        let dead = [letter("c", DeadReason::MaxAttempts), letter("d", DeadReason::Expired)];
        let verdict = books.close(&dead, 0, true, Duration::ZERO);
        assert!(verdict.balances(), "{verdict:?}");
        assert_eq!((verdict.acked, verdict.retried, verdict.dead, verdict.expired), (2, 1, 1, 1));
        assert_eq!((verdict.reclaimed, verdict.lost, verdict.duplicates), (1, 0, 1));
        assert!(verdict.judgement().contains("balance"));
    }

    #[test]
    fn each_imbalance_is_found() {
        let close = |books: Books, dead: &[DeadLetter], left| books.close(dead, left, true, Duration::ZERO);
        let one = || books(&[("a", Fate::Smooth)]);
        let acked = || {
            let mut books = one();
            books.note(report("a", true, 0));
            books
        };
        assert!(close(acked(), &[], 0).balances());
        assert_eq!(close(one(), &[], 0).lost, 1);
        assert!(!close(acked(), &[], 1).balances());
        assert!(!close(acked(), &[letter("a", DeadReason::Rejected)], 0).balances());
        assert!(!close(one(), &[letter("a", DeadReason::Crashed)], 0).balances());
        assert!(!close(acked(), &[letter("x", DeadReason::Expired)], 0).balances());
        assert!(!acked().close(&[], 0, false, Duration::ZERO).balances());
        let mut poison = books(&[("a", Fate::Poison)]);
        poison.note(report("a", true, 0));
        assert!(!close(poison, &[], 0).balances());
    }
}
