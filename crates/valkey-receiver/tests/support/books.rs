//! The books of a test that looks at its messages one by one: which were pushed, handed out and finished, and which are
//! still in the server's keeping.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use valkey_connection::{Command, Reply};
use valkey_envelope::{DeadBody, Delayed, Frame, InFlight, Lane};
use valkey_receiver::{Delivery, Receiver, SettleError};
use valkey_testkit::Figures;

use super::{Bed, soon};

/// How often there is a message of these bytes.
pub(crate) type Counts = BTreeMap<Bytes, u64>;

/// Messages are known by their bytes as pushed, which their ids make different. Clones share the books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    sent: Counts,
    handed: Counts,
    finished: Counts,
    /// Those that the test itself wants to see again.
    wanted_again: Counts,
}

/// What became of all that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) sent: u64,
    /// Not finished, and nowhere on the server.
    pub(crate) lost: u64,
    /// Messages handed out more often than they were sent and put off.
    pub(crate) twice: u64,
}

// === impl Books ===

impl Books {
    /// Of messages that were just pushed.
    pub(crate) fn of(raws: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        let books = Self::default();
        books.sent(raws);
        books
    }

    pub(crate) fn sent(&self, raws: impl IntoIterator<Item = impl Into<Bytes>>) {
        for raw in raws {
            *self.0.lock().unwrap().sent.entry(raw.into()).or_default() += 1;
        }
    }

    pub(crate) fn handed(&self, raw: &Bytes) {
        *self.0.lock().unwrap().handed.entry(raw.clone()).or_default() += 1;
    }

    pub(crate) fn handed_all(&self, raws: impl IntoIterator<Item = Bytes>) {
        raws.into_iter().for_each(|raw| self.handed(&raw));
    }

    /// It was put off by the test, so that it is no wonder when it is handed out once more.
    pub(crate) fn wanted_again(&self, raw: &Bytes) {
        *self.0.lock().unwrap().wanted_again.entry(raw.clone()).or_default() += 1;
    }

    pub(crate) fn finished(&self, raw: &Bytes) {
        *self.0.lock().unwrap().finished.entry(raw.clone()).or_default() += 1;
    }

    /// The next message of a receiver.
    pub(crate) async fn next(&self, receiver: &Receiver) -> Delivery {
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        self.handed(delivery.raw());
        delivery
    }

    /// Acks, and counts it as finished if the server says so.
    pub(crate) async fn try_ack(&self, delivery: Delivery) -> Result<(), SettleError> {
        let raw = delivery.raw().clone();
        let settled = soon("the settle", delivery.ack()).await;
        if settled.is_ok() {
            self.finished(&raw);
        }
        settled
    }

    pub(crate) async fn ack(&self, delivery: Delivery) {
        self.try_ack(delivery).await.unwrap();
    }

    /// Compares the books with what the queues hold, which must be at rest.
    pub(crate) async fn balance(&self, beds: &[&Bed]) -> Balance {
        let mut left = Counts::new();
        for bed in beds {
            for (raw, count) in bed.census().await {
                *left.entry(raw).or_default() += count;
            }
        }
        let pages = self.0.lock().unwrap();
        let of = |counts: &Counts, raw: &Bytes| counts.get(raw).copied().unwrap_or_default();
        let lost =
            |(raw, sent): (&Bytes, &u64)| sent.saturating_sub(of(&pages.finished, raw) + of(&left, raw));
        let once = |raw: &Bytes| of(&pages.sent, raw) + of(&pages.wanted_again, raw);
        let twice = pages.handed.iter().filter(|(raw, handed)| **handed > once(raw));
        Balance {
            sent: pages.sent.values().sum(),
            lost: pages.sent.iter().map(lost).sum(),
            twice: twice.count() as u64,
        }
    }

    /// The same, told as the figures of the test.
    pub(crate) async fn publish(&self, bed: &Bed) -> Balance {
        let balance = self.balance(&[bed]).await;
        balance.figures().publish();
        balance
    }
}

// === impl Balance ===

impl Balance {
    pub(crate) fn figures(self) -> Figures {
        self.on(Figures::new())
    }

    /// The figures of one case.
    pub(crate) fn on(self, figures: Figures) -> Figures {
        figures.sent(self.sent).lost(self.lost).twice(self.twice)
    }
}

impl Bed {
    /// Every message of the queue, wherever it is, among the dead as well. Where something else sits there is none.
    pub(crate) async fn census(&self) -> Counts {
        let keys = &self.keys;
        let mut all: Vec<Bytes> = Vec::new();
        for key in [keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), keys.woken()] {
            all.extend(self.members("LRANGE", key).await);
        }
        for frame in self.members("LRANGE", keys.redo()).await {
            all.push(Frame::decode(frame.clone()).map_or(frame, |frame| frame.raw));
        }
        for member in self.members("ZRANGE", keys.delayed()).await {
            all.push(Delayed::decode(member.clone()).map_or(member, |delayed| delayed.frame.raw));
        }
        for cid in self.members("ZRANGE", keys.consumers()).await {
            let inflight = keys.inflight(std::str::from_utf8(&cid).unwrap());
            for (field, value) in self.fields(&inflight).await {
                all.extend(InFlight::of_field(&field, value).map(|claim| claim.frame.raw));
            }
        }
        for (_, body) in self.fields(keys.dead_body()).await {
            all.push(DeadBody::decode(body.clone()).map_or(body, |dead| dead.raw));
        }
        let mut counts = Counts::new();
        for raw in all {
            *counts.entry(raw).or_default() += 1;
        }
        counts
    }

    async fn members(&self, range: &'static str, key: &str) -> Vec<Bytes> {
        let range = Command::new(range).key(key).arg("0").arg("-1");
        let members = self.connection.execute(range).await.and_then(Reply::into_array).unwrap_or_default();
        members.into_iter().map(|member| member.into_bytes().unwrap()).collect()
    }

    async fn fields(&self, key: &str) -> Vec<(Bytes, Bytes)> {
        let all = self.connection.execute(Command::new("HGETALL").key(key)).await;
        let pairs = all.and_then(Reply::into_pairs).unwrap_or_default();
        pairs
            .into_iter()
            .map(|(name, value)| (name.into_bytes().unwrap(), value.into_bytes().unwrap()))
            .collect()
    }
}
