//! Handlers that work on many messages at once: one bulk insert instead of a hundred.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::handler::Message;
use crate::outcome::{IntoOutcome, Outcome, error_text};
use crate::settings::ReceiverSettings;
use crate::telemetry::{QueueMetrics, batch_span};
use crate::work::{Job, Work, Worker, sealed};

/// Serves a [`BatchHandler`]: gathers messages until there are [`max_size`](Self::max_size), or
/// [`linger`](Self::linger) has passed since the first one.
///
/// ```
/// use std::time::Duration;
/// use valkey_receiver::{Batch, BatchOutcome, Message};
///
/// async fn insert(messages: Vec<Message>) -> Result<BatchOutcome, std::io::Error> {
///     // One round trip to the database; number 3 was refused by it:
///     # let refused = 3; let _ = messages;
///     Ok(BatchOutcome::ack_all().dead_letter(refused, "duplicate login"))
/// }
///
/// let batch = Batch::new(insert).max_size(500).linger(Duration::from_millis(20));
/// ```
///
/// Batches of one queue after another are worked on as [`concurrency`](Self::concurrency) says, by default one at a
/// time; `MAX_CONCURRENT_MESSAGES` counts single messages and does not apply. A batch never gets larger than what is
/// held in memory: let `PREFETCH` be at least `max_size * concurrency`. The processing timeout is for the batch as a whole.
#[derive(Clone, Debug)]
#[must_use = "a batch does nothing until it is served"]
pub struct Batch<H> {
    handler: H,
    max_size: usize,
    linger: Duration,
    concurrency: usize,
}

/// Works on a batch of messages.
///
/// Every `async fn(Vec<Message>) -> impl IntoBatchOutcome` is one, and so is such a closure.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler",
    label = "not a batch handler",
    note = "a batch handler is an `async fn(Vec<Message>) -> impl IntoBatchOutcome`"
)]
pub trait BatchHandler: Send + Sync + 'static {
    /// Works on `messages`, never none, in the order they were taken, and says what becomes of each.
    fn handle(&self, messages: Vec<Message>) -> impl Future<Output = BatchOutcome> + Send;
}

/// What a batch handler says: one outcome for each message.
#[must_use = "an outcome does nothing until the receiver settles the messages with it"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOutcome {
    answer: BatchAnswer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BatchAnswer {
    /// In the order of the messages.
    Each(Vec<Outcome>),
    /// The same for all but some, by index from 0.
    AllBut(Outcome, BTreeMap<usize, Outcome>),
}

/// What may stand as the answer of a batch handler.
///
/// | answer | becomes |
/// |---|---|
/// | `()` | all acked |
/// | `Vec` of what a single handler may answer | one for each message, in order |
/// | [`BatchOutcome`] | itself |
/// | `Ok(x)` | what `x` becomes |
/// | `Err(e)` | all nacked with the text of `e` |
#[diagnostic::on_unimplemented(
    message = "a batch handler cannot answer `{Self}`",
    label = "not an outcome of a batch",
    note = "answer `()`, a `Vec<Outcome>`, a `BatchOutcome`, or a `Result` of these whose error implements `Display`"
)]
pub trait IntoBatchOutcome {
    /// Makes the outcome.
    fn into_batch_outcome(self) -> BatchOutcome;
}

// === impl Batch ===

impl<H: BatchHandler> Batch<H> {
    /// Batches of up to 64 messages, waiting for no more than what is there.
    pub fn new(handler: H) -> Self {
        Self { handler, max_size: 64, linger: Duration::ZERO, concurrency: 1 }
    }

    /// How many messages a batch has at most; at least 1.
    pub fn max_size(mut self, messages: usize) -> Self {
        self.max_size = messages.max(1);
        self
    }

    /// How long a batch that is not full waits for more, from its first message on. The lease is renewed meanwhile.
    pub fn linger(mut self, duration: Duration) -> Self {
        self.linger = duration;
        self
    }

