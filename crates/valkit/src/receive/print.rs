//! A message as a line of JSON.

use std::{io, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;
use valkey_envelope::{Headers, Lane, QueueName};
use valkey_receiver::{Delivery, Outcome};

use super::{Verdict, pen::Pen};
use crate::{failure::Failure, stop::Stop};

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

/// Writes the line, and sees it on its way before the message may be acked. Once the end is wished for, who does not read
/// is waited for no longer than `patience`.
pub(super) async fn print(delivery: &Delivery, pen: &Pen, stop: &Stop, patience: Duration) -> Verdict {
    let line = match line(delivery) {
        Ok(line) => line,
        Err(error) => return Verdict::Back(Some(Failure::Failed(format!("writing JSON: {error}")))),
    };
    let impatient = async {
        stop.drain.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        biased;
        written = pen.write(line) => {
            match written.unwrap_or_else(|_| Err(io::Error::other("its thread has ended"))) {
                Ok(()) => Outcome::ack().into(),
                // Nobody has read it, and nobody will: it goes back, and we stop.
                Err(error) => Verdict::Back(Some(Failure::io("writing a message", error))),
            }
        }
        () = delivery.lease_lost().cancelled() => Outcome::nack("the lease was lost").into(),
        () = stop.now.cancelled() => Verdict::Back(None),
        () = impatient => Verdict::Back(None),
    }
}

fn line(delivery: &Delivery) -> serde_json::Result<Vec<u8>> {
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
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    Ok(line)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}
