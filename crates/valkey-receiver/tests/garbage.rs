//! Anything can lie on a queue: what cannot be read is kept as it is, and the rest goes on.
#![allow(clippy::unwrap_used)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/rig.rs"]
mod rig;
mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use valkey_connection::Command;
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::{ReceiverSettings, telemetry};
use valkey_testkit::TestServer;

use rig::bed_on;
use support::books::Books;
use support::{Bed, settings, soon, until};

const MEGA: usize = 1 << 20;

/// What is no message, whatever one hopes to read.
fn garbage() -> Vec<(&'static str, Bytes)> {
    let envelope = |payload: &str| format!(r#"{{"id":"x","payload":{payload}}}"#);
    let cut = Envelope::new("half a message").unwrap().encode().unwrap();
    vec![
        ("nothing at all", Bytes::new()),
        ("a NUL", Bytes::from_static(b"\0")),
        ("broken UTF-8", Bytes::from_static(b"{\"id\":\"\xff\xfe\",\"payload\":1}")),
        ("line breaks, NULs and high bytes", (0..=255).collect()),
        ("no JSON", "hello".into()),
        ("half a message", cut.slice(..cut.len() / 2)),
        ("another JSON object", r#"{"name":"ada"}"#.into()),
        ("an array", "[1,2,3]".into()),
        ("a number", "1e999999".into()),
        ("a string", "\"x\"".into()),
        ("a number that is no count", r#"{"id":"x","payload":1,"retries":1e400}"#.into()),
        ("a count beyond all counts", r#"{"id":"x","payload":1,"retries":99999999999999999999}"#.into()),
        ("a negative count", r#"{"id":"x","payload":1,"retries":-1}"#.into()),
        ("nested 10,000 deep", envelope(&("[".repeat(10_000) + &"]".repeat(10_000))).into()),
        ("opened 10,000 times", "[".repeat(10_000).into()),
        ("what looks like a frame", "3|2|n|raw".into()),
        ("what looks like one in flight", "1700000000000|0|0|h|raw".into()),
        ("5 MB of nothing", vec![b' '; 5 * MEGA].into()),
    ]
}

#[tokio::test]
async fn garbage_is_kept_as_the_bytes_it_was_and_the_loop_lives_on() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let bed = Bed::new("garbage").await;
    let receiver = bed.receiver(settings()).await;
    let garbage = garbage();
    let books = Books::of(garbage.iter().map(|(_, raw)| raw.clone()));
    for (_, raw) in &garbage {
        bed.push_raw(raw.clone()).await;
    }
    books.sent([bed.push(&Envelope::new("a message").unwrap()).await]);
    let delivery = books.next(&receiver).await;
    assert_eq!(delivery.message().payload_as::<String>().unwrap(), "a message");
    books.ack(delivery).await;

    let dead = bed.until_dead(garbage.len()).await;
    for (what, raw) in &garbage {
        let letter =
            dead.iter().find(|letter| letter.raw == raw).unwrap_or_else(|| panic!("{what} is not kept"));
        assert_eq!(letter.meta.reason, DeadReason::Undecodable, "{what}");
        assert_eq!(letter.meta.attempts, 0, "{what}: no handler saw it");
        assert!(letter.meta.error.is_some(), "{what}");
    }
    let report = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.dead as usize), (1, garbage.len()), "{report}");

    let mut counted = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        if let DebugValue::Counter(count) = value
            && key.labels().any(|label| label.value() == bed.queue.as_str())
        {
            *counted.entry(key.name().to_owned()).or_insert(0) += count as usize;
        }
    }
    for name in [telemetry::DECODE_FAILURES_TOTAL, telemetry::DEAD_LETTER_TOTAL] {
        assert_eq!(counted.get(name), Some(&garbage.len()), "{name} in {counted:?}");
    }
    assert_eq!(counted.get(telemetry::DELIVERED_TOTAL), Some(&1), "{counted:?}");
}

/// A take pops slices of 8 until it holds a mebibyte, so that a reply is at most that and a slice.
#[tokio::test]
async fn a_heap_of_huge_messages_is_taken_in_slices() {
    const COUNT: usize = 64;
    let bed = bed_on(TestServer::start().await.unwrap(), "huge").await;
    let raw = Bytes::from(vec![b'x'; 5_000_000]);
    let books = Books::default();
    for _ in 0..COUNT {
        bed.push_raw(raw.clone()).await;
        books.sent([raw.clone()]);
    }
    books.sent(bed.push_numbers(1).await);
    let receiver = bed.receiver(ReceiverSettings::default()).await;
    // What cannot be read is seen to by whoever asks for the next message.
    let small = books.next(&receiver).await;
    books.ack(small).await;
    until("all of them to be dead", async || {
        (bed.ask(Command::new("ZCARD").key(bed.keys.dead())).await.as_int()
            == i64::try_from(COUNT).map_err(|_| unreachable!()))
        .then_some(())
    })
    .await;
    let ids =
        bed.ask(Command::new("ZRANGE").key(bed.keys.dead()).arg("0").arg("-1")).await.into_array().unwrap();
    let mut takes: BTreeMap<String, usize> = BTreeMap::new();
    for id in ids {
        let id = id.into_string().unwrap();
        *takes.entry(id.split('-').next().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(takes.values().sum::<usize>(), COUNT);
    assert!(takes.values().all(|count| *count <= 8), "{takes:?}");
    let report = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.dead), (1, COUNT as u64), "{report}");
}
