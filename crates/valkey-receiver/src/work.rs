//! What is served, and the worker that serves it: one message in, one settle out, whatever the handler does.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use valkey_envelope::QueueName;

use crate::delivery::{Delivery, Ticket};
use crate::handler::{Handler, Message};
use crate::outcome::{Disposition, Outcome};
use crate::panic;
use crate::settings::ReceiverSettings;
use crate::source::Source;
use crate::telemetry::{Ending, QueueMetrics, process_span};
use crate::throttle::Throttle;

/// What can be served: a [`Handler`], or a [`Batch`](crate::Batch) of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be served",
    label = "neither a handler nor a batch",
    note = "a handler is an `async fn(Message) -> impl IntoOutcome`, a `Router`, a `service(..)`, or implements `Handler`",
    note = "a closure must name the type of its argument: `|message: Message| async move {{ .. }}`"
)]
pub trait Work: sealed::Sealed + Send + Sync + 'static {
    /// How many workers share it.
    #[doc(hidden)]
    fn workers(&self, settings: &ReceiverSettings) -> usize;

    /// The loop of one worker; returns when the source has ended.
    #[doc(hidden)]
    fn work(&self, worker: Worker) -> impl Future<Output = ()> + Send;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

impl<H: Handler> sealed::Sealed for H {}

/// What a worker needs besides its handler.
pub struct Worker {
    source: Source,
    shared: Arc<Shared>,
    /// Of the queues this worker has seen; a receiver has few, so looking through them beats hashing.
    metrics: Vec<(QueueName, QueueMetrics)>,
}

/// What all workers share.
pub(crate) struct Shared {
    handler_timeout: Option<Duration>,
    throttle: Option<Throttle>,
    abort: CancellationToken,
    aborted: AtomicU64,
}

/// The right of a worker to settle a message. Whatever happens to the worker, also when its task is dropped, the message
/// is not blamed for it: unsettled it goes back uncounted.
#[derive(Debug)]
pub(crate) struct Job {
    ticket: Option<Ticket>,
}

/// Why a handler was dropped before it had answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Aborted,
    LeaseLost,
    TimedOut,
}

/// What came of calling a handler.
#[derive(Clone, Debug)]
pub(crate) enum Answer<T> {
    Given(T),
    /// It failed as a whole: a panic or a timeout.
    Failed(Ending, String),
    /// It was dropped without any fault of the messages.
    Dropped,
}

// === one message at a time ===

impl<H: Handler> Work for H {
    fn workers(&self, settings: &ReceiverSettings) -> usize {
        settings.max_concurrent_messages.get()
    }

    async fn work(&self, mut worker: Worker) {
        while let Some((message, job)) = worker.next().await {
            let started = Instant::now();
            let metrics = worker.starts(&message);
            let span = process_span(&message);
            let lease_lost = message.shared_lease_lost();
            let call = worker.call(async { self.handle(message).await }, started, &lease_lost, 1);
            let answer = if span.is_disabled() { call.await } else { call.instrument(span.clone()).await };
            let ending = answer.ending();
            span.record("outcome", ending.as_str());
            metrics.ended(ending, started.elapsed());
            job.settle(answer);
        }
    }
}

// === impl Worker ===

impl Worker {
    /// The next message, or `None` when it is time to go. Cancel safe.
    ///
    /// Spends a little of the task's budget: a source that always has something and a handler that never waits would
    /// otherwise keep the thread for themselves.
    pub(crate) async fn next(&mut self) -> Option<(Message, Job)> {
        tokio::task::coop::consume_budget().await;
        let delivery = match &self.shared.throttle {
            None => self.source.next().await,
            Some(throttle) => throttle.pass(self.source.next()).await,
        };
        delivery.map(Job::take)
    }

    /// A message that is here already.
    pub(crate) fn try_next(&mut self) -> Option<(Message, Job)> {
        // A throttled worker has to wait for its turn, which only `next` does.
        if self.shared.throttle.is_some() { None } else { self.source.try_next().map(Job::take) }
    }

    /// Records that work on `message` starts.
    pub(crate) fn starts(&mut self, message: &Message) -> QueueMetrics {
        let metrics = self.metrics(message.queue());
        metrics.starts(message, SystemTime::now());
        metrics
    }

