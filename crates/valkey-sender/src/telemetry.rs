//! The metrics of a sender, names in one place. Message ids are never labels.

use metrics::{counter, histogram};
use valkey_envelope::QueueName;

use crate::item::Item;
use crate::outcome::{Accepted, Outcome};

/// Messages accepted by a queue. Labels: `queue`.
const ENQUEUED: &str = "valkit_enqueued_total";
/// Messages finally not added to a queue. Labels: `queue`, `reason` (a word of
/// [`SendError::reason`](crate::SendError::reason), `duplicate` or `shed`).
const REJECTED: &str = "valkit_enqueue_rejected_total";
/// Bytes of the payloads accepted. Labels: `queue`.
const PAYLOAD_BYTES: &str = "valkit_payload_bytes";

/// Counts what one push brought in.
pub(crate) fn pushed(queue: &QueueName, items: &[Item], outcomes: &[Outcome]) {
    let sizes = histogram!(PAYLOAD_BYTES, "queue" => queue.as_str().to_owned());
    let (mut accepted, mut duplicates) = (0, 0);
    for (item, outcome) in items.iter().zip(outcomes) {
        match outcome {
            Outcome::Accepted(Accepted::Duplicate) => duplicates += 1,
            Outcome::Accepted(Accepted::Pushed | Accepted::Scheduled) => {
                accepted += 1;
                sizes.record(item.payload_bytes as f64);
            }
            _ => {}
        }
    }
    if accepted > 0 {
        counter!(ENQUEUED, "queue" => queue.as_str().to_owned()).increment(accepted);
    }
    if duplicates > 0 {
        counter!(REJECTED, "queue" => queue.as_str().to_owned(), "reason" => "duplicate")
            .increment(duplicates);
    }
}

/// Counts one message that its sender gave up or dropped.
pub(crate) fn rejected(queue: &QueueName, reason: &'static str) {
    counter!(REJECTED, "queue" => queue.as_str().to_owned(), "reason" => reason).increment(1);
}
