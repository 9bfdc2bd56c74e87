//! Why a message could not be sent, and what to do about it.

use std::sync::Arc;
use std::time::Duration;

use valkey_connection::{DurabilityRefusal, Error as ConnectionError, ErrorKind};
use valkey_envelope::{CodecError, EncodeError, MessageId, QueueName};

use crate::durability::Durability;

/// A message that was not accepted, or may not have been.
///
/// Every variant names the message; [`SendError::outcome_unknown`] tells apart "it is not there" from "nobody knows".
/// The envelope is consumed by a send: keep a clone if you mean to send it again under the same id.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The circuit breaker holds sends back because the server failed repeatedly.
    #[error(
        "message {id} was not sent to queue {queue}: the circuit breaker is open after repeated failures of the server; try again in {retry_after:?}"
    )]
    BreakerOpen {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// When the breaker lets the next attempt through, from now.
        retry_after: Duration,
    },
    /// The server's clock jumps about, so that its dedup window never held still. Nothing was written.
    #[error(
        "message {id} was not sent to queue {queue}: the server's clock jumps across dedup windows; look at its time service"
    )]
    ClockUnstable {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
    },
    /// A payload codec refused the payload.
    #[error("message {id} was not sent: its payload could not be coded")]
    Codec {
        /// The id of the message.
        id: MessageId,
        /// What the codec said.
        source: Arc<CodecError>,
    },
    /// The server cannot promise the durability that was asked for. Nothing was sent.
    #[error("message {id} was not sent to queue {queue}: `{durability}` cannot be promised: {source}")]
    DurabilityRefused {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// What was asked for.
        durability: Durability,
        /// Why not, with the remedy.
        source: DurabilityRefusal,
    },
    /// The envelope breaks a limit of the wire format.
    #[error("message {id} was not sent: it has no valid wire form")]
    Encode {
        /// The id of the message.
        id: MessageId,
        /// The limit and the field.
        source: Arc<EncodeError>,
    },
    /// The server is at its memory limit and refuses new messages. Nothing was written.
    #[error(
        "message {id} was not sent to queue {queue}: the server is at its maxmemory; slow down, drain the queues or raise maxmemory"
    )]
    OutOfMemory {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// The answer of the server.
        source: ConnectionError,
    },
    /// The queue holds as many waiting messages as it may.
    #[error(
        "message {id} was not sent: queue {queue} is full at {limit} messages; slow down, add consumers or raise its max length"
    )]
    QueueFull {
        /// The full queue.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// The limit in force, in messages.
        limit: u64,
    },
    /// The connection or the server refused it. Nothing was written.
    #[error("message {id} was not sent to queue {queue}: {source}")]
    Rejected {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// The refusal, with its own remedy.
        source: ConnectionError,
    },
    /// The encoded message is longer than this sender may send.
    #[error(
        "message {id} was not sent to queue {queue}: {size} bytes encoded, more than the {limit} that MAX_MESSAGE_BYTES allows; store the payload elsewhere and send where it is"
    )]
    TooLarge {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// Its encoded length in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The message may or may not be in the queue; or it is, and may be less safe than was asked for.
    #[error("{}; {}", unknown_fact(.queue, .id, .source.as_ref()), unknown_remedy(*.deduplicated, .source.as_ref()))]
    Unknown {
        /// The queue it was meant for.
        queue: QueueName,
        /// The id of the message.
        id: MessageId,
        /// Whether this sender has dedup on, which makes another send under the same id safe within the window.
        deduplicated: bool,
        /// How the last attempt ended; none if its task vanished with its runtime.
        source: Option<ConnectionError>,
    },
}

/// Why a durability is not promised: [`Sender::check_durability`](crate::Sender::check_durability).
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckError {
    /// It could not be found out.
    #[error("how safe queue {queue} keeps its messages could not be found out: {source}")]
    Failed {
        /// The queue.
        queue: QueueName,
        /// Why not.
        source: ConnectionError,
    },
    /// The server cannot promise it.
    #[error("`{durability}` cannot be promised for queue {queue}: {source}")]
    Refused {
        /// The queue.
        queue: QueueName,
        /// What was asked for.
        durability: Durability,
        /// Why not, with the remedy.
        source: DurabilityRefusal,
    },
}

fn unknown_fact(queue: &QueueName, id: &MessageId, source: Option<&ConnectionError>) -> String {
    match source {
        Some(error) if error.kind() == ErrorKind::Unconfirmed => {
            format!(
                "message {id} reached queue {queue} and may be less safe there than was asked for: {error}"
            )
        }
        _ => format!("nobody knows whether message {id} reached queue {queue}"),
    }
}

fn unknown_remedy(deduplicated: bool, source: Option<&ConnectionError>) -> &'static str {
    if source.is_some_and(ConnectionError::stopped_midway) {
        "the server stopped its script half-way, so that a second copy may not be recognised: mend the cause, and look into the queue before you send it again"
    } else if deduplicated {
        "send it again under the same id within the dedup window, a second copy will be recognised"
    } else {
        "sending it again may double it; with a dedup window it would be safe under the same id"
    }
}

impl SendError {
    /// The id of the message that was meant.
    pub fn id(&self) -> &MessageId {
        match self {
            Self::BreakerOpen { id, .. }
            | Self::ClockUnstable { id, .. }
            | Self::Codec { id, .. }
            | Self::DurabilityRefused { id, .. }
            | Self::Encode { id, .. }
            | Self::OutOfMemory { id, .. }
            | Self::QueueFull { id, .. }
            | Self::Rejected { id, .. }
            | Self::TooLarge { id, .. }
            | Self::Unknown { id, .. } => id,
        }
    }

    /// Whether the message may be in the queue all the same. `false` means that it surely is not there.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Whether the same send may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unknown { source: Some(source), .. } if source.stopped_midway() => source.is_transient(),
            Self::BreakerOpen { .. }
            | Self::ClockUnstable { .. }
            | Self::OutOfMemory { .. }
            | Self::QueueFull { .. }
            | Self::Unknown { .. } => true,
            Self::DurabilityRefused { source, .. } => source.is_transient(),
            Self::Rejected { source, .. } => source.is_transient(),
            Self::Codec { .. } | Self::Encode { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// One word for metrics and logs: `breaker_open`, `clock`, `durability`, `full`, `invalid`, `oom`, `rejected`, `too_large`, `unknown`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BreakerOpen { .. } => "breaker_open",
            Self::ClockUnstable { .. } => "clock",
            Self::Codec { .. } | Self::Encode { .. } => "invalid",
            Self::DurabilityRefused { .. } => "durability",
            Self::OutOfMemory { .. } => "oom",
            Self::QueueFull { .. } => "full",
            Self::Rejected { .. } => "rejected",
            Self::TooLarge { .. } => "too_large",
            Self::Unknown { .. } => "unknown",
        }
    }
}
