//! Deadlines on the server's clock: an outage is nobody's crash, and a clock that steps back strands nobody.

use std::time::{Duration, Instant};

use valkey_testkit::TestServer;

use crate::hand::{Answer, Hand, LEASE_MS, Settling, push, server_ms};
use crate::support::books::Books;
use crate::support::{Bed, settings, until};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn a_deadline_from_before_the_clock_stepped_back_is_pulled_back() {
    let bed = Bed::new("stepped").await;
    let (dead, living) = (Hand::join(&bed).await, Hand::join(&bed).await);
    push(&bed, bed.keys.public(), ["a"]).await;
    let (books, taken) = (Books::of(["a"]), dead.take(1, 64).await);
    books.handed_all(taken.raws());
    assert_eq!(taken.items, ["a"]);
    dead.set_deadline(server_ms(&bed).await + HOUR_MS).await;
    let renewed = living.deadline_ms().await;
    assert_eq!(dead.reap(256).await, ("alive".to_owned(), 0, 0, 0));
    let pulled = dead.deadline_ms().await.unwrap();
    assert!((1..=LEASE_MS.cast_signed()).contains(&(pulled - server_ms(&bed).await)), "one lease from now");
    assert_eq!(living.deadline_ms().await, renewed, "an honest deadline stays");
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn consumers_notice_that_the_clock_stepped_back() {
    let bed = Bed::new("stepped-live").await;
    // Three seconds is the longest lease, by which deadlines are measured.
    let receiver = bed.receiver(settings().lease(Duration::from_millis(600))).await;
    // With honest deadlines, and alive: nobody is ever reaped for their sake.
    let others = [bed.receiver(settings()).await, bed.receiver(settings()).await];
    for other in &others {
        other.handle().pause();
    }
    let dead = Hand::new(&bed);
    dead.give("1-1", r#"0|0|n|{"id":"x","payload":1}"#).await;
    let books = Books::of([r#"{"id":"x","payload":1}"#]);
    dead.set_deadline(server_ms(&bed).await + HOUR_MS).await;
    let delivery = books.next(&receiver).await;
    assert_eq!(delivery.crashes(), 1);
    books.ack(delivery).await;
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn a_restart_of_the_server_gives_everybody_a_lease() {
    let server = Box::leak(Box::new(TestServer::builder().append_only(true).start().await.unwrap()));
    let bed = Bed::on(server, "restart").await;
    let (first, second) = (Hand::join(&bed).await, Hand::join(&bed).await);
    push(&bed, bed.keys.public(), ["a", "b"]).await;
    let books = Books::of(["a", "b"]);
    for (hand, message) in [(&first, "a"), (&second, "b")] {
        let taken = hand.take(1, 1).await;
        books.handed_all(taken.raws());
        assert_eq!(taken.items, [message]);
    }

    // By the reap of whoever comes back first.
    first.set_deadline(1).await;
    second.set_deadline(2).await;
    restart(&bed).await;
    assert_eq!(first.reap(256).await, ("spared".to_owned(), 0, 0, 0));
    for hand in [&first, &second] {
        let left = hand.deadline_ms().await.unwrap() - server_ms(&bed).await;
        assert!((1..=LEASE_MS.cast_signed()).contains(&left), "{left}");
    }
    let settling = Settling { acks: &["1-1"], ..Settling::default() };
    let Answer::Ok(taken) = first.settle(2, 64, &settling).await else { panic!() };
    assert_eq!(taken.acked, 1);
    books.finished(&"a".into());

    // By the join of a new one.
    second.set_deadline(1).await;
    restart(&bed).await;
    let third = Hand::join(&bed).await;
    assert_eq!(second.reap(256).await.0, "alive");
    assert_eq!(third.take(1, 64).await.items, [""; 0]);
    // But one lease only.
    second.set_deadline(1).await;
    assert_eq!(second.reap(256).await, ("reaped".to_owned(), 1, 0, 0));
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

async fn restart(bed: &Bed) {
    bed.server.kill().await.unwrap();
    bed.server.restart().await.unwrap();
    until("the server", async || bed.connection.ping().await.ok()).await;
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_does_not_cost_the_lease() {
    let bed = Bed::new("blocked").await;
    let books = Books::of(bed.push_numbers(1).await);
    let lease = Duration::from_millis(600);
    let receiver = bed.receiver(settings().lease(lease)).await;
    let rival = bed.receiver(settings().lease(lease)).await;
    let delivery = tokio::select! {
        delivery = receiver.recv() => delivery.unwrap(),
        delivery = rival.recv() => delivery.unwrap(),
    };
    books.handed(delivery.raw());
    let before = bed.consumers().await.len();
    // This test has one thread, and it does nothing else.
    let started = Instant::now();
    std::thread::sleep(lease * 3);
    assert!(started.elapsed() >= lease * 3);
    books.ack(delivery).await;
    assert_eq!(bed.consumers().await.len(), before);
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    for receiver in [receiver, rival] {
        assert!(receiver.drain().await.unwrap().is_clean());
    }
}
