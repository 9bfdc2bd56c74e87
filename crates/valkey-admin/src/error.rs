//! What can go wrong when a queue is looked at or operated.

use valkey_envelope::QueueName;

use crate::place::Place;

/// Why a verb was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused, failed or could not be reached.
    #[error(transparent)]
    Connection(#[from] valkey_connection::Error),
    /// A rate that is none: consumers would ignore it. Who wants nothing handed out pauses the queue.
    #[error("a rate of {rate} messages a second is none: it is above 0; to stop consumers, pause the queue")]
    InvalidRate {
        /// The rate asked for, in messages a second.
        rate: f64,
    },
    /// The queue's keys are of a newer format than this version knows. Nothing of them was changed.
    #[error(
        "queue {queue} is of format {found}, this program knows formats up to {known}: use a newer version of it, which knows both"
    )]
    NewerFormat {
        /// The queue.
        queue: QueueName,
        /// What its `control` says.
        found: String,
        /// [`QueueKeys::FORMAT`](valkey_envelope::QueueKeys::FORMAT).
        known: u32,
    },
    /// The verb does not apply to that part of a queue.
    #[error("{verb} does not apply to `{place}`: {reason}")]
    NotApplicable {
        /// The verb, as the command line calls it.
        verb: &'static str,
        /// The part it was asked for.
        place: Place,
        /// Why not, and what to use instead.
        reason: &'static str,
    },
    /// There is no such dead letter.
    #[error("queue {queue} has no dead letter {id:?}: it was replayed or purged meanwhile, or never there")]
    NoDeadLetter {
        /// The queue asked.
        queue: QueueName,
        /// The id asked for.
        id: String,
    },
    /// The server's answer does not have the form this version knows.
    #[error("{0}: the answer has a form this version does not know")]
    UnexpectedReply(&'static str),
}
