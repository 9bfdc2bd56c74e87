//! Senders and consumers of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_envelope::{Envelope, QueueName};
use valkey_receiver::{DrainReport, Message, ReceiveError, Receiver, ReceiverHandle, ReceiverSettings};
use valkey_sender::{Durability, Sender};
use valkey_testkit::{eventually, soon, unique_name};

use crate::ledger::{Balance, Ledger};
use crate::look::Look;

/// How long a send waits to be confirmed: shorter than unless set, so that there are many sends while nobody confirms.
const WITHIN: Duration = Duration::from_millis(500);

/// So many a load has: two senders, two consumers, and one to look at the queue.
pub(crate) const CONNECTIONS: usize = 5;

/// Two senders and two consumers of one queue, each with a connection of its own, as if it were a process. None of them is
/// ever restarted.
pub(crate) struct Load {
    pub(crate) look: Look,
    pub(crate) durability: Durability,
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    members: Vec<(ReceiverHandle, JoinHandle<Result<DrainReport, ReceiveError>>)>,
}

impl Load {
    pub(crate) async fn start(settings: &ConnectionSettings, name: &str, durability: Durability) -> Self {
        Self::start_on(settings, unique_name(name).parse().unwrap(), durability).await
    }

    /// On a queue of this name.
    pub(crate) async fn start_on(
        settings: &ConnectionSettings,
        queue: QueueName,
        durability: Durability,
    ) -> Self {
        let connection = Connection::connect(settings).await.unwrap();
        let look = Look { connection, keys: queue.keys(), queue };
        let (ledger, stop) = (Ledger::default(), Arc::new(AtomicBool::new(false)));
        let mut members = Vec::new();
        for _ in 0..2 {
            let connection = Connection::connect(settings).await.unwrap();
            let receiver = Receiver::builder(&connection)
                .queue(look.queue.clone())
                .settings(ReceiverSettings::default().lease(Duration::from_secs(6)));
            let receiver = receiver.start().await.unwrap();
            let handle = receiver.handle();
            let ledger = ledger.clone();
            let handler = move |message: Message| {
                let ledger = ledger.clone();
                async move {
                    let number = message.payload_as().unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    ledger.done(number, message.crashes());
                }
            };
            members.push((handle, tokio::spawn(receiver.serve(handler).into_future())));
        }
        let mut senders = Vec::new();
        for first in 1..=2 {
            let connection = Connection::connect(settings).await.unwrap();
            // One try each, so that the books say when it was made.
            let sender = Sender::builder(connection, look.queue.clone()).retries(0, Duration::ZERO);
            let sender = sender.durability(durability).durability_timeout(WITHIN).build();
            senders.push(tokio::spawn(send(sender, first, ledger.clone(), Arc::clone(&stop))));
        }
        Self { look, durability, ledger, stop, senders, members }
    }

    /// Waits until so many more were sent since now and handled.
    pub(crate) async fn traffic(&self, count: usize) {
        let since = Instant::now();
        let enough = async || (self.handled_since(since) >= count).then_some(());
        eventually(&format!("traffic on {}", self.look.queue), enough).await;
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
        self.ledger.handled_since(since)
    }

    /// Ends the load; consumers first finish what there is.
    pub(crate) async fn finish(self) -> Balance {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            soon("the end of a sender", sender).await.unwrap();
        }
        self.look.until_empty().await;
        assert!(self.members.iter().all(|(_, service)| !service.is_finished()), "nobody has given up");
        for (handle, service) in self.members {
            handle.drain();
            let _: DrainReport = soon("the end of a receiver", service).await.unwrap().unwrap();
        }
        assert_eq!(self.look.dead().await, 0, "nothing is at fault");
        self.ledger.close()
    }
}

/// Sends every other number, each once, whatever becomes of it.
async fn send(sender: Sender, first: u32, ledger: Ledger, stop: Arc<AtomicBool>) {
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = sender.send(Envelope::new(&number).unwrap()).await;
        if let Err(error) = &answer {
            assert!(error.is_transient(), "{error}");
        }
        let pause = if ledger.sent(number, began, &answer) { 4 } else { 20 };
        number += 2;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
