//! What a receiver tells about itself: the metrics with their names and labels, and the span around each handler.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use valkey_connection::Command;
use valkey_envelope::Envelope;
use valkey_receiver::{Message, Outcome, telemetry};

use support::{Bed, settings, soon};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn with(&self, part: &str) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let line = text.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no line with `{part}` in:\n{text}")).to_owned()
    }
}

/// `name{label=value,..}` without the queue, and its count: of a counter, or of a histogram's values.
fn counts(snapshotter: &Snapshotter, queue: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        if !key.labels().any(|label| label.key() == "queue" && label.value() == queue) {
            continue;
        }
        let labels: Vec<String> = key
            .labels()
            .filter(|label| label.key() != "queue")
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(value) => panic!("{key:?} is a gauge of {value}"),
        };
        if count > 0 {
            counts.insert(format!("{}{{{}}}", key.name(), labels.join(",")), count);
        }
    }
    counts
}

#[tokio::test]
async fn metrics_and_spans_say_what_happened() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    telemetry::describe();
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();

    let bed = Bed::new("telemetry").await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Envelope::new(&1).unwrap().with_id("m-1").with_kind("user.registration");
    bed.push(&traced.with_header("traceparent", parent)).await;
    bed.push(&Envelope::new(&2).unwrap()).await;
    bed.push(&Envelope::new(&3).unwrap()).await;
    bed.push_raw("garbage").await;
    // Somebody has died twice with this one, and now again.
    let dead = "d".repeat(32);
    let held = Command::new("HSET").key(bed.keys.inflight(&dead)).arg("1-1").arg("1|2|0|n|4");
    bed.ask(held).await;
    bed.ask(Command::new("ZADD").key(bed.keys.consumers()).arg("1").arg(dead)).await;

    let receiver = bed.receiver(settings()).await;
    let stop = receiver.handle();
    let handler = |message: Message| async move {
        match (message.payload_as::<u32>().unwrap(), message.attempt()) {
            (1, _) => {
                tracing::info!("at work");
                Outcome::Ack
            }
            (2, 1) => Outcome::nack("not yet"),
            (2, _) => Outcome::Ack,
            _ => Outcome::dead_letter_as("of-my-own".into(), "no"),
        }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    bed.until_dead(3).await;
    bed.until_empty().await;
    stop.drain();
    let _ = soon("the end", service).await.unwrap().unwrap();

    let line = lines.with("at work");
    let queue = bed.queue.as_str();
    let span = format!(
        "process{{queue=\"{queue}\" id=\"m-1\" attempt=1 kind=\"user.registration\" traceparent=\"{parent}\"}}"
    );
    assert!(line.contains(&span), "{span}\nis not in\n{line}");

    let expected = [
        ("valkit_dead_letter_total{reason=crashed}", 1),
        ("valkit_dead_letter_total{reason=other}", 1),
        ("valkit_dead_letter_total{reason=undecodable}", 1),
        ("valkit_decode_failures_total{reason=not_json}", 1),
        ("valkit_delivered_total{}", 4),
        ("valkit_handler_duration_seconds{outcome=ack}", 2),
        ("valkit_handler_duration_seconds{outcome=dead_letter}", 1),
        ("valkit_handler_duration_seconds{outcome=nack}", 1),
        ("valkit_lease_expired_total{}", 1),
        ("valkit_payload_bytes{}", 4),
        ("valkit_redelivered_total{}", 1),
        ("valkit_settled_total{outcome=acked}", 2),
        ("valkit_settled_total{outcome=dead}", 2),
        ("valkit_settled_total{outcome=retried}", 1),
        ("valkit_time_in_queue_seconds{}", 3),
    ];
    let expected: BTreeMap<String, u64> =
        expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(counts(&snapshotter, queue), expected);
}
