//! A consumer that was fenced lives on under a fresh name; decisions about its earlier life must not reach the new one.
#![allow(clippy::unwrap_used)]

mod support;

use valkey_connection::Command;
use valkey_receiver::SettleError;

use support::books::Books;
use support::{Bed, settings, soon, until};

/// Fields are numbered by the takes of one life. When the numbers began again at 1 with each life, a late ack of the
/// first life named a field of the second: it removed a message that nobody had finished.
#[tokio::test]
async fn a_late_ack_of_an_earlier_life_removes_nothing_from_the_present_one() {
    let bed = Bed::new("epoch").await;
    let books = Books::of(bed.push_numbers(1).await);
    let receiver = bed.receiver(settings()).await;
    let first = books.next(&receiver).await;

    let cid = bed.consumers().await.remove(0);
    bed.ask(Command::new("ZADD").key(bed.keys.consumers()).arg("0").arg(cid.as_str())).await;
    soon("the loss of the lease", first.lease_lost().cancelled()).await;

    let second = books.next(&receiver).await;
    assert_eq!((second.attempt(), second.crashes()), (1, 0), "given back by its own consumer, so no crash");
    assert_eq!(books.try_ack(first).await, Err(SettleError::LeaseLost));

    let new_cid =
        until("the new name", async || bed.consumers().await.into_iter().find(|other| *other != cid)).await;
    let inflight = bed.keys.inflight(&new_cid);
    let fields = bed.ask(Command::new("HLEN").key(inflight.as_str())).await.as_int().unwrap();
    assert_eq!(fields, 2, "the message and the number of the last take are still there");
    books.ack(second).await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "handed out in both lives, settled in one");
    assert_eq!(bed.ready().await, 0);
    assert!(!receiver.drain().await.unwrap().is_clean(), "the late ack is reported");
}
