//! A handler that panics fails its message, and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroUsize;

use tokio::sync::mpsc;
use valkey_envelope::DeadReason;
use valkey_receiver::Message;

use support::books::Books;
use support::{Bed, settings, soon};

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_the_worker_goes_on() {
    let bed = Bed::new("panic").await;
    let books = Books::of(bed.push_numbers(6).await);
    // One worker: were it gone, nothing would come after the panic.
    let alone = settings().max_concurrent_messages(NonZeroUsize::MIN).max_retries(1);
    let receiver = bed.receiver(alone).await;
    let (seen, mut calls) = mpsc::unbounded_channel();
    let stop = receiver.handle();
    let seen_books = books.clone();
    let handler = move |message: Message| {
        let books = seen_books.clone();
        books.handed(message.raw());
        let number: u32 = message.payload_as().unwrap();
        seen.send((number, message.attempt())).unwrap();
        assert!(number != 2, "number {number} before its future");
        async move {
            tokio::task::yield_now().await;
            assert!(number != 4, "number {number} in its future");
            books.finished(message.raw());
        }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    let mut dead = bed.until_dead(2).await;
    bed.until_empty().await;
    stop.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 2), "what panicked was tried again");
    assert_eq!((report.acked, report.retried, report.dead), (4, 2, 2), "{report}");

    let mut all = Vec::new();
    while let Some(call) = calls.recv().await {
        all.push(call);
    }
    all.sort_unstable();
    assert_eq!(all, [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2), (5, 1), (6, 1)]);

    dead.sort_by_key(|dead| dead.meta.error.clone());
    for (dead, error) in dead.iter().zip(["number 2 before its future", "number 4 in its future"]) {
        assert_eq!(dead.meta.reason, DeadReason::MaxAttempts);
        assert_eq!(dead.meta.error.as_deref(), Some(format!("panicked: {error}").as_str()));
    }
}
