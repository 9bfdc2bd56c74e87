//! The registrations, in the three forms in which they arrive.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use valkey_connection::{Command, Connection};
use valkey_envelope::{Envelope, QueueName};
use valkey_sender::Sender;

use crate::failure::Failure;

pub(super) const POISON: u32 = 10;
pub(super) const FLAKY: u32 = 10;
pub(super) const EXPIRED: u32 = 5;

/// Messages pushed in one round trip.
const BATCH: usize = 100;

/// Somebody wants an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Registration {
    login: String,
    email: String,
    telegram_id: u64,
    pub(super) fate: Fate,
}

/// What the handler will do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    /// Was too old when it was sent.
    Expired,
    /// Fails twice, then works.
    Flaky,
    /// Fails always.
    Poison,
    /// Works.
    Smooth,
}

/// How it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    GoBase64,
    GoInline,
    Ours,
}

/// What was sent: id -> form and fate.
pub(super) type Messages = BTreeMap<String, (Form, Fate)>;

/// The fate of the `i`th of `count`: special ones spread evenly over all forms.
fn fate(i: u32, count: u32) -> Fate {
    let special = POISON + FLAKY + EXPIRED;
    let step = count / special;
    if !i.is_multiple_of(step) || i / step >= special {
        return Fate::Smooth;
    }
    match i / step {
        n if n < 2 * EXPIRED && n.is_multiple_of(2) => Fate::Expired,
        n if n < 2 * EXPIRED => Fate::Poison,
        n if n.is_multiple_of(3) => Fate::Poison,
        _ => Fate::Flaky,
    }
}

const fn form(i: u32) -> Form {
    match i % 3 {
        0 => Form::GoInline,
        1 => Form::GoBase64,
        _ => Form::Ours,
    }
}

/// Sends them all and says what was sent. Every one is confirmed, or this fails.
pub(super) async fn send(connection: Connection, queue: QueueName, count: u32) -> Result<Messages, Failure> {
    let sender = Sender::new(connection.clone(), queue.clone());
    let fates = fates(count);
    let mut messages = Messages::new();
    let indices: Vec<u32> = (0..count).collect();
    for batch in indices.chunks(BATCH) {
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for &i in batch {
            let (form, fate) = (form(i), fates[i as usize]);
            let registration = registration(i, fate);
            let id = match form {
                Form::Ours => {
                    let envelope = our_envelope(&registration)?;
                    let id = envelope.id().to_string();
                    ours.push(envelope);
                    id
                }
                go => {
                    let id = uuid::Uuid::new_v4().to_string();
                    plain.push(go_envelope(&id, &queue, &registration, go));
                    id
                }
            };
            messages.insert(id, (form, fate));
        }
        connection.execute(Command::new("LPUSH").key(queue.keys().public()).args(plain)).await?;
        for receipt in sender.send_all(ours).await {
            if !receipt?.is_accepted() {
                return Err(Failure::Failed("a message was shed, though the queue has no limit".into()));
            }
        }
    }
    Ok(messages)
}

fn fates(count: u32) -> Vec<Fate> {
    (0..count).map(|i| fate(i, count)).collect()
}

fn registration(i: u32, fate: Fate) -> Registration {
    Registration {
        login: format!("user{i:05}"),
        email: format!("user{i:05}@example.org"),
        telegram_id: 700_000_000 + u64::from(i),
        fate,
    }
}

fn our_envelope(registration: &Registration) -> Result<Envelope, Failure> {
    let envelope = Envelope::new(registration)
        .map_err(|error| Failure::Failed(format!("making an envelope: {error}")))?
        .with_kind("registration");
    Ok(if registration.fate == Fate::Expired {
        envelope.with_timestamp(an_hour_ago()).with_ttl(Duration::from_secs(1))
    } else {
        envelope
    })
}

/// As the Go producer writes it: durations in nanoseconds, null for absent maps, and bytes in base64.
fn go_envelope(id: &str, queue: &QueueName, registration: &Registration, form: Form) -> Vec<u8> {
    let expired = registration.fate == Fate::Expired;
    let payload = json!(registration);
    let envelope = json!({
        "id": id,
        "queue": queue.as_str(),
        "payload": if form == Form::GoBase64 { json!(STANDARD.encode(payload.to_string())) } else { payload },
        "headers": null,
        "timestamp": if expired { an_hour_ago() } else { Timestamp::now() }.to_string(),
        "ttl": if expired { 1_000_000_000u64 } else { 86_400_000_000_000 },
        "retries": 0,
        "metadata": null,
    });
    envelope.to_string().into_bytes()
}

fn an_hour_ago() -> Timestamp {
    Timestamp::now() - Duration::from_hours(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_special_ones_are_as_many_as_promised() {
        for count in [60, 100, 3000, 9999] {
            let fates = fates(count);
            let of = |fate| fates.iter().filter(|f| **f == fate).count() as u32;
            assert_eq!(
                (of(Fate::Poison), of(Fate::Flaky), of(Fate::Expired)),
                (POISON, FLAKY, EXPIRED),
                "{count}"
            );
        }
    }

    #[test]
    fn each_form_is_read_back() {
        let queue: QueueName = "q".parse().unwrap();
        for fate in [Fate::Smooth, Fate::Expired] {
            let registration = registration(7, fate);
            let ours = our_envelope(&registration).unwrap().encode().unwrap().to_vec();
            let inline = go_envelope("1", &queue, &registration, Form::GoInline);
            let base64 = go_envelope("1", &queue, &registration, Form::GoBase64);
            for bytes in [ours, inline, base64] {
                let envelope = Envelope::decode(&bytes).unwrap();
                assert_eq!(envelope.payload_as::<Registration>().unwrap().login, "user00007");
                assert_eq!(envelope.is_expired(Timestamp::now()), fate == Fate::Expired);
            }
        }
    }
}
