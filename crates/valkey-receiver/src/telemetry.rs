//! The metrics and the span of the receiver.
//!
//! Metrics go through the [`metrics`] facade. Handles are looked up once per queue when a receiver starts, so a
//! recorder has to be installed before; without one every recording is a test of a null pointer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use tracing::{Span, field, info_span};
use valkey_envelope::{DeadReason, QueueName, TraceParent};

use crate::handler::Message;
use crate::outcome::Outcome;

/// Messages given to handlers. Labels: `queue`.
pub const DELIVERED_TOTAL: &str = "valkit_delivered_total";
/// Of these, the ones that were no first attempt or had lost a consumer before. Labels: `queue`.
pub const REDELIVERED_TOTAL: &str = "valkit_redelivered_total";
/// Messages reclaimed from consumers whose lease had expired. Labels: `queue`.
pub const LEASE_EXPIRED_TOTAL: &str = "valkit_lease_expired_total";
/// Messages settled on the server. Labels: `queue`, `outcome` = `acked|retried|snoozed|dead|handed_back|stale|uncertain`.
pub const SETTLED_TOTAL: &str = "valkit_settled_total";
/// Seconds from the envelope's timestamp to the start of its handler; first attempts only. Labels: `queue`.
pub const TIME_IN_QUEUE_SECONDS: &str = "valkit_time_in_queue_seconds";
/// Seconds a handler took. Labels: `queue`, `outcome` = `ack|nack|snooze|dead_letter|timed_out|panicked|aborted`.
pub const HANDLER_DURATION_SECONDS: &str = "valkit_handler_duration_seconds";
/// Size of the messages as they lie in the queue, in bytes. Labels: `queue`.
pub const PAYLOAD_BYTES: &str = "valkit_payload_bytes";
/// Messages that could not be read. Labels: `queue`, `reason`.
pub const DECODE_FAILURES_TOTAL: &str = "valkit_decode_failures_total";
/// Messages that became dead letters. Labels: `queue`, `reason`; a reason of a handler's own counts as `other`.
pub const DEAD_LETTER_TOTAL: &str = "valkit_dead_letter_total";
/// What inboxes made of messages. Labels: `queue`, `fate` =
/// `ran|again|done|refused|busy|in_doubt|half_applied|taken_over|no_key|unavailable`.
pub const INBOX_TOTAL: &str = "valkit_inbox_total";

/// Tells the installed recorder what the metrics of this crate mean.
pub fn describe() {
    describe_counter!(DELIVERED_TOTAL, Unit::Count, "Messages given to handlers");
    describe_counter!(REDELIVERED_TOTAL, Unit::Count, "Messages given to handlers again");
    describe_counter!(LEASE_EXPIRED_TOTAL, Unit::Count, "Messages reclaimed from dead consumers");
    describe_counter!(SETTLED_TOTAL, Unit::Count, "Messages settled, by outcome");
    describe_counter!(DECODE_FAILURES_TOTAL, Unit::Count, "Messages that could not be read, by reason");
    describe_counter!(DEAD_LETTER_TOTAL, Unit::Count, "Messages that became dead letters, by reason");
    describe_counter!(INBOX_TOTAL, Unit::Count, "Messages seen by an inbox, by what became of their effect");
    describe_histogram!(
        TIME_IN_QUEUE_SECONDS,
        Unit::Seconds,
        "From the message's timestamp to its first handler"
    );
    describe_histogram!(HANDLER_DURATION_SECONDS, Unit::Seconds, "Duration of handlers, by outcome");
    describe_histogram!(PAYLOAD_BYTES, Unit::Bytes, "Size of messages as they lie in the queue");
}

/// Begins what is counted of a queue at zero. A receiver does so when it starts; this is for who waits for the server before that,
/// for an alarm on an increase misses the first of what was not there yet.
pub fn begin(queue: &QueueName) {
    let _begun = QueueMetrics::new(queue);
}

