//! From an envelope to its receipt, without limits around it: prepare, push, retry, conclude.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::Instrument;
use tracing::field::{Empty, display};
use valkey_connection::{Error, ErrorKind};
use valkey_envelope::{
    Codec, EncodeError, Envelope, Limit, MessageId, PayloadCodecs, QueueName, TraceParent,
};

use crate::combiner::Push as _;
use crate::durability::Durability;
use crate::error::SendError;
use crate::item::Item;
use crate::outcome::{Accepted, Outcome};
use crate::outlet::{Line, Outlet};
use crate::progress::{Progress, RetryRules, Step};
use crate::receipt::Receipt;
use crate::routes::Routes;
use crate::telemetry;
use crate::watch::system_ms;

/// Gives the trace context of the caller, where the program keeps one.
pub(crate) type TraceContext = Arc<dyn Fn() -> Option<TraceParent> + Send + Sync>;

/// Everything a sender does, without limits around it.
pub(crate) struct Dispatcher {
    /// The way to each queue a message can go to; the first is the default queue.
    pub(crate) outlets: Vec<Outlet>,
    pub(crate) routes: Routes,
    pub(crate) rules: RetryRules,
    pub(crate) ttl: Option<Duration>,
    pub(crate) codec: Codec,
    pub(crate) codecs: PayloadCodecs,
    pub(crate) trace_context: Option<TraceContext>,
}

/// Between two looks at what is under way, so many messages are encoded. What has gathered when that is over goes next:
/// the longer the way, the more at once.
const PORTION: usize = 256;

/// Messages by their queue, each with its place in the results.
#[derive(Default)]
struct Groups<'a>(Vec<(&'a Outlet, Vec<(usize, Item)>)>);

// === impl Groups ===