    pub(crate) fn metrics(&mut self, queue: &QueueName) -> QueueMetrics {
        if let Some((_, metrics)) = self.metrics.iter().find(|(known, _)| known == queue) {
            return metrics.clone();
        }
        let metrics = QueueMetrics::new(queue);
        self.metrics.push((queue.clone(), metrics.clone()));
        metrics
    }

    /// Calls a handler for `messages` messages and brings in its answer, whatever it does.
    pub(crate) async fn call<T>(
        &self,
        work: impl Future<Output = T>,
        started: Instant,
        lease_lost: &CancellationToken,
        messages: usize,
    ) -> Answer<T> {
        self.shared.call(work, started, lease_lost, messages as u64).await
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(settings: &ReceiverSettings, abort: CancellationToken) -> Self {
        Self {
            handler_timeout: settings.handler_timeout(),
            throttle: Throttle::of(settings),
            abort,
            aborted: AtomicU64::new(0),
        }
    }

    pub(crate) fn worker(self: &Arc<Self>, source: Source) -> Worker {
        Worker { source, shared: Arc::clone(self), metrics: Vec::new() }
    }

    /// Drops all running handlers.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
    }

    /// How many messages had their handler dropped so.
    pub(crate) fn aborted(&self) -> u64 {
        self.aborted.load(Ordering::Relaxed)
    }

    async fn call<T>(
        &self,
        work: impl Future<Output = T>,
        started: Instant,
        lease_lost: &CancellationToken,
        messages: u64,
    ) -> Answer<T> {
        // The handler's future is dropped inside of the catch: destructors may panic as well.
        match panic::catch(self.within(work, started, lease_lost)).await {
            Ok(Ok(answer)) => Answer::Given(answer),
            Ok(Err(Cut::TimedOut)) => {
                let after = self.handler_timeout.unwrap_or_default();
                Answer::Failed(Ending::TimedOut, format!("timed out after {after:?}"))
            }
            Ok(Err(Cut::LeaseLost)) => Answer::Dropped,
            Ok(Err(Cut::Aborted)) => {
                self.aborted.fetch_add(messages, Ordering::Relaxed);
                Answer::Dropped
            }
            Err(text) => Answer::Failed(Ending::Panicked, text),
        }
    }

    /// Awaits `work` for as long as it may run. One that is ready at once costs no timer and no waker.
    async fn within<F: Future>(
        &self,
        work: F,
        started: Instant,
        lease_lost: &CancellationToken,
    ) -> Result<F::Output, Cut> {
        let mut work = pin!(work);
        let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = first {
            return Ok(output);
        }
        let too_late = async {
            match self.handler_timeout {
                Some(timeout) => sleep_until(started + timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = lease_lost.cancelled() => Err(Cut::LeaseLost),
            () = self.abort.cancelled() => Err(Cut::Aborted),
            () = too_late => Err(Cut::TimedOut),
        }
    }
}

// === impl Answer ===

impl Answer<Outcome> {
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Given(outcome) => Ending::of(outcome),
            Self::Failed(ending, _) => *ending,
            Self::Dropped => Ending::Aborted,
        }
    }
}

impl Answer<Vec<Outcome>> {
    /// One answer for each of `messages` messages.
    pub(crate) fn split(self, messages: usize) -> impl Iterator<Item = Answer<Outcome>> {
        let (mut given, common) = match self {
            Self::Given(outcomes) => (outcomes, None),
            Self::Failed(ending, error) => (Vec::new(), Some(Answer::Failed(ending, error))),
            Self::Dropped => (Vec::new(), Some(Answer::Dropped)),
        };
        given.reverse();
        (0..messages).map_while(move |_| common.clone().or_else(|| given.pop().map(Answer::Given)))
    }
}

// === impl Job ===

impl Job {
    fn take(delivery: Delivery) -> (Message, Self) {
        let (message, ticket) = delivery.split();
        (message, Self { ticket: Some(ticket) })
    }

    /// Leaves the settle with the engine; never waits.
    pub(crate) fn settle(mut self, answer: Answer<Outcome>) {
        let Some(ticket) = self.ticket.take() else { return };
        match answer {
            Answer::Given(Outcome::Ack) => ticket.settle(Disposition::Ack),
            Answer::Given(outcome) => ticket.finish(outcome),
            Answer::Failed(_, error) => ticket.finish(Outcome::nack(error)),
            Answer::Dropped => ticket.settle(Disposition::HandBack),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.settle(Disposition::HandBack);
        }
    }
}