/// How a handler's work on a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Ack,
    Nack,
    Snooze,
    DeadLetter,
    TimedOut,
    Panicked,
    /// Dropped: the drain timeout was over, or the lease was lost.
    Aborted,
}

impl Ending {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Ack, "ack"),
        (Self::Nack, "nack"),
        (Self::Snooze, "snooze"),
        (Self::DeadLetter, "dead_letter"),
        (Self::TimedOut, "timed_out"),
        (Self::Panicked, "panicked"),
        (Self::Aborted, "aborted"),
    ];

    pub(crate) const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ack => Self::Ack,
            Outcome::DeadLetter { .. } => Self::DeadLetter,
            Outcome::Nack { .. } => Self::Nack,
            Outcome::Snooze { .. } => Self::Snooze,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How a message was settled on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Acked,
    Retried,
    Snoozed,
    Dead,
    HandedBack,
    /// Refused: the lease had been lost.
    Stale,
    /// The server's answer is not known, or its state was rolled back.
    Uncertain,
}

impl Settled {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Acked, "acked"),
        (Self::Retried, "retried"),
        (Self::Snoozed, "snoozed"),
        (Self::Dead, "dead"),
        (Self::HandedBack, "handed_back"),
        (Self::Stale, "stale"),
        (Self::Uncertain, "uncertain"),
    ];
}

/// What an inbox made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InboxFate {
    /// Its effect happened, and is marked.
    Ran,
    /// Its effect is run although an earlier run ended without a word; counted besides what comes of it.
    Again,
    /// Its effect had happened before.
    Done,
    /// Its handler said that nothing has happened.
    Refused,
    /// Another run of its effect is under way.
    Busy,
    /// Nobody knows whether its effect happened.
    InDoubt,
    /// Its effect happened in part.
    Half,
    /// Another run took over before this one was marked.
    TakenOver,
    /// It has nothing to be remembered by.
    NoKey,
    /// The inbox could not be asked; it waits.
    Unavailable,
}

impl InboxFate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Again => "again",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::InDoubt => "in_doubt",
            Self::Half => "half_applied",
            Self::TakenOver => "taken_over",
            Self::NoKey => "no_key",
            Self::Unavailable => "unavailable",
        }
    }

    pub(crate) fn count(self, queue: &QueueName) {
        counter!(INBOX_TOTAL, "queue" => queue.as_str().to_owned(), "fate" => self.as_str()).increment(1);
    }
}

/// The metric handles of one queue. Cheap to clone; recording looks nothing up but for rare events.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    shared: Arc<Handles>,
}

struct Handles {
    queue: QueueName,
    delivered: Counter,
    redelivered: Counter,
    lease_expired: Counter,
    settled: [Counter; Settled::ALL.len()],
    time_in_queue: Histogram,
    handler_duration: [Histogram; Ending::ALL.len()],
    payload_bytes: Histogram,
}

impl QueueMetrics {
    pub(crate) fn new(queue: &QueueName) -> Self {
        let name = queue.as_str();
        let queue_label = || name.to_owned();
        for reason in DeadReason::ALL.iter().map(DeadReason::as_str).chain([OTHER, UNROUTABLE]) {
            counter!(DEAD_LETTER_TOTAL, "queue" => queue_label(), "reason" => reason.to_owned()).absolute(0);
        }
        let handles = Handles {
            queue: queue.clone(),
            delivered: counter!(DELIVERED_TOTAL, "queue" => queue_label()),
            redelivered: counter!(REDELIVERED_TOTAL, "queue" => queue_label()),
            lease_expired: counter!(LEASE_EXPIRED_TOTAL, "queue" => queue_label()),
            settled: Settled::ALL
                .map(|(_, outcome)| counter!(SETTLED_TOTAL, "queue" => queue_label(), "outcome" => outcome)),
            time_in_queue: histogram!(TIME_IN_QUEUE_SECONDS, "queue" => queue_label()),
            handler_duration: Ending::ALL.map(
                |(_, outcome)| histogram!(HANDLER_DURATION_SECONDS, "queue" => queue_label(), "outcome" => outcome),
            ),
            payload_bytes: histogram!(PAYLOAD_BYTES, "queue" => queue_label()),
        };
        Self { shared: Arc::new(handles) }
    }

