//! A sender and a receiver, both over connections that are cut in the middle of what they do: what was confirmed arrives
//! once, what is unknown at most once, what was refused never.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::{Envelope, QueueName};
use valkey_receiver::{Receiver, ReceiverSettings};
use valkey_sender::{Receipt, SendError, Sender};
use valkey_testkit::{Cut, FaultProxy, Figures, TestServer, soon, unique_name};

/// So long that its end heals nothing here.
const LEASE: Duration = Duration::from_mins(2);
const WORKERS: usize = 6;
const ROUNDS: usize = 40;

/// The two ends of a queue, each behind a proxy of its own.
struct Ends {
    direct: Connection,
    queue: QueueName,
    sending: FaultProxy,
    receiving: FaultProxy,
}

async fn connect(address: &str) -> Connection {
    let settings = ConnectionSettings::from_url(&format!("valkey://{address}")).unwrap();
    // A breaker that opened would keep the rest of the sends from being cut.
    Connection::connect(&settings.pool_size(1).breaker_failures(u32::MAX)).await.unwrap()
}

impl Ends {
    async fn new() -> Self {
        let server = TestServer::shared().await;
        Self {
            direct: connect(&server.address()).await,
            queue: unique_name("end-to-end").parse().unwrap(),
            sending: FaultProxy::start(&server.address()).await.unwrap(),
            receiving: FaultProxy::start(&server.address()).await.unwrap(),
        }
    }

    async fn receiver(&self) -> Receiver {
        let connection = connect(&self.receiving.address()).await;
        let settings = ReceiverSettings::default().lease(LEASE);
        Receiver::builder(&connection).queue(self.queue.clone()).settings(settings).start().await.unwrap()
    }

    /// Lays a cut on each side, at another byte in each round. Whether it is met does not matter.
    fn cut(&self, nth: usize, id: &str) {
        let keys = self.queue.keys();
        // Pushes are up to about 900 bytes long and their replies 100, takes 900 and 500.
        let side = if nth.is_multiple_of(2) { Cut::request_after } else { Cut::reply_before };
        let _ = self.sending.arm(side((nth * 23 % 900) as u64).of_command(id.to_owned()));
        let side = if (nth / 2).is_multiple_of(2) { Cut::request_after } else { Cut::reply_before };
        let take = format!("{}\r\n${}\r\n", keys.woken(), keys.inflight("").len() + 32);
        let _ = self.receiving.arm(side((nth * 41 % 900) as u64).of_command(take));
    }

    async fn heal(&self) {
        self.sending.heal().await.unwrap();
        self.receiving.heal().await.unwrap();
    }
}

/// Handles messages up to the one with this id, which is sent past all proxies, and tells how often each came.
async fn arrivals(ends: &Ends, receiver: &Receiver) -> BTreeMap<String, usize> {
    let last = unique_name("last");
    let raw = Envelope::new("last").unwrap().with_id(last.as_str()).encode().unwrap();
    ends.direct.execute(Command::new("LPUSH").key(ends.queue.keys().public()).arg(raw)).await.unwrap();
    let mut arrived = BTreeMap::new();
    let mut settles = JoinSet::new();
    loop {
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        assert_eq!(delivery.crashes(), 0);
        let id = delivery.envelope().id().as_str().to_owned();
        settles.spawn(delivery.ack());
        if id == last {
            break;
        }
        *arrived.entry(id).or_default() += 1;
    }
    for settled in soon("the settles", settles.join_all()).await {
        settled.unwrap();
    }
    arrived
}

/// How many sends had which answer, and what came of them.
#[derive(Debug, Default)]
struct Answers {
    confirmed: usize,
    unknown: usize,
    refused: usize,
    /// Confirmed, and never came.
    lost: usize,
    /// Came more than once.
    twice: usize,
    /// Refused, and came all the same.
    false_refusals: usize,
}

impl Answers {
    /// Holds an answer against how often its message came.
    fn note(&mut self, result: &Result<Receipt, SendError>, times: usize) {
        match result {
            Ok(receipt) => {
                assert!(receipt.is_accepted(), "{receipt:?}");
                self.confirmed += 1;
                self.lost += usize::from(times == 0);
            }
            Err(error) if error.outcome_unknown() => self.unknown += 1,
            Err(_) => {
                self.refused += 1;
                self.false_refusals += usize::from(times > 0);
            }
        }
        self.twice += usize::from(times > 1);
    }
}

/// Sends pairs in rounds through cuts, and holds each answer against how often the message came.
async fn pairs(worker: usize, build: fn(Connection, QueueName) -> Sender) -> Answers {
    let ends = Ends::new().await;
    let receiver = ends.receiver().await;
    let sender = build(connect(&ends.sending.address()).await, ends.queue.clone());
    let mut answers = Answers::default();
    for round in 0..ROUNDS {
        let ids = [unique_name("first"), unique_name("second")];
        ends.cut(round * WORKERS + worker, &ids[0]);
        let both = ids.iter().map(|id| Envelope::new("hello").unwrap().with_id(id.as_str()));
        let results = soon("the sends", sender.send_all(both)).await;
        let arrived = arrivals(&ends, &receiver).await;
        for (id, result) in ids.iter().zip(results) {
            answers.note(&result, arrived.get(id).copied().unwrap_or(0));
        }
        ends.heal().await;
    }
    let report = soon("the end", receiver.drain()).await.unwrap();
    assert!(report.is_clean() && report.retried + report.dead == 0, "{report}");
    answers
}

/// Shares the rounds out, since each is mostly waiting for connections to come back.
async fn share(build: fn(Connection, QueueName) -> Sender) -> Answers {
    let workers: JoinSet<Answers> = (0..WORKERS).map(|worker| pairs(worker, build)).collect();
    let answers = workers.join_all().await.into_iter().fold(Answers::default(), |sum, one| Answers {
        confirmed: sum.confirmed + one.confirmed,
        unknown: sum.unknown + one.unknown,
        refused: sum.refused + one.refused,
        lost: sum.lost + one.lost,
        twice: sum.twice + one.twice,
        false_refusals: sum.false_refusals + one.false_refusals,
    });
    Figures::new()
        .sent((2 * WORKERS * ROUNDS) as u64)
        .confirmed(answers.confirmed as u64)
        .unknown(answers.unknown as u64)
        .rejected(answers.refused as u64)
        .lost(answers.lost as u64)
        .twice(answers.twice as u64)
        .publish();
    assert_eq!((answers.lost, answers.twice, answers.false_refusals), (0, 0, 0), "{answers:?}");
    answers
}

#[tokio::test]
async fn with_dedup_every_message_is_confirmed_and_arrives_once() {
    let answers = share(|connection, queue| {
        let builder = Sender::builder(connection, queue).dedup(Duration::from_hours(1));
        builder.retries(20, Duration::from_millis(5)).build()
    })
    .await;
    assert_eq!(answers.confirmed, 2 * WORKERS * ROUNDS, "{answers:?}");
}

#[tokio::test]
async fn without_dedup_an_answer_is_never_wrong() {
    let answers =
        share(|connection, queue| Sender::builder(connection, queue).retries(0, Duration::ZERO).build())
            .await;
    assert!(answers.confirmed > 50 && answers.unknown > 50, "{answers:?}");
}
