//! What bounds a take: the operator's wishes, the size of a reply, and lists that foreign producers let expire.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use valkey_connection::Command;

use crate::hand::{Answer, Hand, Settling, push};
use crate::support::books::Books;
use crate::support::{Bed, settings, soon, until};

async fn control(bed: &Bed, fields: &[(&str, &str)]) {
    let pairs = fields.iter().flat_map(|(name, value)| [*name, *value]);
    bed.ask(Command::new("HSET").key(bed.keys.control()).args(pairs)).await;
}

#[tokio::test]
async fn a_paused_queue_hands_out_nothing_and_settles_all_the_same() {
    let bed = Bed::new("paused").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.public(), ["a", "b"]).await;
    let (books, taken) = (Books::of(["a", "b"]), hand.take(1, 1).await);
    books.handed_all(taken.raws());
    assert_eq!(taken.items, ["a"]);
    control(&bed, &[("paused", "1")]).await;
    let Answer::Ok(taken) = hand.settle(2, 64, &Settling { acks: &["1-1"], ..Settling::default() }).await
    else {
        panic!()
    };
    assert_eq!((taken.acked, taken.items.len(), taken.hold.as_str()), (1, 0, "paused"));
    books.finished(&"a".into());
    control(&bed, &[("paused", "0")]).await;
    let taken = hand.take(3, 64).await;
    books.handed_all(taken.raws());
    assert_eq!(taken.items, ["b"]);
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn a_paused_queue_is_left_alone_and_served_again_when_resumed() {
    let bed = Bed::new("paused-live").await;
    control(&bed, &[("paused", "1")]).await;
    let receiver = bed.receiver(settings()).await;
    bed.push_numbers(3).await;
    // A park would move the first one.
    let early = tokio::time::timeout(Duration::from_millis(1200), receiver.recv()).await;
    assert!(early.is_err());
    assert_eq!(bed.waiting().await.len(), 3, "not even moved");
    bed.ask(Command::new("HDEL").key(bed.keys.control()).arg("paused")).await;
    for number in 1..=3_u32 {
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        assert_eq!(delivery.envelope().payload_as::<u32>().unwrap(), number);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_rate_is_kept_over_all_consumers() {
    let bed = Bed::new("rate").await;
    control(&bed, &[("rate", "100"), ("burst", "10")]).await;
    let books = Books::of(bed.push_numbers(200).await);
    let started = Instant::now();
    let mut receivers = Vec::new();
    for _ in 0..3 {
        receivers.push(bed.receiver(settings()).await);
    }
    let mut got = 0_u32;
    while started.elapsed() < Duration::from_millis(1200) {
        let next = futures::future::select_all(receivers.iter().map(|receiver| Box::pin(receiver.recv())));
        if let Ok((delivery, ..)) = tokio::time::timeout(Duration::from_millis(50), next).await {
            got += 1;
            let delivery = delivery.unwrap();
            books.handed(delivery.raw());
            books.ack(delivery).await;
        }
    }
    let most = 10 + (started.elapsed().as_millis() / 10) as u32 + 1;
    assert!((11..=most).contains(&got), "{got} of at most {most}");
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn a_rate_tells_how_long_to_wait_and_saves_no_more_than_its_burst() {
    let bed = Bed::new("rate-hand").await;
    let (one, other) = (Hand::join(&bed).await, Hand::join(&bed).await);
    // One in ten seconds: the clock plays no part in this test.
    control(&bed, &[("rate", "0.1"), ("burst", "3"), ("tat", "5")]).await;
    push(&bed, bed.keys.public(), ["a", "b", "c", "d"]).await;
    assert_eq!(one.take(1, 1).await.hold, "");
    let rest = other.take(1, 64).await;
    assert_eq!((rest.items.len(), rest.hold.as_str()), (2, "rate"));
    assert_eq!(one.take(2, 64).await.items.len(), 0);
}

#[tokio::test]
async fn the_bound_on_messages_in_flight_is_never_exceeded() {
    const CAP: i64 = 5;
    let bed = Bed::new("cap").await;
    control(&bed, &[("max_in_flight", "5")]).await;
    let books = Books::of(bed.push_numbers(60).await);
    let mut receivers = Vec::new();
    for _ in 0..3 {
        receivers.push(bed.receiver(settings()).await);
    }
    let (mut seen, mut most) = (BTreeSet::new(), 0);
    while seen.len() < 60 {
        let next = futures::future::select_all(receivers.iter().map(|receiver| Box::pin(receiver.recv())));
        let (delivery, ..) = soon("a message", next).await;
        let delivery = delivery.unwrap();
        let held = bed.held_anywhere().await - bed.ready().await;
        assert!(held <= CAP, "{held} in flight");
        most = most.max(held);
        seen.insert(delivery.envelope().payload_as::<u32>().unwrap());
        books.handed(delivery.raw());
        books.ack(delivery).await;
    }
    assert!(most > 1, "more than one at a time");
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn the_dead_do_not_use_up_the_bound_for_ever() {
    let bed = Bed::new("cap-dead").await;
    control(&bed, &[("max_in_flight", "2")]).await;
    let (dead, other) = (Hand::join(&bed).await, Hand::join(&bed).await);
    push(&bed, bed.keys.public(), ["a", "b", "c"]).await;
    assert_eq!(dead.take(1, 64).await.items, ["a", "b"]);
    let full = other.take(1, 64).await;
    assert_eq!((full.items.len(), full.hold.as_str()), (0, "full"));
    dead.set_deadline(1).await;
    assert_eq!(dead.reap(1).await.3, 1);
    assert_eq!(other.take(2, 64).await.hold, "full", "still in the hands of the dead, half of it");
    assert_eq!(dead.reap(1).await.3, 0);
    assert_eq!(other.take(3, 64).await.items, ["1|0|n|a", "c"]);
}

#[tokio::test]
async fn a_reply_of_large_messages_stays_small() {
    let bed = Bed::new("large").await;
    let hand = Hand::join(&bed).await;
    let large = Bytes::from(vec![b'x'; 100_000]);
    push(&bed, bed.keys.public(), vec![large; 40]).await;
    // Slices of eight until a mebibyte is there.
    assert_eq!(hand.take(1, 64).await.items.len(), 16);
    let huge = Bytes::from(vec![b'y'; 5 << 20]);
    push(&bed, bed.keys.redo(), vec![[&b"0|1|n|"[..], &huge].concat(); 20]).await;
    let taken = hand.take(2, 64).await;
    assert_eq!((taken.items.len(), taken.left), (8, true));
}

#[tokio::test]
async fn a_list_that_was_told_to_expire_does_not() {
    let bed = Bed::new("expire").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.public(), ["a", "b"]).await;
    let books = Books::of(["a", "b"]);
    bed.ask(Command::new("EXPIRE").key(bed.keys.public()).arg("1")).await;
    hand.take(1, 0).await;
    assert_eq!(bed.ask(Command::new("TTL").key(bed.keys.public())).await.as_int().unwrap(), -1);

    // A consumer whose hands are full takes nothing, and still keeps the rest alive.
    let receiver = bed.receiver(settings().prefetch(1.try_into().unwrap())).await;
    books.sent(bed.push_numbers(20).await);
    bed.ask(Command::new("EXPIRE").key(bed.keys.public()).arg("2")).await;
    until("a list without an end", async || {
        (bed.ask(Command::new("TTL").key(bed.keys.public())).await.as_int().unwrap() == -1).then_some(())
    })
    .await;
    let _ = receiver.drain().await.unwrap();
    assert_eq!(books.publish(&bed).await.lost, 0);
}
