//! Messages that this version cannot read and another one can: put back for it, and kept for it.

use std::time::{Duration, Instant};

use valkey_envelope::{DeadReason, DecodeError, Envelope};
use valkey_receiver::Message;

use crate::hand::Hand;
use crate::support::books::Books;
use crate::support::{Bed, settings, soon, until};

/// Version 2, as it might be: nothing of it means what it meant.
fn newer(number: u32) -> String {
    format!(
        r#"{{"envelope_version":2,"id":["v2",{number}],"ttl":"1h","body":{{"n":{number}}},"payload":{number}}}"#
    )
}

const WAIT: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_newer_envelope_is_kept_as_it_came_and_no_handler_sees_it() {
    let bed = Bed::new("newer").await;
    bed.push_raw(newer(1)).await;
    let books = Books::of([newer(1).into(), bed.push(&Envelope::new(&7).unwrap()).await]);
    let receiver = bed.receiver(settings().unreadable_wait(WAIT)).await;
    let started = Instant::now();
    let delivery = books.next(&receiver).await;
    assert_eq!(delivery.message().payload_as::<u32>().unwrap(), 7);
    books.ack(delivery).await;
    let dead = tokio::select! {
        delivery = receiver.recv() => panic!("{delivery:?} cannot be read"),
        dead = bed.until_dead(1) => dead,
    };
    let took = started.elapsed();
    assert!(took >= WAIT, "{took:?}: it was put back for others first");
    let [dead] = <[_; 1]>::try_from(dead).unwrap();
    assert_eq!(dead.meta.reason, DeadReason::UnsupportedVersion);
    assert_eq!((dead.meta.attempts, dead.meta.crashes), (0, 0));
    assert_eq!(dead.raw, newer(1));
    let error = dead.meta.error.unwrap();
    assert!(error.contains("version 2") && error.contains("up to 1"), "{error}");
    let report = receiver.drain().await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.dead, report.uncertain), (1, 1, 0), "{report}");
}

#[tokio::test]
async fn in_a_mixed_fleet_the_newer_consumer_gets_every_newer_message_uncounted() {
    const COUNT: u32 = 40;
    let bed = Bed::new("newer").await;
    let older = bed.receiver(settings().unreadable_wait(Duration::from_secs(3))).await;
    let end = older.handle();
    let books = Books::default();
    let seen = books.clone();
    let handler = move |message: Message| {
        let books = seen.clone();
        async move {
            books.handed(message.raw());
            message.payload_as::<u32>()?;
            books.finished(message.raw());
            Ok::<_, DecodeError>(())
        }
    };
    let service = tokio::spawn(older.serve(handler).into_future());
    for number in 1..=COUNT {
        bed.push_raw(newer(number)).await;
        books.sent([newer(number).into(), bed.push(&Envelope::new(&number).unwrap()).await]);
    }
    // All of them have been in the hands of the older one by now; it is the newer one's turn.
    until("the older one to put them back", async || (bed.delayed().await == i64::from(COUNT)).then_some(()))
        .await;
    end.pause();
    let newcomer = Hand::join(&bed).await;
    let (mut got, mut take) = (Vec::new(), 0);
    until("all newer messages", async || {
        take += 1;
        let taken = newcomer.take(take, 64).await;
        // Letters of lanes only: raw bytes, no frame that would count an attempt.
        assert!(!taken.shape.contains('r'), "{}", taken.shape);
        books.handed_all(taken.raws());
        got.extend(taken.items);
        (got.len() >= COUNT as usize).then_some(())
    })
    .await;
    got.sort();
    let mut all: Vec<String> = (1..=COUNT).map(newer).collect();
    all.sort();
    assert_eq!(got, all);
    assert!(bed.dead().await.is_empty());
    end.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.dead), (u64::from(COUNT), 0), "{report}");
}
