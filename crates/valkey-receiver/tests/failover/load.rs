//! Senders, consumers, and a ledger with times.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use valkey_connection::{Acknowledgement, Call, Command, Connection, ConnectionSettings, Error};
use valkey_envelope::{Envelope, QueueName};
use valkey_receiver::{DrainReport, Message, ReceiveError, Receiver, ReceiverHandle, ReceiverSettings};
use valkey_testkit::{Figures, TestServer, unique_name};

use crate::support::{Bed, soon, until};

/// What is asked of a send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    /// The primary's answer.
    Fast,
    /// That of so many replicas as well.
    Replicated(u32),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Confirmed,
    Unknown,
    Rejected,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    began: Instant,
    ended: Instant,
    answer: Answer,
}

#[derive(Debug, Default)]
struct Book {
    sent: BTreeMap<u32, Sent>,
    done: BTreeMap<u32, Vec<Instant>>,
    most_crashes: u32,
}

/// Two senders and two consumers of one queue. None of them is ever restarted.
pub(crate) struct Load {
    pub(crate) bed: Bed,
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    members: Vec<(ReceiverHandle, JoinHandle<Result<DrainReport, ReceiveError>>)>,
}

/// What the books say in the end.
pub(crate) struct Balance {
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) unknown: u64,
    pub(crate) rejected: u64,
    pub(crate) twice: u64,
    /// When those that were confirmed and never handled had been sent, and answered.
    pub(crate) lost: Vec<(Instant, Instant)>,
    book: Arc<Mutex<Book>>,
}

impl Load {
    pub(crate) async fn start(
        server: &'static TestServer,
        settings: &ConnectionSettings,
        name: &str,
        asked: Asked,
    ) -> Self {
        let queue: QueueName = unique_name(name).parse().unwrap();
        Self::start_on(server, settings, queue, asked).await
    }

    pub(crate) async fn start_on(
        server: &'static TestServer,
        settings: &ConnectionSettings,
        queue: QueueName,
        asked: Asked,
    ) -> Self {
        let connection = Connection::connect(settings).await.unwrap();
        let bed = Bed { server, connection, keys: queue.keys(), queue };
        let (book, stop) = (Arc::<Mutex<Book>>::default(), Arc::new(AtomicBool::new(false)));
        let mut members = Vec::new();
        for _ in 0..2 {
            let connection = Connection::connect(settings).await.unwrap();
            let receiver = Receiver::builder(&connection)
                .queue(bed.queue.clone())
                .settings(ReceiverSettings::default().lease(Duration::from_secs(6)));
            let receiver = receiver.start().await.unwrap();
            let handle = receiver.handle();
            let book = Arc::clone(&book);
            let handler = move |message: Message| {
                let book = Arc::clone(&book);
                async move {
                    let number = message.payload_as().unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let mut book = book.lock().unwrap();
                    book.most_crashes = book.most_crashes.max(message.crashes());
                    book.done.entry(number).or_default().push(Instant::now());
                }
            };
            members.push((handle, tokio::spawn(receiver.serve(handler).into_future())));
        }
        let mut senders = Vec::new();
        for first in 1..=2 {
            let connection = Connection::connect(settings).await.unwrap();
            let key = bed.keys.public().to_owned();
            let (book, stop) = (Arc::clone(&book), Arc::clone(&stop));
            senders.push(tokio::spawn(send(connection, key, first, asked, book, stop)));
        }
        Self { bed, book, stop, senders, members }
    }

    /// Waits until so many more were sent since now and handled.
    pub(crate) async fn traffic(&self, count: usize) {
        let since = Instant::now();
        let enough = async || (self.handled_since(since) >= count).then_some(());
        until(&format!("traffic on {}", self.bed.queue), enough).await;
    }

    /// Lets the consumers take no more.
    pub(crate) fn pause(&self) {
        self.members.iter().for_each(|(handle, _)| handle.pause());
    }

    pub(crate) fn resume(&self) {
        self.members.iter().for_each(|(handle, _)| handle.resume());
    }

    /// How many were sent and handled since then.
    pub(crate) fn handled_since(&self, since: Instant) -> usize {
        let book = self.book.lock().unwrap();
        let late = book.sent.iter().filter(|(_, sent)| sent.began > since);
        late.filter(|(number, _)| book.done.contains_key(number)).count()
    }

