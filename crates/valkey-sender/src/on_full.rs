//! What a sender does when the queue is at its maximum length.

use std::time::Duration;

/// The answer to "the queue is full".
///
/// There is no default on purpose of the type; [`SenderSettings`](crate::SenderSettings) starts with
/// [`OnFull::Error`], the one that hides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Wait until there is room, asking again with growing pauses of 5 ms to 500 ms.
    Block {
        /// Give up with [`SendError::QueueFull`](crate::SendError::QueueFull) after this time; `None` waits for ever.
        timeout: Option<Duration>,
    },
    /// Fail with [`SendError::QueueFull`](crate::SendError::QueueFull).
    Error,
    /// Drop the message, count it, and say so with [`Receipt::Shed`](crate::Receipt::Shed).
    Shed,
}