    /// Handlers were given `n` messages, `again` of them not for the first time.
    pub(crate) fn delivered(&self, n: u64, again: u64) {
        self.shared.delivered.increment(n);
        if again > 0 {
            self.shared.redelivered.increment(again);
        }
    }

    /// `n` messages were reclaimed from dead consumers.
    pub(crate) fn lease_expired(&self, n: u64) {
        self.shared.lease_expired.increment(n);
    }

    /// `n` messages were settled as `how`.
    pub(crate) fn settled(&self, how: Settled, n: u64) {
        self.shared.settled[how as usize].increment(n);
    }

    /// `n` messages became dead letters.
    pub(crate) fn dead_lettered(&self, reason: &DeadReason, n: u64) {
        // A handler may make up reasons; as labels they would grow without bound.
        let label = match reason {
            DeadReason::Other(own) if own != UNROUTABLE => OTHER.to_owned(),
            known => known.as_str().to_owned(),
        };
        counter!(DEAD_LETTER_TOTAL, "queue" => self.queue(), "reason" => label).increment(n);
    }

    /// One message could not be read; `reason` is one word.
    pub(crate) fn decode_failed(&self, reason: &'static str) {
        counter!(DECODE_FAILURES_TOTAL, "queue" => self.queue(), "reason" => reason).increment(1);
    }

    /// A handler is about to start on `message`, at the time of day `now`.
    pub(crate) fn starts(&self, message: &Message, now: SystemTime) {
        self.shared.payload_bytes.record(message.raw().len() as f64);
        if message.attempt() == 1
            && message.crashes() == 0
            && let Some(sent) = message.envelope().timestamp()
        {
            // A sender whose clock is ahead of ours has waited no time at all, not a negative one.
            let waited = now.duration_since(SystemTime::from(sent)).unwrap_or_default();
            self.shared.time_in_queue.record(waited.as_secs_f64());
        }
    }

    /// A handler has ended after `duration`.
    pub(crate) fn ended(&self, ending: Ending, duration: Duration) {
        self.shared.handler_duration[ending as usize].record(duration.as_secs_f64());
    }

    fn queue(&self) -> String {
        self.shared.queue.as_str().to_owned()
    }
}

impl fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueMetrics").field(&self.shared.queue.as_str()).finish()
    }
}

/// What reasons of handlers' own count as.
const OTHER: &str = "other";
/// The reason of messages that no route takes.
pub(crate) const UNROUTABLE: &str = "unroutable";

/// The span `process` of one message: everything its handler logs carries these fields. `traceparent` is the remote
/// parent, for whoever joins traces.
pub(crate) fn process_span(message: &Message) -> Span {
    let envelope = message.envelope();
    let span = info_span!(
        "process",
        queue = message.queue().as_str(),
        id = envelope.id().as_str(),
        kind = field::Empty,
        attempt = message.attempt(),
        traceparent = field::Empty,
        outcome = field::Empty,
    );
    if !span.is_disabled() {
        if let Some(kind) = envelope.kind() {
            span.record("kind", kind);
        }
        if let Some(traceparent) = envelope.header(TraceParent::HEADER) {
            span.record("traceparent", traceparent);
        }
    }
    span
}

/// The span `process_batch` of one call of a batch handler.
pub(crate) fn batch_span(messages: &[Message]) -> Span {
    let queue = messages.first().map(|message| message.queue().as_str());
    info_span!("process_batch", queue, messages = messages.len(), outcome = field::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_the_order_of_their_enums() {
        for (index, (ending, _)) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, index);
        }
        for (index, (settled, _)) in Settled::ALL.into_iter().enumerate() {
            assert_eq!(settled as usize, index);
        }
    }
}
