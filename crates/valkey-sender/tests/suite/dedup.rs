use std::time::Duration;

use jiff::Timestamp;
use valkey_envelope::Lane;
use valkey_sender::{Receipt, SendError};
use valkey_testkit::{Cut, CutOutcome, FaultProxy};

use crate::rig::{Rig, is_sent, message};

const HOUR: Duration = Duration::from_hours(1);

fn is_duplicate(result: &Result<Receipt, SendError>) -> bool {
    matches!(result, Ok(Receipt::Duplicate { .. }))
}

#[tokio::test]
async fn the_same_id_is_queued_once_in_a_batch_across_sends_and_across_senders() {
    let rig = Rig::new().await;
    let sender = rig.builder().dedup(HOUR).build();
    let results =
        sender.send_all([message(1).with_id("a"), message(2).with_id("a"), message(3).with_id("b")]).await;
    assert!(is_sent(&results[0]) && is_duplicate(&results[1]) && is_sent(&results[2]));
    assert!(is_duplicate(&sender.send(message(4).with_id("b")).await));
    let other = rig.builder().dedup(HOUR).build();
    assert!(is_duplicate(&other.send(message(5).with_id("a")).await));
    assert_eq!(rig.payloads(rig.keys.public()).await, ["1", "3"]);
}

#[tokio::test]
async fn delayed_messages_and_other_lanes_are_remembered_too() {
    let rig = Rig::new().await;
    let sender = rig.builder().dedup(HOUR).build();
    let later = Timestamp::now() + HOUR;
    assert!(matches!(
        sender.send(message(1).with_id("a").with_not_before(later)).await,
        Ok(Receipt::Scheduled { .. })
    ));
    assert!(is_duplicate(&sender.send(message(2).with_id("a")).await));
    assert!(is_sent(&sender.send(message(3).with_id("b").with_priority(Lane::Low)).await));
    assert!(is_duplicate(&sender.send(message(4).with_id("b").with_priority(Lane::High)).await));
    assert_eq!(rig.public_length().await, 0);
}

#[tokio::test]
async fn ids_are_forgotten_after_the_window_and_the_memory_expires_by_itself() {
    let rig = Rig::new().await;
    let window = Duration::from_secs(1);
    let sender = rig.builder().dedup(window).build();
    let start = std::time::Instant::now();
    assert!(is_sent(&sender.send(message(1).with_id("a")).await));
    assert!(is_duplicate(&sender.send(message(2).with_id("a")).await));
    let memory = rig.existing_keys().await.into_iter().find(|key| key.contains(":dedup:")).unwrap();
    let left: u64 = rig.cli(&["PTTL", &memory]).await.parse().unwrap();
    assert!(left <= 2_000, "{left}");
    tokio::time::timeout(Duration::from_secs(10), async {
        while !is_sent(&sender.send(message(3).with_id("a")).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the id is forgotten after two windows");
    assert!(start.elapsed() >= window, "the id was forgotten after {:?}", start.elapsed());
}

/// Pushes one message while the connection is cut, and tells how often it arrived.
async fn send_cut(
    rig: &Rig,
    proxy: &FaultProxy,
    sender: &valkey_sender::Sender,
    id: &str,
    cut: Cut,
) -> (Result<Receipt, SendError>, usize, CutOutcome) {
    let armed = proxy.arm(cut.of_command(id.to_owned()));
    let result = sender.send(message(1).with_id(id)).await;
    let outcome = armed.outcome().unwrap_or(CutOutcome::Missed);
    armed.disarm();
    let arrived = rig.payloads(rig.keys.public()).await.len();
    rig.cli(&["DEL", rig.keys.public()]).await;
    (result, arrived, outcome)
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_nothing_is_repeated_without_dedup() {
    let (rig, proxy) = Rig::behind_proxy().await;
    let sender = rig.sender();
    let (result, arrived, _) = send_cut(&rig, &proxy, &sender, "lost-reply", Cut::reply_before(0)).await;
    match result {
        Err(error @ SendError::Unknown { deduplicated: false, .. }) => {
            assert!(error.outcome_unknown());
            assert!(error.to_string().contains("may double it"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(arrived, 1);
}

#[tokio::test]
async fn a_lost_reply_is_sent_again_with_dedup_and_arrives_once() {
    let (rig, proxy) = Rig::behind_proxy().await;
    let sender = rig.builder().dedup(HOUR).retries(3, Duration::from_millis(20)).build();
    // The script is known to the server, so that the cut hits a call that does the work.
    assert!(is_sent(&sender.send(message(0)).await));
    rig.cli(&["DEL", rig.keys.public()]).await;
    let (result, arrived, _) = send_cut(&rig, &proxy, &sender, "lost-reply", Cut::reply_before(0)).await;
    assert!(is_duplicate(&result), "{result:?}");
    assert_eq!(arrived, 1);
}

/// A prime, so that the places wander over the fields of the protocol.
const STRIDE: usize = 23;

/// Cuts one send at many bytes of its request and of its reply, and checks the books each time.
async fn cut_everywhere(rig: &Rig, proxy: &FaultProxy, sender: &valkey_sender::Sender, deduplicated: bool) {
    assert!(is_sent(&sender.send(message(0)).await));
    rig.cli(&["DEL", rig.keys.public()]).await;
    for (side, new) in [("request", Cut::request_after as fn(u64) -> Cut), ("reply", Cut::reply_before)] {
        let step = if side == "request" { STRIDE } else { 1 };
        for (cuts, at) in (0..).step_by(step).enumerate() {
            let id = format!("cut-{side}-{at:04}");
            let (result, arrived, outcome) = send_cut(rig, proxy, sender, &id, new(at)).await;
            let place = format!("{side} cut at byte {at}: {result:?}, arrived {arrived} times");
            match &result {
                Ok(Receipt::Sent { .. } | Receipt::Duplicate { .. }) => assert_eq!(arrived, 1, "{place}"),
                Err(error) if error.outcome_unknown() => {
                    assert!(!deduplicated, "a retry settles it: {place}");
                    assert!(arrived <= 1, "{place}");
                }
                _ => panic!("{place}"),
            }
            if outcome == CutOutcome::Missed {
                assert!(cuts > 0, "no place to cut was found: {place}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_plain_send_cut_anywhere_arrives_at_most_once_and_is_never_taken_for_sent() {
    let (rig, proxy) = Rig::behind_proxy().await;
    let sender = rig.builder().retries(5, Duration::from_millis(5)).build();
    cut_everywhere(&rig, &proxy, &sender, false).await;
}

#[tokio::test]
async fn a_deduplicated_send_cut_anywhere_arrives_exactly_once() {
    let (rig, proxy) = Rig::behind_proxy().await;
    let sender = rig.builder().dedup(HOUR).retries(5, Duration::from_millis(5)).build();
    cut_everywhere(&rig, &proxy, &sender, true).await;
}
