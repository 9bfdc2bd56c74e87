//! Several receivers at work on one queue, and somebody who sends, whatever happens to the server.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::Envelope;
use valkey_receiver::{DrainReport, Message, ReceiveError, Receiver, ReceiverHandle, ReceiverSettings};

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

/// Sends the numbers from 1 on until it is stopped. What it does not know to have arrived it sends again, so the queue
/// may get a number twice, but none too few.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    confirmed: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Sender {
    pub(crate) fn start(bed: &Bed, connection: Connection, pause: Duration) -> Self {
        let (stop, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let key = bed.keys.public().to_owned();
        let task = tokio::spawn({
            let (stop, confirmed) = (Arc::clone(&stop), Arc::clone(&confirmed));
            async move {
                let mut number = 1_u32;
                while !stop.load(Ordering::Relaxed) {
                    let raw = Envelope::new(&number).unwrap().encode().unwrap();
                    let push = Command::new("LPUSH").key(key.as_str()).arg(raw);
                    if connection.execute(push.timeout(Duration::from_secs(1))).await.is_ok() {
                        confirmed.store(number, Ordering::Relaxed);
                        number += 1;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        });
        Self { stop, confirmed, task }
    }

    pub(crate) fn confirmed(&self) -> u32 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// How many were sent.
    pub(crate) async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.confirmed.load(Ordering::Relaxed)
    }
}
