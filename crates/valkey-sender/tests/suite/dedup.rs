use std::time::Duration;

use jiff::Timestamp;
use valkey_envelope::{Lane, MessageId};
use valkey_sender::{Receipt, SendError, Sender, SenderBuilder};
use valkey_testkit::{Cut, CutOutcome, FaultProxy};

use crate::books::{Balance, Books};
use crate::rig::{Rig, is_sent, message};

const HOUR: Duration = Duration::from_hours(1);

fn is_duplicate(result: &Result<Receipt, SendError>) -> bool {
    matches!(result, Ok(Receipt::Duplicate { .. }))
}

#[tokio::test]
async fn the_same_id_is_queued_once_in_a_batch_across_sends_and_across_senders() {
    let rig = Rig::new().await;
    let sender = rig.builder().dedup(HOUR).build();
    let mut results =
        sender.send_all([message(1).with_id("a"), message(2).with_id("a"), message(3).with_id("b")]).await;
    results.push(sender.send(message(4).with_id("b")).await);
    let other = rig.builder().dedup(HOUR).build();
    results.push(other.send(message(5).with_id("a")).await);
    let mut books = Books::default();
    for (id, result) in ["a", "a", "b", "b", "a"].into_iter().zip(&results) {
        books.note(id, result);
    }
    books.balance(&rig.waiting().await).assert_whole();
    assert!(is_sent(&results[0]) && is_duplicate(&results[1]) && is_sent(&results[2]));
    assert!(is_duplicate(&results[3]) && is_duplicate(&results[4]));
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
    // By payload: the id stands for two messages, one after the other.
    let mut books = Books::default();
    let first = sender.send(message(1).with_id("a")).await;
    books.note(1, &first);
    let second = sender.send(message(2).with_id("a")).await;
    books.note(1, &second);
    assert!(is_sent(&first) && is_duplicate(&second));
    let memory = rig.existing_keys().await.into_iter().find(|key| key.contains(":dedup:")).unwrap();
    let left: u64 = rig.cli(&["PTTL", &memory]).await.parse().unwrap();
    assert!(left <= 2_000, "{left}");
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let answer = sender.send(message(3).with_id("a")).await;
            books.note(if is_sent(&answer) { 3 } else { 1 }, &answer);
            if is_sent(&answer) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the id is forgotten after two windows");
    books.balance(&rig.payloads(rig.keys.public()).await).assert_whole();
    assert!(start.elapsed() >= window, "the id was forgotten after {:?}", start.elapsed());
}

