//! A message as a line of JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;
use valkey_envelope::{Headers, Lane, QueueName};
use valkey_receiver::Delivery;

use crate::failure::Failure;

#[derive(Serialize)]
struct Line<'a> {
    queue: &'a QueueName,
    id: &'a str,
    kind: Option<&'a str>,
    lane: Lane,
    attempt: u32,
    #[serde(skip_serializing_if = "is_zero")]
    crashes: u32,
    timestamp: Option<String>,
    headers: &'a Headers,
    payload: &'a RawValue,
}

/// Writes the line and sees it on its way, so that the message may be acked.
pub(super) fn print(delivery: &Delivery) -> Result<(), Failure> {
    let envelope = delivery.envelope();
    let line = Line {
        queue: delivery.queue(),
        id: envelope.id().as_str(),
        kind: envelope.kind(),
        lane: delivery.lane(),
        attempt: delivery.attempt(),
        crashes: delivery.crashes(),
        timestamp: envelope.timestamp().map(|timestamp| timestamp.to_string()),
        headers: envelope.headers(),
        payload: envelope.payload(),
    };
    let mut line =
        serde_json::to_vec(&line).map_err(|error| Failure::Failed(format!("writing JSON: {error}")))?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(|error| Failure::io("writing a message", error))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}
