use std::num::NonZeroU32;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{Service, ServiceBuilder, ServiceExt};
use valkey_sender::limit::SharedRateLimitLayer;
use valkey_sender::{OnFull, Receipt};

use crate::rig::{Rig, is_sent, message};

#[tokio::test]
async fn it_is_a_service_that_takes_layers() {
    let rig = Rig::new().await;
    let mut service = ServiceBuilder::new()
        .timeout(Duration::from_secs(10))
        .layer(SharedRateLimitLayer::new(1_000, Duration::from_secs(1)))
        .concurrency_limit(4)
        .service(rig.sender());
    let receipt = service.ready().await.unwrap().call(message(1)).await.unwrap();
    assert!(matches!(receipt, Receipt::Sent { .. }));
    assert_eq!(rig.public_length().await, 1);
}

#[tokio::test]
async fn the_configured_rate_is_one_for_all_clones_and_for_batches() {
    let rig = Rig::new().await;
    let five = NonZeroU32::new(5).unwrap();
    let sender = rig.builder().rate_limit(five, five).build();
    let start = std::time::Instant::now();
    let sends: Vec<_> = (0..6)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message(n)).await })
        })
        .collect();
    for send in sends {
        assert!(is_sent(&send.await.unwrap()));
    }
    assert!(sender.send_all((6..11).map(message)).await.iter().all(is_sent));
    // 11 messages at 5 a second: the first five at once, the last one in the third second.
    assert!(start.elapsed() >= Duration::from_millis(1_950), "{:?}", start.elapsed());
    assert_eq!(rig.public_length().await, 11);
}

#[tokio::test]
async fn readiness_is_a_place_in_flight() {
    let rig = Rig::new().await;
    let mut first = rig.builder().max_in_flight(NonZeroU32::MIN).build();
    let mut second = first.clone();
    first.ready().await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(100), second.ready()).await;
    assert!(waiting.is_err(), "the only place is taken");
    assert!(is_sent(&first.call(message(1)).await));
    assert!(is_sent(&second.ready().await.unwrap().call(message(2)).await));
    assert!(second.send_all([message(3)]).await.iter().all(is_sent));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // Of this thread only, on which all of this test runs.
    let guard = metrics::set_default_local_recorder(&recorder);
    let rig = Rig::new().await;
    let sender = rig
        .builder()
        .max_length(2)
        .dedup(Duration::from_hours(1))
        .max_message_bytes(400)
        .on_full(OnFull::Shed)
        .build();
    let results = sender
        .send_all([
            message("12345678").with_id("a"),
            message(2).with_id("a"),
            message("x".repeat(400)),
            message(4),
            message(5),
        ])
        .await;
    assert_eq!(results.iter().filter(|result| is_sent(result)).count(), 2);
    drop(guard);
    let mut found: Vec<(String, String, DebugValue)> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let (_, key) = key.into_parts();
            let label =
                |name| key.labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
            let reason = label("reason").unwrap_or_default();
            if key.name().starts_with("valkit_enqueue") || key.name() == "valkit_payload_bytes" {
                assert_eq!(label("queue").as_deref(), Some(rig.queue.as_str()));
            }
            (key.name().to_owned(), reason, value)
        })
        .filter(|(name, ..)| name.starts_with("valkit_enqueue"))
        .collect();
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let rejected = |reason: &str| {
        ("valkit_enqueue_rejected_total".to_owned(), reason.to_owned(), DebugValue::Counter(1))
    };
    assert_eq!(
        found,
        [
            rejected("duplicate"),
            rejected("shed"),
            rejected("too_large"),
            ("valkit_enqueued_total".to_owned(), String::new(), DebugValue::Counter(2)),
        ]
    );
}
