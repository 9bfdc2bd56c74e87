//! A queue of a newer format than this version knows.

use std::error::Error;

use valkey_connection::Command;
use valkey_receiver::{ReceiveError, Receiver};

use crate::hand::{self, Answer, Hand, Settling};
use crate::support::books::Books;
use crate::support::{Bed, settings};

async fn raise(bed: &Bed, version: &str) {
    bed.ask(Command::new("HSET").key(bed.keys.control()).arg("version").arg(version)).await;
}

#[tokio::test]
async fn who_does_not_know_the_format_of_a_queue_does_not_join_it_and_touches_nothing() {
    let bed = Bed::new("format").await;
    let books = Books::of(bed.push_numbers(3).await);
    for version in ["2", "17", "2.0-beta", "", "nan"] {
        raise(&bed, version).await;
        let before = hand::dump(&bed).await;
        let refused = Receiver::builder(&bed.connection)
            .queue(bed.queue.clone())
            .settings(settings())
            .start()
            .await
            .unwrap_err();
        assert!(matches!(&refused, ReceiveError::NewerFormat { found, known: 1, .. } if found == version));
        let text = refused.to_string();
        assert!(text.contains(&format!("format {version}")) && text.contains("up to 1"), "{text}");
        assert!(text.contains("newer version"), "{text}");
        assert!(refused.source().is_none());
        assert_eq!(hand::dump(&bed).await, before, "{version}");
    }
    // The present format may be said.
    raise(&bed, "1").await;
    let receiver = bed.receiver(settings()).await;
    let delivery = books.next(&receiver).await;
    books.ack(delivery).await;
    let _ = receiver.drain().await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

/// The procedure of docs/upgrades.md: whoever raises the format fences all consumers in the same step, so that a take needs
/// to look at the fence only, as it does anyway.
#[tokio::test]
async fn who_raises_the_format_and_fences_everybody_leaves_no_older_consumer_at_work() {
    let bed = Bed::new("format").await;
    let books = Books::of(bed.push_numbers(10).await);
    let older = Hand::join(&bed).await;
    let taken = older.take(1, 4).await;
    books.handed_all(taken.raws());
    assert_eq!(taken.items.len(), 4);
    raise(&bed, "2").await;
    older.set_deadline(0).await;

    // Field by field: a large hash is saved in any order.
    let state = async || {
        let mut keys = hand::dump(&bed).await;
        keys.remove(&older.inflight());
        let held = bed.ask(Command::new("HGETALL").key(older.inflight())).await.into_pairs().unwrap();
        let mut held: Vec<String> = held.iter().map(|pair| format!("{pair:?}")).collect();
        held.sort();
        (keys, held)
    };
    let before = state().await;
    assert_eq!(older.settle(2, 4, &Settling { acks: &["1-1"], ..Settling::default() }).await, Answer::Fenced);
    assert_eq!(older.try_join().await.unwrap(), "newer");
    assert_eq!(Hand::new(&bed).try_join().await.unwrap(), "newer");
    assert_eq!(state().await, before);
    assert_eq!(older.try_release(256).await.unwrap(), (4, 0), "what it held is given back");
    assert_eq!(bed.ready().await, 10);
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}
