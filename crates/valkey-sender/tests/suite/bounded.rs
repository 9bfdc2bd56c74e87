use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use valkey_connection::Command;
use valkey_envelope::Lane;
use valkey_sender::{OnFull, Receipt, SendError};

use crate::rig::{Rig, is_sent, message};

fn is_full(result: &Result<Receipt, SendError>, expected: u64) -> bool {
    matches!(result, Err(SendError::QueueFull { limit, .. }) if *limit == expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_bounded_senders_never_exceed_the_limit() {
    const LIMIT: i64 = 20;
    let rig = Rig::new().await;
    rig.cli(&["HSET", rig.keys.control(), "max_length", &LIMIT.to_string()]).await;
    let done = Arc::new(AtomicBool::new(false));
    // Somebody looks and takes all the time.
    let consumer = {
        let (connection, public, done) = (rig.connection.clone(), rig.keys.public().to_owned(), done.clone());
        tokio::spawn(async move {
            let (mut highest, mut taken) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let length =
                    connection.execute(Command::new("LLEN").key(&public)).await.unwrap().as_int().unwrap();
                highest = highest.max(length);
                if !connection.execute(Command::new("RPOP").key(&public)).await.unwrap().is_nil() {
                    taken += 1;
                }
            }
            (highest, taken)
        })
    };
    let senders: Vec<_> = (0..8)
        .map(|_| {
            // Each a sender of its own, as in eight processes.
            let sender = rig.builder().bounded().build();
            tokio::spawn(async move {
                let mut sent = 0;
                for n in 0..60 {
                    let results = sender.send_all([message(n), message(n), message(n)]).await;
                    for result in results {
                        match result {
                            Ok(Receipt::Sent { .. }) => sent += 1,
                            other => assert!(is_full(&other, LIMIT as u64), "{other:?}"),
                        }
                    }
                }
                sent
            })
        })
        .collect();
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let (highest, taken) = consumer.await.unwrap();
    assert!(highest <= LIMIT, "{highest} messages waited");
    assert!(sent > 20, "the queue was full at times, and only at times");
    assert_eq!(taken + rig.public_length().await, sent, "what was refused is not there, what was sent is");
}

#[tokio::test]
async fn what_is_accepted_is_a_prefix_also_over_many_calls() {
    let rig = Rig::new().await;
    let sender = rig.builder().max_length(300).build();
    let results = sender.send_all((0..600).map(message)).await;
    assert!(results[..300].iter().all(is_sent));
    assert!(results[300..].iter().all(|result| is_full(result, 300)));
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(rig.payloads(rig.keys.public()).await, expected);
}

#[tokio::test]
async fn everything_that_waits_counts_and_the_lower_limit_wins() {
    let rig = Rig::new().await;
    rig.cli(&["HSET", rig.keys.control(), "max_length", "5"]).await;
    rig.cli(&["LPUSH", rig.keys.woken(), "x"]).await;
    rig.cli(&["LPUSH", rig.keys.redo(), "0|1|n|x"]).await;
    let sender = rig.builder().max_length(9).build();
    assert!(is_sent(&sender.send(message(1).with_priority(Lane::Low)).await));
    let later = Timestamp::now() + Duration::from_hours(1);
    assert!(sender.send(message(2).with_not_before(later)).await.is_ok());
    assert!(is_sent(&sender.send(message(3)).await));
    assert!(is_full(&sender.send(message(4)).await, 5));
    let lower = rig.builder().max_length(2).build();
    assert!(is_full(&lower.send(message(5)).await, 2));
}

#[tokio::test]
async fn a_full_queue_still_recognises_what_it_has() {
    let rig = Rig::new().await;
    let sender = rig.builder().max_length(1).dedup(Duration::from_hours(1)).build();
    let results = sender.send_all(["a", "b", "a", "b"].map(|id| message(id).with_id(id))).await;
    assert!(is_sent(&results[0]) && is_full(&results[1], 1));
    assert!(matches!(results[2], Ok(Receipt::Duplicate { .. })));
    assert!(is_full(&results[3], 1), "the first copy was refused, so the second is no duplicate");
    rig.cli(&["DEL", rig.keys.public()]).await;
    assert!(is_sent(&sender.send(message("b").with_id("b")).await), "a refused id is not remembered");
}

#[tokio::test]
async fn behind_a_refusal_duplicates_are_still_told_from_what_has_no_room() {
    let rig = Rig::new().await;
    let sender = rig.builder().max_length(300).dedup(Duration::from_hours(1)).build();
    let named = |n: usize| message(n).with_id(format!("id-{n}"));
    assert!(sender.send_all((0..300).map(named)).await.iter().all(is_sent));
    // The calls carry 256 messages: new and known ones meet in one, and each has one of its own.
    let results = sender.send_all((300..650).chain(0..300).map(named)).await;
    assert!(results[..350].iter().all(|result| is_full(result, 300)));
    assert!(results[350..].iter().all(|result| matches!(result, Ok(Receipt::Duplicate { .. }))));
    assert_eq!(rig.public_length().await, 300);
}

#[tokio::test]
async fn block_waits_for_room() {
    let rig = Rig::new().await;
    let sender = rig.builder().max_length(1).on_full(OnFull::Block { timeout: None }).build();
    assert!(is_sent(&sender.send(message(1)).await));
    let waiting = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send_all([message(2), message(3)]).await })
    };
    for n in 1..=3 {
        let popped = rig.cli(&["BRPOP", rig.keys.public(), "10"]).await;
        assert!(popped.contains(&format!(r#""payload":{n}"#)), "{popped}");
    }
    assert!(waiting.await.unwrap().iter().all(is_sent));
}

#[tokio::test]
async fn block_gives_up_at_its_deadline() {
    let rig = Rig::new().await;
    let timeout = Duration::from_millis(200);
    let sender = rig.builder().max_length(0).on_full(OnFull::Block { timeout: Some(timeout) }).build();
    let start = std::time::Instant::now();
    let result = tokio::time::timeout(Duration::from_secs(10), sender.send(message(1))).await.unwrap();
    assert!(is_full(&result, 0), "{result:?}");
    assert!(start.elapsed() >= timeout, "it asked until the deadline");
}

#[tokio::test]
async fn shed_drops_and_says_so() {
    let rig = Rig::new().await;
    let sender = rig.builder().max_length(1).on_full(OnFull::Shed).build();
    let (kept, shed) = (message(1), message(2));
    let id = shed.id().clone();
    let results = sender.send_all([kept, shed]).await;
    assert!(is_sent(&results[0]));
    assert_eq!(results[1].as_ref().unwrap(), &Receipt::Shed { id });
    assert!(!results[1].as_ref().unwrap().is_accepted());
    assert_eq!(rig.public_length().await, 1);
}

#[tokio::test]
async fn a_plain_sender_notices_a_new_limit_within_its_promise_and_its_end_as_well() {
    let rig = Rig::new().await;
    let sender = rig.sender();
    assert!(is_sent(&sender.send(message(1)).await));
    rig.cli(&["HSET", rig.keys.control(), "max_length", "1"]).await;
    let start = std::time::Instant::now();
    while is_sent(&sender.send(message(2)).await) {
        assert!(start.elapsed() < Duration::from_secs(7), "the control hash is read every 5 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(is_full(&sender.send(message(3)).await, 1));
    rig.cli(&["DEL", rig.keys.control()]).await;
    assert!(is_sent(&sender.send(message(4)).await));
}

#[tokio::test]
async fn a_limit_that_is_no_number_is_refused_by_name() {
    let rig = Rig::new().await;
    rig.cli(&["HSET", rig.keys.control(), "max_length", "many"]).await;
    let error = rig.builder().bounded().build().send(message(1)).await.unwrap_err();
    assert!(error.to_string().contains("max_length"), "{error}");
    assert_eq!(rig.public_length().await, 0);
}