    /// How many batches are worked on at the same time; at least 1.
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches.max(1);
        self
    }

    /// The next batch; an empty one when it is time to go.
    async fn gather(&self, worker: &mut Worker) -> Vec<(Message, Job)> {
        let mut gathered = Vec::new();
        let mut deadline = None;
        while gathered.len() < self.max_size {
            let next = match deadline {
                None => worker.next().await,
                Some(deadline) => match worker.try_next() {
                    Some(next) => Some(next),
                    // No more in time, or it is time to go; what has been gathered is worked on either way.
                    None => timeout_at(deadline, worker.next()).await.ok().flatten(),
                },
            };
            let Some(next) = next else { break };
            deadline.get_or_insert_with(|| Instant::now() + self.linger);
            gathered.push(next);
        }
        gathered
    }
}

impl<H: BatchHandler> sealed::Sealed for Batch<H> {}

impl<H: BatchHandler> Work for Batch<H> {
    fn workers(&self, _: &ReceiverSettings) -> usize {
        self.concurrency
    }

    async fn work(&self, mut worker: Worker) {
        loop {
            let gathered = self.gather(&mut worker).await;
            if gathered.is_empty() {
                return;
            }
            // While the batch lingered a lease may have been lost; who holds those messages now handles them.
            let held = gathered.into_iter().filter(|(message, _)| !message.lease_lost().is_cancelled());
            let (messages, jobs): (Vec<Message>, Vec<Job>) = held.unzip();
            let Some(first) = messages.first() else { continue };
            let started = Instant::now();
            let lease_lost = first.shared_lease_lost();
            let metrics: Vec<QueueMetrics> = messages.iter().map(|message| worker.starts(message)).collect();
            let span = batch_span(&messages);
            let work = async { self.handler.handle(messages).await.resolve(jobs.len()) };
            let answer = worker.call(work, started, &lease_lost, jobs.len()).instrument(span.clone()).await;
            let took = started.elapsed();
            for (answer, (job, metrics)) in answer.split(jobs.len()).zip(jobs.into_iter().zip(metrics)) {
                metrics.ended(answer.ending(), took);
                job.settle(answer);
            }
        }
    }
}

impl<F, Fut> BatchHandler for F
where
    F: Fn(Vec<Message>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoBatchOutcome> + Send,
{
    async fn handle(&self, messages: Vec<Message>) -> BatchOutcome {
        self(messages).await.into_batch_outcome()
    }
}

// === impl BatchOutcome ===

impl BatchOutcome {
    /// One outcome for each message, in order.
    pub fn each(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        Self { answer: BatchAnswer::Each(outcomes.into_iter().collect()) }
    }

    /// The same outcome for all.
    pub fn all(outcome: Outcome) -> Self {
        Self { answer: BatchAnswer::AllBut(outcome, BTreeMap::new()) }
    }

    /// All are finished; exceptions may be named after.
    pub fn ack_all() -> Self {
        Self::all(Outcome::Ack)
    }

    /// All have failed with `error`; exceptions may be named after.
    pub fn nack_all(error: impl Display) -> Self {
        Self::all(Outcome::nack(error))
    }

    /// Except the message number `index` (from 0): `outcome`.
    pub fn except(mut self, index: usize, outcome: Outcome) -> Self {
        match &mut self.answer {
            // An index beyond the end is kept as a wrong length, which `resolve` reports.
            BatchAnswer::Each(outcomes) => match outcomes.get_mut(index) {
                Some(slot) => *slot = outcome,
                None => outcomes.resize(index + 1, outcome),
            },
            BatchAnswer::AllBut(_, exceptions) => drop(exceptions.insert(index, outcome)),
        }
        self
    }

    /// Except the message number `index` (from 0), which has failed with `error`.
    pub fn nack(self, index: usize, error: impl Display) -> Self {
        self.except(index, Outcome::nack(error))
    }

    /// Except the message number `index` (from 0), which is rejected for good with `error`.
    pub fn dead_letter(self, index: usize, error: impl Display) -> Self {
        self.except(index, Outcome::dead_letter(error))
    }

    /// One outcome for each of `messages` messages.
    ///
    /// An answer that does not fit the batch says nothing certain about any message: all of them are nacked.
    pub(crate) fn resolve(self, messages: usize) -> Vec<Outcome> {
        match self.answer {
            BatchAnswer::Each(outcomes) if outcomes.len() == messages => outcomes,
            BatchAnswer::Each(outcomes) => {
                let answers = outcomes.len();
                misfit(messages, format_args!("gave {answers} outcomes for a batch of {messages}"))
            }
            BatchAnswer::AllBut(common, mut exceptions) => match exceptions.last_key_value() {
                Some((&last, _)) if last >= messages => misfit(
                    messages,
                    format_args!("named message number {last} (from 0) of a batch of {messages}"),
                ),
                _ => (0..messages)
                    .map(|index| exceptions.remove(&index).unwrap_or_else(|| common.clone()))
                    .collect(),
            },
        }
    }
}

fn misfit(messages: usize, what: fmt::Arguments<'_>) -> Vec<Outcome> {
    let error =
        error_text(&format_args!("the batch handler {what}; nothing certain is known about any of them"));
    tracing::error!(error);
    vec![Outcome::nack(error); messages]
}

impl IntoBatchOutcome for BatchOutcome {
    fn into_batch_outcome(self) -> BatchOutcome {
        self
    }
}

impl IntoBatchOutcome for () {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::ack_all()
    }
}

