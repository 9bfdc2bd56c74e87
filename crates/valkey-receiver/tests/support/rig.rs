//! A queue behind a proxy that cuts connections, and a ledger of what was sent and what arrived.
#![allow(dead_code, reason = "each test file uses its part")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::Envelope;
use valkey_receiver::{Delivery, Receiver, ReceiverBuilder, ReceiverSettings};
use valkey_testkit::{ArmedCut, Cut, CutOutcome, FaultProxy, Figures, TestServer};

use crate::ledger::Ledger;
use crate::support::{Bed, soon};

/// So long that nothing here is ever healed by its end: recovery has to do without.
pub(crate) const FAR: Duration = Duration::from_mins(2);

/// Settings for a receiver that holds `room` messages, at least two, and takes them all at once.
pub(crate) fn holding(room: usize) -> ReceiverSettings {
    let count = |count: usize| NonZeroUsize::new(count).unwrap();
    let settings = ReceiverSettings::default().lease(FAR).batch(count(room));
    settings.max_concurrent_messages(NonZeroUsize::MIN).prefetch(count(room - 1))
}

/// A queue with two ways to it: directly, and through a proxy.
pub(crate) struct Rig {
    pub(crate) bed: Bed,
    pub(crate) proxy: FaultProxy,
    pub(crate) through: Connection,
    pub(crate) ledger: Ledger,
    sent: AtomicU32,
}

impl Rig {
    pub(crate) async fn new(name: &str) -> Self {
        Self::around(Bed::new(name).await).await
    }

    /// On a server that no other test uses.
    pub(crate) async fn alone(name: &str) -> Self {
        Self::around(bed_on(TestServer::start().await.unwrap(), name).await).await
    }

    async fn around(bed: Bed) -> Self {
        let proxy = FaultProxy::start(&bed.server.address()).await.unwrap();
        let settings = ConnectionSettings::from_url(&format!("valkey://{}", proxy.address())).unwrap();
        let through = Connection::connect(&settings.pool_size(1)).await.unwrap();
        Self { bed, proxy, through, ledger: Ledger::default(), sent: AtomicU32::new(0) }
    }

    /// A receiver to be, on the far side of the proxy.
    pub(crate) fn builder(&self, settings: ReceiverSettings) -> ReceiverBuilder {
        Receiver::builder(&self.through).queue(self.bed.queue.clone()).settings(settings)
    }

    /// Pushes the next `count` numbers past the proxy.
    pub(crate) async fn push(&self, count: usize) {
        for number in self.numbers(count) {
            self.bed.push(&Envelope::new(&number).unwrap()).await;
        }
    }

    /// The next `count` numbers, to be sent by whatever way.
    pub(crate) fn numbers(&self, count: usize) -> std::ops::RangeInclusive<u32> {
        let count = u32::try_from(count).unwrap();
        let last = self.sent.fetch_add(count, Ordering::Relaxed);
        last + 1..=last + count
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The next `count` messages.
    pub(crate) async fn fetch(&self, receiver: &Receiver, count: usize) -> Vec<Delivery> {
        let mut fetched = Vec::with_capacity(count);
        while fetched.len() < count {
            let delivery = soon("a message", receiver.recv()).await.unwrap();
            self.ledger.handed_out(delivery.message().payload_as().unwrap(), delivery.crashes());
            fetched.push(delivery);
        }
        fetched
    }

    /// Acks all at once and waits until the server has confirmed each.
    pub(crate) async fn ack(&self, deliveries: Vec<Delivery>) {
        let numbers: Vec<u32> = deliveries.iter().map(|one| one.message().payload_as().unwrap()).collect();
        let settles = soon("the settles", join_all(deliveries.into_iter().map(Delivery::ack))).await;
        for (number, settled) in numbers.into_iter().zip(settles) {
            settled.unwrap();
            self.ledger.done(number);
        }
    }

    /// Nothing was lost and nothing came twice, and of the queue nothing is left but bookkeeping.
    pub(crate) async fn balances(&self) {
        let lost = self.ledger.lost(self.sent());
        let twice = self.ledger.duplicates();
        Figures::new().sent(self.sent().into()).lost(lost.len() as u64).twice(twice.into()).publish();
        assert_eq!(lost, [0; 0], "lost");
        assert_eq!(self.ledger.handed_out_twice(), [0; 0], "twice");
        assert_eq!(twice, 0);
        self.bed.until_clean().await;
    }
}

/// A queue of its own on a server of its own.
pub(crate) async fn bed_on(server: TestServer, name: &str) -> Bed {
    // Ended with the process.
    let server: &'static TestServer = Box::leak(Box::new(server));
    Bed::on(server, name).await
}

impl Bed {
    /// Waits until of the queue nothing is left but what no message depends on.
    pub(crate) async fn until_clean(&self) {
        crate::support::until("a clean queue", async || {
            let mut left = self.all_keys().await;
            left.retain(|key| key != self.keys.control() && !key.contains(":stats:"));
            left.is_empty().then_some(())
        })
        .await;
    }

    /// As [`held_anywhere`](Self::held_anywhere), or `None` while the server does not answer.
    pub(crate) async fn try_held_anywhere(&self) -> Option<i64> {
        self.connection.ping().await.ok()?;
        Some(self.held_anywhere().await)
    }

    pub(crate) async fn all_keys(&self) -> Vec<String> {
        let keys = self.ask(Command::new("KEYS").arg(format!("*{}*", self.keys.public()))).await;
        keys.into_array().unwrap().into_iter().map(|key| key.into_string().unwrap()).collect()
    }
}

/// How often a place must be missed before the command is known to have none such.
const MISSES: usize = 2;

/// Lays a cut at each byte of the commands that contain `command`, then before each of their replies, every `step`
/// bytes from `first` on. `cycle` makes the receiver send one. Tells how many connections were cut.
pub(crate) async fn at_each_byte(
    proxy: &FaultProxy,
    command: &str,
    (first, step): (u64, usize),
    mut cycle: impl AsyncFnMut(&ArmedCut),
) -> usize {
    let mut points = 0;
    for side in [Cut::request_after, Cut::reply_before] {
        let (mut bytes, mut misses) = (first, 0);
        loop {
            let mut cut = proxy.arm(side(bytes).of_command(command.to_owned()));
            // What was meant may have travelled in two commands: then once more.
            let mut became = None;
            for _ in 0..20 {
                cycle(&cut).await;
                became = tokio::time::timeout(Duration::from_millis(200), cut.wait()).await.ok();
                if became.is_some() {
                    break;
                }
            }
            match became.expect("the command is sent") {
                // A park that found nothing in its time has a shorter reply than others; on a busy machine that happens.
                CutOutcome::Missed if misses < MISSES => misses += 1,
                CutOutcome::Missed => break,
                _ => (points, bytes, misses) = (points + 1, bytes + step as u64, 0),
            }
        }
    }
    points
}

pub(crate) async fn outcome(cut: &mut ArmedCut) -> CutOutcome {
    soon("the cut", cut.wait()).await
}
