//! What can go wrong, by operation: starting, receiving, settling.

use valkey_connection::{Error as ConnectionError, ErrorKind};
use valkey_envelope::{QueueKeys, QueueName};

/// Why a receiver could not start or go on, or does not serve one of its queues.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The queue could not be joined.
    #[error("cannot join queue {queue}: {source}")]
    Join {
        /// The queue.
        queue: QueueName,
        /// What the connection says, with the remedy.
        source: ConnectionError,
    },
    /// The queue's keys are of a newer format than this program knows. Nothing of them was touched.
    #[error(
        "queue {queue} is of format {found}, this program knows formats up to {known}: run a newer version of it, which knows both"
    )]
    NewerFormat {
        /// The queue.
        queue: QueueName,
        /// What its `control` says.
        found: String,
        /// [`QueueKeys::FORMAT`](valkey_envelope::QueueKeys::FORMAT).
        known: u32,
    },
    /// No queue was named.
    #[error("a receiver needs at least one queue: name it with `queue(..)` or DEFAULT_QUEUES")]
    NoQueue,
    /// The settings contradict themselves.
    #[error("the receiver's settings contradict themselves: {0}")]
    Settings(String),
    /// The engine's thread could not be started, or ended before its time.
    #[error("the receiver's own thread is not running: {0}")]
    Thread(String),
    /// The queue is not served at present: see [`ReceiverHandle::unserved`](crate::ReceiverHandle::unserved).
    #[error("queue {queue} is not served at present: {source}")]
    Unserved {
        /// The queue.
        queue: QueueName,
        /// What the connection says, with the remedy.
        source: ConnectionError,
    },
}

/// Why a consumer was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the queue is of the newer format {0}")]
    NewerFormat(String),
}

impl JoinError {
    pub(crate) fn of(self, queue: QueueName) -> ReceiveError {
        match self {
            Self::Connection(source) => ReceiveError::Join { queue, source },
            Self::NewerFormat(found) => ReceiveError::NewerFormat { queue, found, known: QueueKeys::FORMAT },
        }
    }

    /// The same about a queue of a receiver that has started.
    pub(crate) fn while_serving(self, queue: QueueName) -> ReceiveError {
        match self {
            Self::Connection(source) => ReceiveError::Unserved { queue, source },
            newer @ Self::NewerFormat(_) => newer.of(queue),
        }
    }

    /// Whether the server refuses this queue, as it need not refuse another: by its rights, by what sits on its keys, by
    /// its format.
    pub(crate) fn is_about_the_queue(&self) -> bool {
        match self {
            Self::Connection(source) => matches!(source.kind(), ErrorKind::Denied | ErrorKind::WrongType),
            Self::NewerFormat(_) => true,
        }
    }
}

/// Why a settle did not take effect, or may not have.
///
/// In every case the message is safe: at worst it is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// This consumer was fenced: it could not renew its lease in time, and the message belongs to the queue again.
    #[error("the lease was lost before the message was settled; it will be delivered again")]
    LeaseLost,
    /// The receiver had already stopped.
    #[error("the receiver has stopped; the message went back to its queue")]
    Stopped,
    /// The server's state was rolled back or deleted under the group this settle travelled in.
    #[error(
        "the server no longer knew every message of the group; whether this one was settled is uncertain"
    )]
    Uncertain,
}
