//! What has crashed its consumers is taken among few, then alone.

use crate::hand::{Answer, Hand, Settling, push};
use crate::support::Bed;

#[tokio::test]
async fn suspects_come_eight_at_a_time_and_with_nobody_else() {
    let bed = Bed::new("few").await;
    push(&bed, bed.keys.public(), ["fresh"]).await;
    push(&bed, bed.keys.redo(), (1..=10).map(|number| format!("2|0|n|s{number}"))).await;
    let (one, other) = (Hand::join(&bed).await, Hand::join(&bed).await);
    let eight = one.take(1, 64).await;
    assert_eq!(eight.shape, "rrrrrrrr");
    assert_eq!(other.take(1, 64).await.items, ["2|0|n|s9", "2|0|n|s10"]);
    // The suspects are out of the way: the others are taken as ever, though not by hands that are full of suspects.
    let third = Hand::join(&bed).await;
    assert_eq!(third.take(1, 64).await.items, ["fresh"]);
}

#[tokio::test]
async fn from_the_third_crash_on_a_message_is_taken_alone_and_by_empty_hands() {
    let bed = Bed::new("alone").await;
    push(&bed, bed.keys.public(), ["fresh", "later"]).await;
    let hand = Hand::join(&bed).await;
    assert_eq!(hand.take(1, 1).await.items, ["fresh"]);
    push(&bed, bed.keys.redo(), ["3|0|n|worst", "4|0|n|as bad"]).await;
    let held = hand.take(2, 64).await;
    assert_eq!((held.items.len(), held.hold.as_str(), held.left), (0, "suspect", true));
    let Answer::Ok(taken) = hand.settle(3, 64, &Settling { acks: &["1-1"], ..Settling::default() }).await
    else {
        panic!()
    };
    assert_eq!(taken.items, ["3|0|n|worst"], "its hands are empty in the very take that settles the rest");
    assert_eq!(hand.take(4, 64).await.hold, "suspect");
    let Answer::Ok(taken) = hand.settle(5, 64, &Settling { acks: &["3-1"], ..Settling::default() }).await
    else {
        panic!()
    };
    assert_eq!(taken.items, ["4|0|n|as bad"]);
    let Answer::Ok(taken) = hand.settle(6, 64, &Settling { acks: &["5-1"], ..Settling::default() }).await
    else {
        panic!()
    };
    assert_eq!((taken.items, taken.left), (vec!["later".into()], false));
}

#[tokio::test]
async fn one_crash_makes_no_suspect_and_a_suspect_further_back_joins_nobody() {
    let bed = Bed::new("mixed").await;
    push(&bed, bed.keys.redo(), ["1|0|n|once", "0|1|n|failed", "2|0|n|twice", "1|0|n|behind"]).await;
    push(&bed, bed.keys.public(), ["a", "b"]).await;
    let hand = Hand::join(&bed).await;
    let first = hand.take(1, 64).await;
    assert_eq!(first.items, ["1|0|n|once", "0|1|n|failed", "a", "b"]);
    assert!(first.left);
    let other = Hand::join(&bed).await;
    assert_eq!(other.take(1, 64).await.items, ["2|0|n|twice"], "of two crashes, and with nobody of fewer");
    assert_eq!(Hand::join(&bed).await.take(1, 64).await.items, ["1|0|n|behind"]);
}