/// Sends messages while the connection is cut, and tells which arrived.
async fn send_cut(
    rig: &Rig,
    proxy: &FaultProxy,
    sender: &Sender,
    ids: &[&str],
    cut: Cut,
) -> (Vec<Result<Receipt, SendError>>, Vec<String>, CutOutcome) {
    let armed = proxy.arm(cut.of_command(ids[0].to_owned()));
    let results = match ids {
        [id] => vec![sender.send(message(1).with_id(*id)).await],
        ids => sender.send_all(ids.iter().map(|id| message(1).with_id(*id))).await,
    };
    let outcome = armed.outcome().unwrap_or(CutOutcome::Missed);
    armed.disarm();
    let arrived = rig.waiting().await;
    rig.ask("DEL", &[rig.keys.public()]).await;
    (results, arrived, outcome)
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_nothing_is_repeated_without_dedup() {
    let (rig, proxy) = Rig::behind_proxy().await;
    let sender = rig.sender();
    let (results, arrived, _) = send_cut(&rig, &proxy, &sender, &["lost-reply"], Cut::reply_before(0)).await;
    match &results[0] {
        Err(error @ SendError::Unknown { deduplicated: false, .. }) => {
            assert!(error.outcome_unknown());
            assert!(error.to_string().contains("may double it"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(arrived, ["lost-reply"]);
}

#[tokio::test]
async fn a_lost_reply_is_sent_again_with_dedup_and_arrives_once() {
    let (rig, proxy) = Rig::behind_proxy().await;
    let sender = rig.builder().dedup(HOUR).retries(3, Duration::from_millis(20)).build();
    // The script is known to the server, so that the cut hits a call that does the work.
    assert!(is_sent(&sender.send(message(0)).await));
    rig.ask("DEL", &[rig.keys.public()]).await;
    let (results, arrived, _) = send_cut(&rig, &proxy, &sender, &["lost-reply"], Cut::reply_before(0)).await;
    assert!(is_duplicate(&results[0]), "{results:?}");
    assert_eq!(arrived, ["lost-reply"]);
}

/// Each waits for its own connection to come back most of the time.
const WORKERS: usize = 16;

/// Which places of a command are cut.
#[derive(Clone, Copy)]
struct Places {
    messages: usize,
    /// Every so many bytes of the request; every byte of the reply.
    step: usize,
}

/// Cuts a push at bytes of its request and of its reply, and checks the books each time.
async fn cut_everywhere(places: Places, build: fn(SenderBuilder) -> SenderBuilder, deduplicated: bool) {
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            tokio::spawn(async move {
                let (rig, proxy) = Rig::behind_proxy().await;
                let sender = build(rig.builder().retries(8, Duration::from_millis(5))).build();
                // The script is known to the server, so that the cut hits a call that does the work.
                assert!(is_sent(&sender.send(message(0)).await));
                rig.ask("DEL", &[rig.keys.public()]).await;
                let mut balance = Balance::default();
                let side: fn(u64) -> Cut = Cut::request_after;
                let at = (places, worker);
                let requests =
                    cut_one_side(&rig, &proxy, &sender, at, side, deduplicated, &mut balance).await;
                let side: fn(u64) -> Cut = Cut::reply_before;
                let at = (Places { step: 1, ..places }, worker);
                let replies = cut_one_side(&rig, &proxy, &sender, at, side, deduplicated, &mut balance).await;
                (requests, replies, balance)
            })
        })
        .collect();
    let (mut requests, mut replies, mut all) = (0, 0, Balance::default());
    for worker in workers {
        let (more_requests, more_replies, balance) = worker.await.unwrap();
        (requests, replies) = (requests + more_requests, replies + more_replies);
        all.add(balance);
    }
    all.assert_whole();
    assert!(requests > 100 / places.step && replies > 3, "cut {requests} requests and {replies} replies");
}

async fn cut_one_side(
    rig: &Rig,
    proxy: &FaultProxy,
    sender: &Sender,
    (places, worker): (Places, usize),
    cut: fn(u64) -> Cut,
    deduplicated: bool,
    sum: &mut Balance,
) -> usize {
    let (mut at, mut cuts) = (worker * places.step, 0);
    loop {
        let ids: Vec<String> = (0..places.messages).map(|_| MessageId::new().to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let (results, arrived, outcome) = send_cut(rig, proxy, sender, &ids, cut(at as u64)).await;
        let place = format!("{:?} cut: {:?}", cut(at as u64), results[0]);
        let mut books = Books::default();
        for (id, result) in ids.iter().zip(&results) {
            books.note(id, result);
            match result {
                Ok(Receipt::Sent { .. } | Receipt::Duplicate { .. }) => {}
                Err(error) if error.outcome_unknown() => {
                    assert!(!deduplicated, "a retry settles it: {place}");
                }
                other => panic!("{other:?}: {place}"),
            }
        }
        let mut balance = books.balance(&arrived);
        for name in balance.lost.iter_mut().chain(&mut balance.twice) {
            *name = format!("{name}, {place}");
        }
        sum.add(balance);
        match outcome {
            CutOutcome::Cut { .. } => {
                cuts += 1;
                at += WORKERS * places.step;
            }
            // All went through uncut: the command has no such byte.
            _ if results.iter().all(Result::is_ok) => return cuts,
            // The cut before this one was still felt. Once more, then.
            _ => {}
        }
    }
}

const EACH_BYTE: Places = Places { messages: 1, step: 1 };
/// A prime, so that the places wander over the fields of the messages.
const SAMPLED_BATCH: Places = Places { messages: 64, step: 331 };

#[tokio::test]
async fn a_plain_send_cut_anywhere_arrives_at_most_once_and_is_never_taken_for_sent() {
    cut_everywhere(EACH_BYTE, |builder| builder, false).await;
}

#[tokio::test]
async fn a_deduplicated_send_cut_anywhere_arrives_exactly_once() {
    cut_everywhere(EACH_BYTE, |builder| builder.dedup(HOUR), true).await;
}

#[tokio::test]
async fn a_plain_batch_cut_anywhere_arrives_at_most_once_and_is_never_taken_for_sent() {
    cut_everywhere(SAMPLED_BATCH, |builder| builder, false).await;
}

#[tokio::test]
async fn a_deduplicated_batch_cut_anywhere_arrives_exactly_once() {
    cut_everywhere(SAMPLED_BATCH, |builder| builder.dedup(HOUR), true).await;
}
