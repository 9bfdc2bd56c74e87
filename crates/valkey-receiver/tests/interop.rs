//! Beside plain producers and consumers: real `valkey-cli` on the other end, in both directions.
#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use valkey_connection::Command;
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::{Message, Outcome, Receiver, ReceiverSettings};

use support::books::Books;
use support::{Bed, settings, soon, until};

/// What two Go producers in the field write: the payload inline, and as `[]byte`, which Go writes in base64.
const INLINE: &str = r#"{"id":"20250131100000-42","payload":{"username":"müller","email":"m@example.org"},"headers":{"locale":"de"},"timestamp":"2025-01-31T10:00:00.123456789+01:00","ttl":0,"retries":0,"max_retries":3,"queue":"q","metadata":null}"#;
const BASE64: &str = r#"{"id":"20250131100000-43","payload":"eyJ1c2VybmFtZSI6ImFkYSIsImVtYWlsIjoiYUBleGFtcGxlLm9yZyJ9","headers":{},"timestamp":"2025-01-31T10:00:01Z","ttl":0,"retries":0}"#;

async fn lpush(bed: &Bed, raw: impl Into<Bytes>) {
    bed.server.cli_raw(&["-x", "LPUSH", bed.keys.public()], raw).await.unwrap();
}

/// A plain consumer: what it gets in one second.
async fn brpop(bed: &Bed) -> Option<Vec<u8>> {
    // Two lines: the key, and the element.
    let printed = bed.server.cli_raw(&["BRPOP", bed.keys.public(), "1"], "").await.unwrap();
    printed.strip_prefix(format!("{}\n", bed.keys.public()).as_bytes()).map(<[u8]>::to_vec)
}

async fn payload(receiver: &Receiver) -> serde_json::Value {
    payload_of(receiver, &Books::default()).await
}

/// The same, and it stands in the books.
async fn payload_of(receiver: &Receiver, books: &Books) -> serde_json::Value {
    let delivery = books.next(receiver).await;
    let payload = delivery.envelope().payload_as().unwrap();
    books.ack(delivery).await;
    payload
}

#[tokio::test]
async fn both_forms_of_foreign_producers_are_received() {
    let bed = Bed::new("foreign").await;
    lpush(&bed, INLINE).await;
    let receiver = bed.receiver(settings()).await;
    assert_eq!(payload(&receiver).await, json!({"username": "müller", "email": "m@example.org"}));
    // Waiting, or pushed to a parked consumer.
    lpush(&bed, BASE64).await;
    assert_eq!(payload(&receiver).await, json!({"username": "ada", "email": "a@example.org"}));
    bed.until_empty().await;
}

#[tokio::test]
async fn a_plain_consumer_gets_the_very_bytes_that_were_sent() {
    let bed = Bed::new("plain").await;
    let ours = Envelope::new(&json!({"username": "grace"})).unwrap().encode().unwrap();
    bed.push_raw(ours.clone()).await;
    assert_eq!(brpop(&bed).await.unwrap(), ours);
    let foreign = b"anything \x00\xff\r\n at all".as_slice();
    lpush(&bed, foreign).await;
    assert_eq!(brpop(&bed).await.unwrap(), foreign);
    assert_eq!(brpop(&bed).await, None);
}

#[tokio::test]
async fn what_a_drained_consumer_gives_back_are_the_very_bytes_it_took() {
    let bed = Bed::new("given-back").await;
    for raw in [INLINE, BASE64] {
        lpush(&bed, raw).await;
    }
    let garbage = b"\x00 no envelope \xfe".as_slice();
    lpush(&bed, garbage).await;
    let receiver = bed.receiver(settings()).await;
    until("the prefetch", async || (bed.ready().await == 0).then_some(())).await;
    let first = soon("a message", receiver.recv()).await.unwrap();
    assert_eq!(first.raw(), INLINE);
    let stop = tokio::spawn(receiver.drain());
    first.ack().await.unwrap();
    let report = soon("the end", stop).await.unwrap().unwrap();
    assert_eq!((report.acked, report.handed_back), (1, 2), "{report}");
    assert_eq!(brpop(&bed).await.unwrap(), BASE64.as_bytes());
    assert_eq!(brpop(&bed).await.unwrap(), garbage);
}

