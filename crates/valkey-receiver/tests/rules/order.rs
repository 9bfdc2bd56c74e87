//! Who comes first: lanes, retries, what is due, what was woken.

use valkey_connection::Command;
use valkey_envelope::Lane;

use crate::hand::{Answer, Hand, Settling, list, push, server_ms};
use crate::support::Bed;

fn numbered(lane: char, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{lane}{number}")).collect()
}

#[tokio::test]
async fn within_a_lane_first_in_is_first_out() {
    let bed = Bed::new("fifo").await;
    let hand = Hand::join(&bed).await;
    let pushed = numbered('n', 200);
    push(&bed, bed.keys.woken(), &pushed[..20]).await;
    push(&bed, bed.keys.public(), &pushed[20..]).await;
    let mut taken = Vec::new();
    for number in 1.. {
        let items = hand.take(number, 30).await.items;
        if items.is_empty() {
            break;
        }
        taken.extend(items);
    }
    assert_eq!(taken, pushed, "what a park moved was first in line");
}

#[tokio::test]
async fn higher_lanes_go_first_and_none_starves() {
    let bed = Bed::new("lanes").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.lane(Lane::High), numbered('h', 64)).await;
    push(&bed, bed.keys.public(), numbered('n', 64)).await;
    push(&bed, bed.keys.lane(Lane::Low), numbered('l', 64)).await;
    let mut led = String::new();
    for number in 1..=32 {
        // The higher lanes never run dry.
        led += &hand.take(number, 2).await.shape[..1];
    }
    assert_eq!(led, "hhhnhhhnhhhnhhhlhhhnhhhnhhhnhhhl");
    let all = hand.take(33, 512).await;
    assert_eq!(all.shape, "h".repeat(16) + &"n".repeat(52) + &"l".repeat(60));
    assert!(!all.left);
}

#[tokio::test]
async fn retries_get_at_most_half_of_a_take_while_lanes_wait() {
    let bed = Bed::new("half-redo").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.redo(), (1..=40).map(|number| format!("0|1|n|r{number}"))).await;
    push(&bed, bed.keys.public(), numbered('n', 40)).await;
    assert_eq!(hand.take(1, 20).await.shape, "r".repeat(10) + &"n".repeat(10));
    assert_eq!(hand.take(2, 1).await.shape, "r", "one of one, or they would never go");
    push(&bed, bed.keys.woken(), ["w"]).await;
    assert_eq!(hand.take(3, 60).await.shape, "n".to_owned() + &"r".repeat(29) + &"n".repeat(30));
}

#[tokio::test]
async fn delayed_first_deliveries_come_as_raw_bytes_to_their_lane_and_retries_with_their_attempts() {
    let bed = Bed::new("due").await;
    let hand = Hand::join(&bed).await;
    let now = server_ms(&bed).await;
    let due = [
        (now - 3, "a|0|0|l|low"),
        (now - 2, "b|0|0|n|normal|with a bar"),
        (now - 1, "c|0|0|h|high"),
        (now - 1, "d|0|2|n|tried twice"),
        (now - 1, "e|1|0|h|crashed once"),
        (now - 1, "no member of ours"),
        (now + 60_000, "f|0|0|n|later"),
    ];
    for (at, member) in due {
        bed.ask(Command::new("ZADD").key(bed.keys.delayed()).arg(at).arg(member)).await;
    }
    let none = hand.take(1, 0).await;
    assert_eq!((none.next_due_ms, none.left), (now + 60_000, true));
    assert_eq!(bed.delayed().await, 1);
    assert_eq!(list(&bed, bed.keys.lane(Lane::High)).await, ["high"]);
    assert_eq!(list(&bed, bed.keys.public()).await, ["normal|with a bar", "no member of ours"]);
    assert_eq!(list(&bed, bed.keys.lane(Lane::Low)).await, ["low"]);
    assert_eq!(list(&bed, bed.keys.redo()).await, ["0|2|n|tried twice", "1|0|h|crashed once"]);
}

#[tokio::test]
async fn retries_keep_their_bytes_their_lane_and_their_counts() {
    let bed = Bed::new("retries").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.lane(Lane::High), ["h1", "h2", "h3"]).await;
    assert_eq!(hand.take(1, 64).await.shape, "hhh");
    let settling = Settling {
        retries: &[("1-1", 0, true), ("1-2", 0, false), ("1-3", 3_600_000, true)],
        ..Settling::default()
    };
    let Answer::Ok(taken) = hand.settle(2, 64, &settling).await else { panic!() };
    assert_eq!(taken.items, ["0|1|h|h1", "0|0|h|h2"], "a snooze counts for nothing");
    assert_eq!(taken.others, 3);
    assert!((3_599_000..=3_600_000).contains(&(taken.next_due_ms - taken.now_ms)), "{taken:?}");
    let settling = Settling { retries: &[("2-1", 1, true)], backs: &["2-2"], deads: &[], acks: &[] };
    let Answer::Ok(taken) = hand.settle(3, 0, &settling).await else { panic!() };
    assert_eq!(taken.others, 2);
    assert_eq!(list(&bed, bed.keys.lane(Lane::High)).await, ["h2"], "handed back as if never taken");
    let due = bed.ask(Command::new("ZRANGE").key(bed.keys.delayed()).arg("0").arg("0")).await;
    let member = due.into_array().unwrap().remove(0).into_string().unwrap();
    assert_eq!(member, format!("2-1-{}|0|2|h|h1", hand.cid));
}

#[tokio::test]
async fn hand_backs_go_to_the_head_of_the_line_in_their_order() {
    let bed = Bed::new("backs").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.public(), numbered('n', 6)).await;
    assert_eq!(hand.take(1, 4).await.items.len(), 4);
    let settling = Settling { backs: &["1-4", "1-3", "1-2"], acks: &["1-1"], ..Settling::default() };
    let Answer::Ok(taken) = hand.settle(2, 64, &settling).await else { panic!() };
    assert_eq!(taken.items, ["n2", "n3", "n4", "n5", "n6"]);
}
