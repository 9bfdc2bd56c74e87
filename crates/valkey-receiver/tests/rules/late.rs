//! Each take carries the consumer's own increasing number; settling is gated on the removal of the own field.

use std::time::Duration;

use futures::future::join_all;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::Envelope;
use valkey_receiver::{Delivery, Receiver, SettleError};
use valkey_testkit::{Cut, CutOutcome, FaultProxy};

use crate::hand::{Answer, Hand, Settling, TAKE, dump, push};
use crate::support::books::Books;
use crate::support::{Bed, settings, soon};

#[tokio::test]
async fn a_take_that_comes_late_neither_claims_nor_settles() {
    let bed = Bed::new("late").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.public(), ["a", "b", "c"]).await;
    assert_eq!(hand.take(1, 1).await.items, ["a"]);
    assert_eq!(hand.take(3, 0).await.items, [""; 0], "it voids the second take, which is still on its way");
    let before = dump(&bed).await;
    let everything =
        Settling { acks: &["1-1"], retries: &[("1-1", 0, true)], deads: &[("1-1", "{}")], backs: &["1-1"] };
    for number in [1, 2, 3] {
        assert_eq!(hand.settle(number, 64, &everything).await, Answer::Stale(3));
    }
    assert_eq!(dump(&bed).await, before, "not even the lease was renewed");
    assert_eq!(hand.take(4, 64).await.items, ["b", "c"]);
}

#[tokio::test]
async fn a_settle_counts_once_and_only_for_its_owner() {
    let bed = Bed::new("gated").await;
    let (owner, other) = (Hand::join(&bed).await, Hand::join(&bed).await);
    push(&bed, bed.keys.public(), ["a", "b"]).await;
    assert_eq!(owner.take(1, 64).await.items, ["a", "b"]);
    let settling =
        Settling { acks: &["1-1"], retries: &[("1-2", 0, true)], deads: &[("1-2", "{}")], backs: &["1-2"] };
    let Answer::Ok(taken) = other.settle(1, 0, &settling).await else { panic!() };
    assert_eq!((taken.acked, taken.others), (0, 0), "these are another one's");
    let Answer::Ok(taken) = owner.settle(2, 0, &settling).await else { panic!() };
    assert_eq!((taken.acked, taken.others), (1, 1), "whichever comes first counts");
    let Answer::Ok(taken) = owner.settle(3, 64, &settling).await else { panic!() };
    assert_eq!((taken.acked, taken.others), (0, 0));
    assert_eq!(taken.items, ["0|1|n|b"], "retried, not dead, not handed back");
    assert!(bed.dead().await.is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_without_waiting_for_the_lease() {
    let bed = Bed::new("lost-answer").await;
    // So that the server knows the script, and the first take is the one that is cut.
    assert_eq!(Hand::join(&bed).await.take(1, 0).await.shape, "");
    let books = Books::of(bed.push_numbers(5).await);
    let proxy = FaultProxy::start(&bed.server.address()).await.unwrap();
    let through = ConnectionSettings::from_url(&format!("valkey://{}", proxy.address())).unwrap();
    let connection = Connection::connect(&through).await.unwrap();
    let mut cut = proxy.arm(Cut::reply_before(0).of_command(TAKE.sha().to_owned()));
    // Nobody waits here for an hour.
    let settings = settings().lease(Duration::from_hours(1));
    let receiver =
        Receiver::builder(&connection).queue(bed.queue.clone()).settings(settings).start().await.unwrap();
    assert!(matches!(soon("the cut", cut.wait()).await, CutOutcome::Cut { .. }));
    let mut deliveries = Vec::new();
    for number in 1..=5_u32 {
        let delivery = books.next(&receiver).await;
        assert_eq!(delivery.envelope().payload_as::<u32>().unwrap(), number);
        assert_eq!((delivery.attempt(), delivery.crashes()), (1, 0));
        deliveries.push(delivery);
    }
    join_all(deliveries.into_iter().map(|delivery| books.ack(delivery))).await;
    bed.until_empty().await;
    let report = receiver.drain().await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.handed_back), (5, 0), "{report}");
}

#[tokio::test]
async fn after_a_lost_answer_nothing_is_fetched_that_is_here_already() {
    const LARGE: usize = 200_000;
    let bed = Bed::new("lost-large").await;
    let large = |number: u32| Envelope::new(&(number, "x".repeat(LARGE))).unwrap();
    for number in 0..20 {
        bed.push(&large(number)).await;
    }
    let proxy = FaultProxy::start(&bed.server.address()).await.unwrap();
    let through = ConnectionSettings::from_url(&format!("valkey://{}", proxy.address())).unwrap();
    let connection = Connection::connect(&through).await.unwrap();
    let receiver =
        Receiver::builder(&connection).queue(bed.queue.clone()).settings(settings()).start().await.unwrap();
    let mut deliveries = Vec::new();
    for _ in 0..20 {
        deliveries.push(soon("a message", receiver.recv()).await.unwrap());
    }
    let before = proxy.traffic().reply_bytes;
    let mut cut = proxy.arm(Cut::reply_before(0).of_command(TAKE.sha().to_owned()));
    assert!(matches!(soon("the cut", cut.wait()).await, CutOutcome::Cut { .. }));
    bed.push(&large(20)).await;
    deliveries.push(soon("the next message", receiver.recv()).await.unwrap());
    let fetched = usize::try_from(proxy.traffic().reply_bytes - before).unwrap();
    assert!(fetched < 5 * LARGE, "{fetched} bytes for one message of {LARGE}");
    for settled in join_all(deliveries.into_iter().map(Delivery::ack)).await {
        settled.unwrap();
    }
    bed.until_empty().await;
}

#[tokio::test]
async fn a_short_count_makes_its_whole_group_uncertain_and_no_other() {
    let bed = Bed::new("short").await;
    let books = Books::of(bed.push_numbers(5).await);
    let receiver = bed.receiver(settings()).await;
    let mut deliveries = Vec::new();
    for _ in 0..5 {
        deliveries.push(books.next(&receiver).await);
    }
    let [consumer] = bed.consumers().await.try_into().unwrap();
    let inflight = bed.keys.inflight(&consumer);
    let second = bed.held_by(&consumer).await[1].clone();
    bed.ask(Command::new("HDEL").key(inflight.as_str()).arg(second)).await;
    let retried = deliveries.split_off(3).into_iter().map(|delivery| {
        books.wanted_again(delivery.raw());
        delivery.nack(Some(Duration::ZERO), None)
    });
    // Handled they are, whatever becomes of their acks.
    let acked = deliveries.into_iter().map(|delivery| {
        books.finished(delivery.raw());
        delivery.ack()
    });
    let (acked, retried) = futures::join!(join_all(acked), join_all(retried));
    assert_eq!(acked, [Err(SettleError::Uncertain); 3]);
    assert_eq!(retried, [Ok(()); 2]);
    for _ in 0..2 {
        let again = books.next(&receiver).await;
        books.ack(again).await;
    }
    bed.until_empty().await;
    let report = receiver.drain().await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.retried, report.uncertain), (2, 2, 3), "{report}");
}
