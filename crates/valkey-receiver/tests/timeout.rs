//! A handler that takes too long is dropped, and its message tried again.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use tokio::sync::mpsc;
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::Message;

use support::books::Books;
use support::{Bed, Tell, settings, soon};

#[tokio::test]
async fn a_handler_that_never_ends_is_a_failed_attempt() {
    let bed = Bed::new("timeout").await;
    let books = Books::of([bed.push(&Envelope::new("hello").unwrap()).await]);
    let limits = settings().processing_timeout(Duration::from_millis(80)).max_retries(1);
    let receiver = bed.receiver(limits).await;
    let stop = receiver.handle();
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let seen = books.clone();
    let handler = move |message: Message| {
        seen.handed(message.raw());
        let tell = Tell(dropped.clone());
        async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    for attempt in 1..=2 {
        soon(&format!("the drop of attempt {attempt}"), drops.recv()).await.unwrap();
    }
    let [dead] = bed.until_dead(1).await.try_into().unwrap();
    assert_eq!(dead.meta.reason, DeadReason::MaxAttempts);
    assert_eq!(dead.meta.error.as_deref(), Some("timed out after 80ms"));
    stop.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "it was tried again");
    assert_eq!((report.retried, report.dead, report.aborted), (1, 1, 0), "{report}");
}

#[tokio::test]
async fn a_handler_may_outlast_the_lease() {
    let bed = Bed::new("timeout-lease").await;
    let books = Books::of([bed.push(&Envelope::new("hello").unwrap()).await]);
    let lease = Duration::from_millis(600);
    let receiver = bed.receiver(settings().lease(lease)).await;
    let stop = receiver.handle();
    let (done, mut ends) = mpsc::unbounded_channel();
    let seen = books.clone();
    let handler = move |message: Message| {
        let (done, books) = (done.clone(), seen.clone());
        books.handed(message.raw());
        async move {
            // A handler that does not let its thread go is no excuse either: the lease is renewed elsewhere.
            std::thread::sleep(lease * 2);
            tokio::time::sleep(lease * 2).await;
            books.finished(message.raw());
            done.send((message.attempt(), message.lease_lost().is_cancelled())).unwrap();
        }
    };
    // Another consumer that would take it over.
    let rival = bed.receiver(settings().lease(lease)).await;
    let service = tokio::spawn(receiver.serve(handler).into_future());
    let end = tokio::select! {
        end = ends.recv() => end.unwrap(),
        delivery = rival.recv() => panic!("taken over: {delivery:?}"),
    };
    assert_eq!(end, (1, false));
    bed.until_empty().await;
    stop.drain();
    assert_eq!(soon("the end", service).await.unwrap().unwrap().acked, 1);
    let _ = rival.drain().await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}