#[tokio::test]
async fn a_plain_consumer_beside_ours_takes_its_share_and_nothing_comes_twice() {
    let bed = Bed::new("beside").await;
    let receiver = bed.receiver(settings().prefetch(1.try_into().unwrap())).await;
    bed.push_numbers(60).await;
    let mut got = Vec::new();
    for _ in 0..10 {
        let raw = Bytes::from(brpop(&bed).await.unwrap());
        got.push(Envelope::decode(&raw).unwrap().payload_as::<u32>().unwrap());
    }
    while got.len() < 60 {
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        got.push(delivery.envelope().payload_as::<u32>().unwrap());
        delivery.ack().await.unwrap();
    }
    bed.until_empty().await;
    got.sort_unstable();
    assert_eq!(got, (1..=60).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_list_that_its_producer_lets_expire_survives_a_consumer_whose_hands_are_full() {
    let bed = Bed::new("expires").await;
    // As long a lease as any deployment has: its renewals alone would come too late.
    let settings =
        ReceiverSettings::default().prefetch(NonZeroUsize::MIN).max_concurrent_messages(NonZeroUsize::MIN);
    let receiver = bed.receiver(settings).await;
    let books = Books::of(bed.push_numbers(20).await);
    let held = books.next(&receiver).await;
    until("full hands", async || (bed.held_anywhere().await - bed.ready().await == 2).then_some(())).await;
    // It has nothing to do now for as long as the lease lets it.
    bed.server.cli(&["EXPIRE", bed.keys.public(), "2"]).await.unwrap();
    until("a list without an end", async || {
        let left: i64 = bed.server.cli(&["TTL", bed.keys.public()]).await.unwrap().parse().unwrap();
        assert_ne!(left, -2, "it has expired");
        (left == -1).then_some(())
    })
    .await;
    books.ack(held).await;
    for number in 2..=20 {
        assert_eq!(payload_of(&receiver, &books).await, json!(number));
    }
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    bed.until_empty().await;
}

#[tokio::test]
async fn an_idle_consumer_is_no_danger_to_an_expiring_list() {
    let bed = Bed::new("expires-idle").await;
    let (receiver, books) = (bed.receiver(settings()).await, Books::default());
    // As producers do it: push, then set the time on the key, which may be gone by then.
    for number in 0..20 {
        books.sent([bed.push(&Envelope::new(&number).unwrap()).await]);
        bed.ask(Command::new("EXPIRE").key(bed.keys.public()).arg("1")).await;
        assert_eq!(payload_of(&receiver, &books).await, json!(number));
    }
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn garbage_lands_among_the_dead_as_the_bytes_it_was_and_the_loop_lives_on() {
    let bed = Bed::new("garbage").await;
    let mut garbage = [&b"hello"[..], b"", b"\x00\xff\xfe", b"{\"id\":", b"[1,2,3]", b"12|3|n|framed?"]
        .map(Bytes::copy_from_slice)
        .to_vec();
    for raw in &garbage {
        lpush(&bed, raw.clone()).await;
    }
    bed.push_numbers(1).await;
    let receiver = bed.receiver(settings()).await;
    assert_eq!(payload(&receiver).await, json!(1));
    let dead = bed.until_dead(garbage.len()).await;
    assert!(dead.iter().all(|dead| dead.meta.reason == DeadReason::Undecodable), "{dead:?}");
    let mut kept: Vec<Bytes> = dead.into_iter().map(|dead| dead.raw).collect();
    kept.sort_unstable();
    garbage.sort_unstable();
    assert_eq!(kept, garbage);
    bed.until_empty().await;
}

#[tokio::test]
async fn a_retried_message_keeps_its_bytes_to_the_dead_letter() {
    let bed = Bed::new("retried").await;
    lpush(&bed, BASE64).await;
    let receiver = bed.receiver(settings().max_retries(1)).await;
    let stop = receiver.handle();
    let service = tokio::spawn(
        receiver
            .serve(async |message: Message| {
                assert_eq!(message.raw(), BASE64);
                Outcome::nack("busy").retry_after(Duration::from_millis(1))
            })
            .into_future(),
    );
    let [dead] = bed.until_dead(1).await.try_into().unwrap();
    assert_eq!((dead.raw.as_ref(), dead.meta.attempts), (BASE64.as_bytes(), 2));
    stop.drain();
    let _ = soon("the end", service).await.unwrap().unwrap();
}