    /// Ends the load; consumers first finish what there is.
    pub(crate) async fn finish(self) -> Balance {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            soon("the end of a sender", sender).await.unwrap();
        }
        self.bed.until_empty().await;
        assert!(self.members.iter().all(|(_, service)| !service.is_finished()), "nobody has given up");
        for (handle, service) in self.members {
            handle.drain();
            let _: DrainReport = soon("the end of a receiver", service).await.unwrap().unwrap();
        }
        assert_eq!(self.bed.dead().await, [], "nothing is at fault");
        let book = self.book.lock().unwrap();
        assert_eq!(book.most_crashes, 0, "nobody crashed");
        let count = |answer: Answer| book.sent.values().filter(|sent| sent.answer == answer).count() as u64;
        let lost = book
            .sent
            .iter()
            .filter(|(number, sent)| sent.answer == Answer::Confirmed && !book.done.contains_key(number));
        Balance {
            sent: book.sent.len() as u64,
            confirmed: count(Answer::Confirmed),
            unknown: count(Answer::Unknown),
            rejected: count(Answer::Rejected),
            twice: book.done.values().filter(|times| times.len() > 1).count() as u64,
            lost: lost.map(|(_, sent)| (sent.began, sent.ended)).collect(),
            book: Arc::clone(&self.book),
        }
    }
}

impl Balance {
    /// From `fault` until the first message was handled that was sent after `since`.
    pub(crate) fn recovery(&self, fault: Instant, since: Instant) -> Duration {
        let book = self.book.lock().unwrap();
        let new = book.sent.iter().filter(|(_, sent)| sent.began > since);
        let done = new.filter_map(|(number, _)| book.done.get(number)?.first().copied());
        done.min().expect("something was sent and handled afterwards") - fault
    }

    /// Publishes and prints.
    pub(crate) fn publish(&self, case: &str, recovery: Duration) {
        let (lost, twice) = (self.lost.len(), self.twice);
        let (sent, confirmed, unknown, rejected) = (self.sent, self.confirmed, self.unknown, self.rejected);
        eprintln!(
            "{case}: sent {sent}, confirmed {confirmed}, unknown {unknown}, rejected {rejected}, lost {lost}, \
             twice {twice}, recovery {recovery:?}"
        );
        Figures::case(case)
            .sent(sent)
            .confirmed(confirmed)
            .unknown(unknown)
            .rejected(rejected)
            .lost(lost as u64)
            .twice(twice)
            .recovery(recovery)
            .publish();
    }
}

/// Sends every other number, each once, whatever becomes of it.
async fn send(
    connection: Connection,
    key: String,
    first: u32,
    asked: Asked,
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
) {
    let mut number = first;
    let mut dedicated = None;
    while !stop.load(Ordering::Relaxed) {
        let raw = Envelope::new(&number).unwrap().encode().unwrap();
        let push = Command::new("LPUSH").key(key.as_str()).arg(raw);
        let began = Instant::now();
        let (reply, confirmed) = match asked {
            Asked::Fast => (connection.execute(push).await, Ok(())),
            Asked::Replicated(count) => {
                if dedicated.is_none() {
                    dedicated = connection.dedicated().await.ok();
                }
                let Some(dedicated) = &mut dedicated else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let count = NonZeroU32::new(count).unwrap();
                let wanted = Acknowledgement::Replicas { count, within: Duration::from_millis(500) };
                let answer = dedicated.run_acknowledged(vec![Call::Command(push)], wanted).await.remove(0);
                (answer.reply, answer.confirmed)
            }
        };
        let answer = match (&reply, confirmed) {
            (Ok(_), Ok(())) => Answer::Confirmed,
            (Ok(_), Err(_)) => Answer::Unknown,
            (Err(error), _) => refused(error),
        };
        book.lock().unwrap().sent.insert(number, Sent { began, ended: Instant::now(), answer });
        number += 2;
        tokio::time::sleep(Duration::from_millis(if answer == Answer::Confirmed { 4 } else { 20 })).await;
    }
}

fn refused(error: &Error) -> Answer {
    assert!(error.is_transient(), "{error}");
    if error.outcome_unknown() { Answer::Unknown } else { Answer::Rejected }
}
