//! Several receivers at work on one queue, and somebody who sends, whatever happens to the server.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::Envelope;
use valkey_receiver::{DrainReport, Message, ReceiveError, Receiver, ReceiverHandle, ReceiverSettings};
use valkey_testkit::Figures;

use crate::ledger::Ledger;
use crate::support::{Bed, soon};

/// Receivers that write down what they handle. Each has a connection of its own, as if it were a process.
pub(crate) struct Fleet {
    pub(crate) ledger: Ledger,
    members: Vec<(ReceiverHandle, JoinHandle<Result<DrainReport, ReceiveError>>)>,
}

impl Fleet {
    /// Starts `count` receivers, whose handlers take `work` for a message.
    pub(crate) async fn start(
        bed: &Bed,
        connection: &ConnectionSettings,
        count: usize,
        settings: &ReceiverSettings,
        work: Duration,
    ) -> Self {
        let ledger = Ledger::default();
        let mut members = Vec::new();
        for _ in 0..count {
            let connection = Connection::connect(connection).await.unwrap();
            let receiver = Receiver::builder(&connection).queue(bed.queue.clone()).settings(settings.clone());
            let receiver = receiver.start().await.unwrap();
            let handle = receiver.handle();
            let ledger = ledger.clone();
            let handler = move |message: Message| {
                let ledger = ledger.clone();
                async move {
                    let number = message.payload_as().unwrap();
                    ledger.handed_out(number, message.crashes());
                    tokio::time::sleep(work).await;
                    ledger.done(number);
                }
            };
            members.push((handle, tokio::spawn(receiver.serve(handler).into_future())));
        }
        Self { ledger, members }
    }

    /// Whether all of them are still at work.
    pub(crate) fn is_whole(&self) -> bool {
        self.members.iter().all(|(_, service)| !service.is_finished())
    }

    /// Ends all and adds up what they did.
    pub(crate) async fn drain(self) -> DrainReport {
        let mut sum = DrainReport::default();
        for (handle, _) in &self.members {
            handle.drain();
        }
        for (_, service) in self.members {
            let report = soon("the end of a receiver", service).await.unwrap().unwrap();
            sum.acked += report.acked;
            sum.handed_back += report.handed_back;
            sum.aborted += report.aborted;
            sum.uncertain += report.uncertain;
        }
        sum
    }
}

/// Sends numbers from 1 on until it is stopped, each at most once: what is then handed out again was handed out again by
/// the queue, and not sent again. A number whose send was not answered may be in the queue or not.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    confirmed: Arc<AtomicU32>,
    task: JoinHandle<Sent>,
}

/// What a sender knows in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    confirmed: BTreeSet<u32>,
    unknown: BTreeSet<u32>,
}

impl Sender {
    pub(crate) fn start(bed: &Bed, connection: Connection, pause: Duration) -> Self {
        Self::in_batches(bed, connection, 1, pause)
    }

    /// `batch` numbers with each push, all of which arrive or none.
    pub(crate) fn in_batches(bed: &Bed, connection: Connection, batch: u32, pause: Duration) -> Self {
        let (stop, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let key = bed.keys.public().to_owned();
        let task = tokio::spawn({
            let (stop, confirmed) = (Arc::clone(&stop), Arc::clone(&confirmed));
            async move {
                let mut sent = Sent::default();
                let mut first = 1_u32;
                while !stop.load(Ordering::Relaxed) {
                    let numbers = first..first + batch;
                    let raw = numbers.clone().map(|number| Envelope::new(&number).unwrap().encode().unwrap());
                    let push = Command::new("LPUSH").key(key.as_str()).args(raw);
                    match connection.execute(push.timeout(Duration::from_secs(1))).await {
                        Ok(_) => {
                            sent.confirmed.extend(numbers);
                            confirmed.fetch_add(batch, Ordering::Relaxed);
                            first += batch;
                        }
                        Err(error) if error.outcome_unknown() => {
                            sent.unknown.extend(numbers);
                            first += batch;
                        }
                        Err(_) => {}
                    }
                    tokio::time::sleep(pause).await;
                }
                sent
            }
        });
        Self { stop, confirmed, task }
    }

    /// How many were confirmed so far.
    pub(crate) fn confirmed(&self) -> u32 {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

impl Sent {
    /// How many were confirmed.
    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed.len()
    }

    /// How many were sent, confirmed or not.
    pub(crate) fn tried(&self) -> usize {
        self.confirmed.len() + self.unknown.len()
    }

    /// Those that were confirmed and that no handler ever finished.
    pub(crate) fn lost(&self, ledger: &Ledger) -> Vec<u32> {
        self.confirmed.iter().copied().filter(|number| ledger.is_missing(*number)).collect()
    }

    /// What was sent, and what the ledger knows of it.
    pub(crate) fn figures(&self, figures: Figures, ledger: &Ledger) -> Figures {
        figures
            .sent(self.tried() as u64)
            .lost(self.lost(ledger).len() as u64)
            .twice(ledger.handed_out_more_than_once().len() as u64)
    }

    /// For the note of the figures.
    pub(crate) fn unknown(&self) -> String {
        format!("{} sends unknown", self.unknown.len())
    }
}