impl<T: IntoOutcome> IntoBatchOutcome for Vec<T> {
    fn into_batch_outcome(self) -> BatchOutcome {
        BatchOutcome::each(self.into_iter().map(IntoOutcome::into_outcome))
    }
}

impl<T: IntoBatchOutcome, E: Display> IntoBatchOutcome for Result<T, E> {
    fn into_batch_outcome(self) -> BatchOutcome {
        match self {
            Ok(answer) => answer.into_batch_outcome(),
            Err(error) => BatchOutcome::nack_all(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(error: &str) -> Outcome {
        Outcome::dead_letter(error)
    }

    #[test]
    fn answers_become_one_outcome_for_each_message() {
        assert_eq!(().into_batch_outcome().resolve(2), [Outcome::Ack, Outcome::Ack]);
        let mixed = vec![Ok(()), Err("boom")].into_batch_outcome();
        assert_eq!(mixed.resolve(2), [Outcome::Ack, Outcome::nack("boom")]);
        let failed = Err::<(), _>("down").into_batch_outcome();
        assert_eq!(failed.resolve(2), [Outcome::nack("down"), Outcome::nack("down")]);
        let all_but = BatchOutcome::ack_all().nack(0, "a").dead_letter(2, "c");
        assert_eq!(all_but.resolve(3), [Outcome::nack("a"), Outcome::Ack, dead("c")]);
        let each = BatchOutcome::each([Outcome::Ack, Outcome::Ack]).dead_letter(1, "b");
        assert_eq!(each.resolve(2), [Outcome::Ack, dead("b")]);
    }

    #[test]
    fn an_answer_that_does_not_fit_nacks_all_and_says_so() {
        let misfits = [
            BatchOutcome::each([Outcome::Ack]),
            BatchOutcome::each([Outcome::Ack, Outcome::Ack, Outcome::Ack]),
            BatchOutcome::each([Outcome::Ack, Outcome::Ack]).nack(2, "beyond"),
            BatchOutcome::ack_all().nack(2, "beyond"),
        ];
        for misfit in misfits {
            let outcomes = misfit.clone().resolve(2);
            assert_eq!(outcomes.len(), 2);
            for outcome in outcomes {
                let Outcome::Nack { error: Some(error), .. } = outcome else {
                    panic!("{misfit:?}: {outcome:?}")
                };
                assert!(error.contains("batch of 2"), "{error}");
            }
        }
    }
}
