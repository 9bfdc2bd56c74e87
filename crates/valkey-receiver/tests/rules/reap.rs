//! The first reap fences for good, only then do messages move; what happened to a crowd is no message's fault.

use std::collections::BTreeSet;

use bytes::Bytes;
use valkey_connection::Command;

use crate::hand::{Answer, Hand, MAX_CRASHES, Settling, dump, list, push, server_ms};
use crate::support::Bed;
use crate::support::books::Books;

/// A consumer that holds `count` messages and whose lease is over.
async fn dead_with(bed: &Bed, count: usize) -> Hand<'_> {
    let hand = Hand::join(bed).await;
    push(bed, bed.keys.public(), (1..=count).map(|number| format!("m{number}"))).await;
    assert_eq!(hand.take(1, 64).await.items.len(), count);
    hand.set_deadline(1).await;
    hand
}

#[tokio::test]
async fn a_zombie_half_reaped_claims_and_settles_nothing() {
    let bed = Bed::new("half").await;
    let zombie = dead_with(&bed, 5).await;
    push(&bed, bed.keys.public(), ["next"]).await;
    let books = Books::of(["m1", "m2", "m3", "m4", "m5", "next"]);
    assert_eq!(zombie.reap(1).await, ("reaped".to_owned(), 1, 0, 4));
    assert_eq!(zombie.deadline_ms().await, Some(0), "fenced for good");

    let before = dump(&bed).await;
    let settling = Settling {
        acks: &["1-1", "1-2"],
        retries: &[("1-3", 0, true)],
        deads: &[("1-4", "{}")],
        backs: &["1-5"],
    };
    assert_eq!(zombie.settle(2, 64, &settling).await, Answer::Fenced);
    assert_eq!(zombie.try_join().await.unwrap(), "fenced", "a name is used once");
    assert_eq!(dump(&bed).await, before);

    assert_eq!(zombie.reap(256).await, ("reaped".to_owned(), 4, 0, 0));
    assert_eq!(
        list(&bed, bed.keys.redo()).await,
        ["1|0|n|m1", "1|0|n|m2", "1|0|n|m3", "1|0|n|m4", "1|0|n|m5"]
    );
    assert_eq!(zombie.settle(3, 64, &settling).await, Answer::Fenced, "also when nothing is left of it");
    assert_eq!(zombie.reap(256).await, ("gone".to_owned(), 0, 0, 0));
    assert!(!dump(&bed).await.contains_key(&zombie.inflight()));
    assert_eq!(books.publish(&bed).await.lost, 0);
}

#[tokio::test]
async fn the_last_of_a_crowd_is_no_loner() {
    let bed = Bed::new("crowd").await;
    let crowd = Hand::join(&bed).await;
    for place in 1..=3 {
        crowd.give(&format!("1-{place}"), &format!("9|0|n|m{place}")).await;
    }
    crowd.set_deadline(1).await;
    for left in [2, 1, 0] {
        assert_eq!(crowd.reap(1).await, ("reaped".to_owned(), 1, 0, left));
    }
    assert_eq!(list(&bed, bed.keys.redo()).await, ["10|0|n|m1", "10|0|n|m2", "10|0|n|m3"]);

    let loner = Hand::join(&bed).await;
    loner.give("1-1", &format!("{}|4|h|m4", MAX_CRASHES - 2)).await;
    loner.set_deadline(1).await;
    assert_eq!(loner.reap(256).await, ("reaped".to_owned(), 1, 0, 0), "one crash short");
    let loner = Hand::join(&bed).await;
    loner.give("1-1", &format!("{}|4|h|m4", MAX_CRASHES - 1)).await;
    loner.set_deadline(1).await;
    assert_eq!(loner.reap(256).await, ("reaped".to_owned(), 0, 1, 0));
    let [dead] = bed.dead().await.try_into().unwrap();
    assert_eq!(dead.raw, "m4");
    assert_eq!((dead.meta.attempts, dead.meta.crashes), (4, MAX_CRASHES));
    assert_eq!(dead.meta.lane, Some(valkey_envelope::Lane::High));
    assert_eq!(dead.meta.consumer.as_deref(), Some(loner.cid.as_str()));
    // One m4 is in redo, the other among the dead.
    assert_eq!(Books::of(["m1", "m2", "m3", "m4", "m4"]).publish(&bed).await.lost, 0);
}

