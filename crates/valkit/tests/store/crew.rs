//! Senders and receivers at work, whatever happens to the server.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use valkey_connection::Connection;
use valkey_envelope::Envelope;
use valkey_receiver::{DrainReport, Message, ReceiveError, Receiver, ReceiverHandle, ReceiverSettings};
use valkey_sender::{OnFull, Sender};
use valkey_testkit::{eventually, soon};

use crate::bed::Bed;
use crate::books::Books;

/// Who works, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Each with a connection of its own, as if it were a process.
    pub(crate) senders: usize,
    /// Tasks that share a sender.
    pub(crate) tasks: usize,
    pub(crate) pace: Duration,
    pub(crate) payload: usize,
    pub(crate) dedup: bool,
    /// Whether a send without a promise is repeated under its id.
    pub(crate) insists: bool,
    pub(crate) on_full: OnFull,
    pub(crate) receivers: usize,
    /// Handlers of each.
    pub(crate) handlers: usize,
    pub(crate) work: Duration,
    pub(crate) lease: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            senders: 2,
            tasks: 4,
            pace: Duration::from_millis(10),
            payload: 20,
            dedup: true,
            insists: true,
            on_full: OnFull::Error,
            receivers: 2,
            handlers: 4,
            work: Duration::from_millis(5),
            lease: Duration::from_secs(3),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Send,
    Wait,
    Stop,
}

pub(crate) struct Crew {
    pub(crate) books: Books,
    order: watch::Sender<Order>,
    /// Tasks in the middle of a send.
    busy: Arc<AtomicUsize>,
    senders: Vec<JoinHandle<()>>,
    receivers: Vec<(ReceiverHandle, JoinHandle<Result<DrainReport, ReceiveError>>)>,
}

impl Crew {
    pub(crate) async fn start(bed: &Bed, plan: &Plan) -> Self {
        let (books, order) = (Books::default(), watch::Sender::new(Order::Send));
        let (next, busy) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicUsize::new(0)));
        let mut crew = Self { books, order, busy, senders: Vec::new(), receivers: Vec::new() };
        for _ in 0..plan.receivers {
            crew.hire_receiver(bed, plan).await;
        }
        for _ in 0..plan.senders {
            let connection = Connection::connect(&bed.through(&bed.sending)).await.unwrap();
            let builder = Sender::builder(connection, bed.queue.clone()).on_full(plan.on_full);
            let builder = builder.retries(1, Duration::from_millis(20));
            let sender = if plan.dedup { builder.dedup(Duration::from_hours(1)) } else { builder }.build();
            for _ in 0..plan.tasks {
                let (sender, books, plan) = (sender.clone(), crew.books.clone(), plan.clone());
                let (order, next, busy) = (crew.order.subscribe(), Arc::clone(&next), Arc::clone(&crew.busy));
                crew.senders.push(tokio::spawn(send(sender, books, plan, order, next, busy)));
            }
        }
        crew
    }

    pub(crate) async fn hire_receiver(&mut self, bed: &Bed, plan: &Plan) {
        let connection = Connection::connect(&bed.through(&bed.receiving)).await.unwrap();
        let settings = ReceiverSettings::default().lease(plan.lease).drain_timeout(Duration::from_secs(10));
        let count = |count: usize| NonZeroUsize::new(count).unwrap();
        let settings =
            settings.max_concurrent_messages(count(plan.handlers)).prefetch(count(2 * plan.handlers));
        let receiver = Receiver::builder(&connection).queue(bed.queue.clone()).settings(settings);
        let receiver = receiver.start().await.unwrap();
        let handle = receiver.handle();
        let (books, work) = (self.books.clone(), plan.work);
        let handler = move |message: Message| {
            let books = books.clone();
            async move {
                let number = message.envelope().id().as_str().parse().unwrap();
                books.hand(number, message.crashes());
                sleep(work).await;
                books.done(number);
            }
        };
        self.receivers.push((handle, tokio::spawn(receiver.serve(handler).into_future())));
    }

    /// Lets nobody send, and waits until nobody does.
    pub(crate) async fn hold_sending(&self) {
        self.order.send_replace(Order::Wait);
        eventually("the senders to wait", async || (self.busy.load(Ordering::SeqCst) == 0).then_some(()))
            .await;
    }

    pub(crate) fn go_on_sending(&self) {
        self.order.send_replace(Order::Send);
    }

    /// Ends sending; each message that was begun has its answer.
    pub(crate) async fn stop_sending(&mut self) {
        self.order.send_replace(Order::Stop);
        for task in self.senders.drain(..) {
            soon("the end of a sender", task).await.unwrap();
        }
    }

    /// Waits until so many more sends were confirmed.
    pub(crate) async fn until_confirmed(&self, more: usize) {
        let before = self.books.confirmed().len();
        eventually("sends to be confirmed", async || {
            (self.books.confirmed().len() >= before + more).then_some(())
        })
        .await;
    }

    /// Waits until so many more were handled.
    pub(crate) async fn until_handled(&self, more: usize) {
        let before = self.books.finished().len();
        eventually("messages to be handled", async || {
            (self.books.finished().len() >= before + more).then_some(())
        })
        .await;
    }

    /// Whether all receivers are still at work.
    pub(crate) fn is_whole(&self) -> bool {
        self.receivers.iter().all(|(_, service)| !service.is_finished())
    }

    /// Ends all receivers, once the queue is empty, and adds up what they did.
    pub(crate) async fn finish(mut self, bed: &Bed) -> DrainReport {
        self.stop_sending().await;
        eventually("an empty queue", async || {
            bed.direct.ping().await.ok()?;
            bed.contents().await.is_empty().then_some(())
        })
        .await;
        assert!(self.is_whole(), "no receiver has given up");
        self.drain().await
    }

    pub(crate) async fn drain(&mut self) -> DrainReport {
        let mut sum = DrainReport::default();
        self.receivers.iter().for_each(|(handle, _)| handle.drain());
        for (_, service) in self.receivers.drain(..) {
            let report = soon("the end of a receiver", service).await.unwrap().unwrap();
            sum.acked += report.acked;
            sum.handed_back += report.handed_back;
            sum.uncertain += report.uncertain;
            sum.dead += report.dead;
        }
        sum
    }
}

async fn send(
    sender: Sender,
    books: Books,
    plan: Plan,
    mut order: watch::Receiver<Order>,
    next: Arc<AtomicU32>,
    busy: Arc<AtomicUsize>,
) {
    let padding = "x".repeat(plan.payload);
    loop {
        if order.wait_for(|order| *order != Order::Wait).await.is_err_and(|_| true) {
            return;
        }
        busy.fetch_add(1, Ordering::SeqCst);
        // Looked at once more, now that this task counts as busy.
        let now = *order.borrow();
        if now == Order::Send {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let envelope = || Envelope::new(&padding).unwrap().with_id(number.to_string());
            loop {
                match sender.send(envelope()).await {
                    Ok(_) => {
                        books.confirm(number);
                        break;
                    }
                    Err(error) => {
                        books.fail(number, &error);
                        if !plan.insists {
                            break;
                        }
                    }
                }
                sleep(Duration::from_millis(30)).await;
            }
        }
        busy.fetch_sub(1, Ordering::SeqCst);
        if now == Order::Stop {
            return;
        }
        sleep(plan.pace).await;
    }
}