impl<'a> Groups<'a> {
    fn add(&mut self, outlet: &'a Outlet, index: usize, item: Item) {
        match self.0.iter_mut().find(|(known, _)| std::ptr::eq(*known, outlet)) {
            Some((_, group)) => group.push((index, item)),
            None => self.0.push((outlet, vec![(index, item)])),
        }
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Dispatcher ===

impl Dispatcher {
    pub(crate) async fn send(
        &self,
        envelope: Envelope,
        durability: Durability,
    ) -> Result<Receipt, SendError> {
        let span = tracing::info_span!("send", queue = Empty, id = Empty, kind = envelope.kind());
        let (outlet, item) = self.prepare(envelope)?;
        span.record("queue", display(outlet.queue())).record("id", display(&item.id));
        self.send_one(&outlet.line(durability), durability, item).instrument(span).await
    }

    async fn send_one(
        &self,
        line: &Line,
        durability: Durability,
        mut item: Item,
    ) -> Result<Receipt, SendError> {
        let id = item.id.clone();
        let queue = line.inner().queue();
        let (mut progress, start) = (Progress::default(), Instant::now());
        loop {
            let Ok((returned, outcome)) = line.submit(item).await else {
                return Err(reject(
                    queue,
                    SendError::Unknown {
                        queue: queue.clone(),
                        id,
                        deduplicated: self.rules.deduplicated,
                        source: None,
                    },
                ));
            };
            item = returned;
            match progress.after(outcome.class(), &self.rules, start.elapsed(), rand::random()) {
                Step::Wait(pause) => {
                    tracing::debug!(?pause, ?outcome, "trying again");
                    sleep(pause).await;
                }
                step => return self.conclude(queue, id, durability, step, outcome),
            }
        }
    }

    pub(crate) async fn send_all(
        &self,
        envelopes: Vec<Envelope>,
        durability: Durability,
    ) -> Vec<Result<Receipt, SendError>> {
        let mut results: Vec<Option<Result<Receipt, SendError>>> = Vec::with_capacity(envelopes.len());
        let mut envelopes = envelopes.into_iter().enumerate();
        let mut groups = Groups::default();
        let mut under_way = None;
        loop {
            for (index, envelope) in envelopes.by_ref().take(PORTION) {
                let prepared = self.prepare(envelope);
                results.push(prepared.map_or_else(
                    |error| Some(Err(error)),
                    |(outlet, item)| {
                        groups.add(outlet, index, item);
                        None
                    },
                ));
            }
            let done = match under_way.take() {
                None => Vec::new(),
                // Nothing is left to be encoded meanwhile.
                Some(sending) if envelopes.len() == 0 => sending.await,
                Some(mut sending) => match futures::poll!(&mut sending) {
                    Poll::Ready(done) => done,
                    Poll::Pending => {
                        under_way = Some(sending);
                        // The driver may share our thread.
                        tokio::task::yield_now().await;
                        continue;
                    }
                },
            };
            for (index, result) in done {
                results[index] = Some(result);
            }
            if groups.is_empty() {
                if envelopes.len() == 0 {
                    break;
                }
                continue;
            }
            let mut sending = Box::pin(self.send_groups(std::mem::take(&mut groups), durability));
            // The first poll puts it on its way.
            match futures::poll!(&mut sending) {
                Poll::Ready(done) => {
                    for (index, result) in done {
                        results[index] = Some(result);
                    }
                }
                Poll::Pending => under_way = Some(sending),
            }
        }
        results
            .into_iter()
            .map(|result| result.expect("each message is refused at once or is in a group"))
            .collect()
    }

    async fn send_groups(
        &self,
        groups: Groups<'_>,
        durability: Durability,
    ) -> Vec<(usize, Result<Receipt, SendError>)> {
        let groups = groups.0.into_iter().map(|(outlet, group)| {
            let span = tracing::info_span!("send_all", queue = %outlet.queue(), messages = group.len());
            self.send_group(outlet.line(durability), durability, group).instrument(span)
        });
        futures::future::join_all(groups).await.into_iter().flatten().collect()
    }

    /// Sends messages of one queue, together for as long as more than one is undecided.
    async fn send_group(
        &self,
        line: Line,
        durability: Durability,
        group: Vec<(usize, Item)>,
    ) -> Vec<(usize, Result<Receipt, SendError>)> {
        let queue = line.inner().queue();
        let start = Instant::now();
        let mut results = Vec::with_capacity(group.len());
        let (mut states, mut items): (Vec<(usize, Progress)>, Vec<Item>) =
            group.into_iter().map(|(index, item)| ((index, Progress::default()), item)).unzip();
        while !items.is_empty() {
            let outcomes = line.inner().push(std::mem::take(&mut items)).await;
            // One random number for all: what failed together is tried again together, and keeps its order.
            let (unit, waited, mut longest) = (rand::random(), start.elapsed(), Duration::ZERO);
            let tried = std::mem::take(&mut states);
            for ((index, mut progress), (item, outcome)) in tried.into_iter().zip(outcomes) {
                match progress.after(outcome.class(), &self.rules, waited, unit) {
                    Step::Wait(pause) => {
                        longest = longest.max(pause);
                        states.push((index, progress));
                        items.push(item);
                    }
                    step => results.push((index, self.conclude(queue, item.id, durability, step, outcome))),
                }
            }
            if !items.is_empty() {
                tracing::debug!(messages = items.len(), pause = ?longest, "trying again");
                sleep(longest).await;
            }
        }
        results
    }

    /// Chooses the way, fills in what the sender adds, and encodes.
    fn prepare(&self, envelope: Envelope) -> Result<(&Outlet, Item), SendError> {
        let outlet = self.outlet(&envelope);
        let queue = outlet.queue();
        let mut envelope = envelope.with_queue(queue);
        if envelope.id().is_empty() {
            envelope = envelope.with_id(MessageId::new());
        }
        if let (None, Some(ttl)) = (envelope.ttl(), self.ttl) {
            envelope = envelope.with_ttl(ttl);
        }
        if let (None, Some(context)) = (envelope.header(TraceParent::HEADER), &self.trace_context)
            && let Some(parent) = context()
        {
            envelope = envelope.with_trace_parent(&parent);
        }
        let id = envelope.id().clone();
        let envelope = self
            .codecs
            .seal(envelope)
            .map_err(|source| reject(queue, SendError::Codec { id: id.clone(), source: Arc::new(source) }))?;
        let raw = self.codec.encode(&envelope).map_err(|error| {
            let id = id.clone();
            let error = match error {
                EncodeError::Limit(exceeded) if exceeded.limit() == Limit::Size => SendError::TooLarge {
                    queue: queue.clone(),
                    id,
                    size: exceeded.value(),
                    limit: exceeded.max(),
                },
                source => SendError::Encode { id, source: Arc::new(source) },
            };
            reject(queue, error)
        })?;
        let due_ms = envelope
            .not_before()
            .and_then(|due| u64::try_from(due.as_millisecond()).ok())
            .filter(|due| *due > system_ms())
            .unwrap_or(0);
        let payload_bytes = envelope.payload().get().len();
        Ok((outlet, Item { id, lane: envelope.priority(), due_ms, payload_bytes, raw }))
    }

    fn outlet(&self, envelope: &Envelope) -> &Outlet {
        self.routes
            .choose(envelope)
            .and_then(|queue| self.outlets.iter().find(|outlet| outlet.queue() == queue))
            .unwrap_or(&self.outlets[0])
    }

    /// What to tell the caller, when there is nothing left to try.
    fn conclude(
        &self,
        queue: &QueueName,
        id: MessageId,
        durability: Durability,
        step: Step,
        outcome: Outcome,
    ) -> Result<Receipt, SendError> {
        if step == Step::Shed {
            telemetry::rejected(queue, "shed");
            return Ok(Receipt::Shed { id });
        }
        let unknown = step == Step::FinishUnknown;
        let queue_name = queue.clone();
        let error = match outcome {
            Outcome::Accepted(Accepted::Duplicate) => return Ok(Receipt::Duplicate { id, durability }),
            Outcome::Accepted(Accepted::Pushed) => return Ok(Receipt::Sent { id, durability }),
            Outcome::Accepted(Accepted::Scheduled) => return Ok(Receipt::Scheduled { id, durability }),
            Outcome::Failed { error, .. } | Outcome::Unconfirmed(error) if unknown => {
                self.unknown(queue_name, id, Some(error))
            }
            _ if unknown => self.unknown(queue_name, id, None),
            Outcome::BreakerOpen { retry_after } => {
                SendError::BreakerOpen { queue: queue_name, id, retry_after }
            }
            Outcome::ClockUnstable => SendError::ClockUnstable { queue: queue_name, id },
            Outcome::Failed { error, .. } if error.kind() == ErrorKind::OutOfMemory => {
                SendError::OutOfMemory { queue: queue_name, id, source: error }
            }
            Outcome::Failed { error, .. } => SendError::Rejected { queue: queue_name, id, source: error },
            Outcome::Full { limit } => SendError::QueueFull { queue: queue_name, id, limit },
            Outcome::Refused(source) => {
                SendError::DurabilityRefused { queue: queue_name, id, durability, source }
            }
            Outcome::Unconfirmed(error) => self.unknown(queue_name, id, Some(error)),
            Outcome::Garbled => self.unknown(queue_name, id, None),
        };
        Err(reject(queue, error))
    }

    fn unknown(&self, queue: QueueName, id: MessageId, source: Option<Error>) -> SendError {
        SendError::Unknown { queue, id, deduplicated: self.rules.deduplicated, source }
    }
}

fn reject(queue: &QueueName, error: SendError) -> SendError {
    telemetry::rejected(queue, error.reason());
    error
}