#[tokio::test]
async fn what_was_settled_before_the_crash_keeps_nobody_company() {
    let bed = Bed::new("settled-crowd").await;
    let hand = dead_with(&bed, 3).await;
    hand.set_deadline(server_ms(&bed).await + 60_000).await;
    // Two of three are finished: the third is alone from now on.
    let Answer::Ok(taken) =
        hand.settle(2, 0, &Settling { acks: &["1-1", "1-3"], ..Settling::default() }).await
    else {
        panic!()
    };
    assert_eq!(taken.acked, 2);
    hand.give("1-2", "2|0|n|m2").await;
    hand.set_deadline(1).await;
    assert_eq!(hand.reap(256).await, ("reaped".to_owned(), 0, 1, 0));
}

#[tokio::test]
async fn what_a_fenced_consumer_finds_it_gives_back_uncounted() {
    let bed = Bed::new("gives-back").await;
    let zombie = dead_with(&bed, 4).await;
    zombie.give("1-4", "0|2|n|m4").await;
    push(&bed, bed.keys.public(), ["next"]).await;
    assert_eq!(zombie.reap(1).await, ("reaped".to_owned(), 1, 0, 3));
    assert_eq!(zombie.try_release(2).await.unwrap(), (2, 1), "bounded");
    assert_eq!(zombie.settle(9, 64, &Settling::default()).await, Answer::Fenced);
    assert_eq!(zombie.try_release(256).await.unwrap(), (1, 0));
    assert_eq!(list(&bed, bed.keys.public()).await, ["m2", "m3", "next"], "first in line, in their order");
    assert_eq!(list(&bed, bed.keys.redo()).await, ["0|2|n|m4", "1|0|n|m1"], "the crash was counted for one");
    assert_eq!(zombie.deadline_ms().await, None);
    assert_eq!(zombie.settle(10, 64, &Settling::default()).await, Answer::Fenced);
}

#[tokio::test]
async fn the_many_messages_of_a_large_consumer_move_in_steps() {
    const COUNT: i64 = 700;
    let bed = Bed::new("large-hash").await;
    for leaves in [false, true] {
        let hand = Hand::join(&bed).await;
        let fields = (1..=COUNT).flat_map(|number| [format!("1-{number}"), format!("1000|7|0|n|{number}")]);
        bed.ask(Command::new("HSET").key(hand.inflight()).arg("#").arg(1).args(fields)).await;
        hand.set_deadline(1).await;
        let mut steps = 0;
        loop {
            let left = if leaves { hand.try_release(256).await.unwrap().1 } else { hand.reap(256).await.3 };
            steps += 1;
            if left == 0 {
                break;
            }
        }
        assert_eq!(steps, 3);
        assert!(bed.dead().await.is_empty() && hand.deadline_ms().await.is_none());
        let moved: BTreeSet<Bytes> = list(&bed, bed.keys.redo()).await.into_iter().collect();
        let crashes = if leaves { 7 } else { 8 };
        assert_eq!(moved, (1..=COUNT).map(|number| format!("{crashes}|0|n|{number}").into()).collect());
        bed.ask(Command::new("DEL").key(bed.keys.redo())).await;
    }
}

#[tokio::test]
async fn who_leaves_step_by_step_claims_nothing_meanwhile() {
    let bed = Bed::new("leaves").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.public(), ["a", "b", "c"]).await;
    assert_eq!(hand.take(1, 2).await.items, ["a", "b"]);
    assert_eq!(hand.try_release(1).await.unwrap(), (1, 1));
    let late = Settling { acks: &["1-1"], ..Settling::default() };
    assert_eq!(hand.settle(2, 64, &late).await, Answer::Fenced);
    assert_eq!(hand.try_release(1).await.unwrap(), (1, 0));
    assert_eq!(hand.settle(3, 64, &late).await, Answer::Fenced);
    assert_eq!(list(&bed, bed.keys.public()).await, ["a", "b", "c"]);
    assert_eq!(bed.consumers().await, [""; 0]);
}

#[tokio::test]
async fn the_living_are_not_reaped_and_are_seen_by_others() {
    let bed = Bed::new("living").await;
    let (one, other) = (Hand::join(&bed).await, Hand::join(&bed).await);
    push(&bed, bed.keys.public(), ["a"]).await;
    let renewed = one.take(1, 64).await;
    assert_eq!(one.reap(256).await, ("alive".to_owned(), 0, 0, 0));
    let seen = other.take(1, 64).await;
    assert_eq!(seen.foreign_ms, one.deadline_ms().await.unwrap(), "when to look again");
    assert_eq!(seen.foreign_ms, renewed.now_ms + crate::hand::LEASE_MS.cast_signed());
    one.set_deadline(seen.now_ms - 1).await;
    assert_eq!(other.take(2, 64).await.expired, one.cid);
    assert_eq!(one.take(2, 0).await.expired, "", "late, but nobody has fenced it: it may go on");
    assert_eq!(one.reap(256).await.0, "alive");
}
