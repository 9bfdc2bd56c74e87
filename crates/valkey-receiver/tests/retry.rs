//! What becomes of messages that fail: attempts, waits, the last attempt.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::{DrainReport, Handler, Message, Outcome, ReceiverSettings};

use support::books::Books;
use support::{Bed, settings, soon};

/// Serves `handler` until the queue is empty.
async fn serve_all(bed: &Bed, settings: ReceiverSettings, handler: impl Handler) -> DrainReport {
    let receiver = bed.receiver(settings).await;
    let stop = receiver.handle();
    let service = tokio::spawn(receiver.serve(handler).into_future());
    bed.until_empty().await;
    stop.drain();
    soon("the end", service).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_message_that_fails_twice_is_delivered_three_times() {
    let bed = Bed::new("retry-twice").await;
    bed.push(&Envelope::new("hello").unwrap()).await;
    let (seen, mut attempts) = mpsc::unbounded_channel();
    let report = serve_all(&bed, settings(), move |message: Message| {
        seen.send((message.attempt(), message.crashes())).unwrap();
        async move { if message.attempt() < 3 { Err("not yet") } else { Ok(()) } }
    })
    .await;
    let mut all = Vec::new();
    while let Some(attempt) = attempts.recv().await {
        all.push(attempt);
    }
    assert_eq!(all, [(1, 0), (2, 0), (3, 0)]);
    assert_eq!((report.acked, report.retried, report.dead), (1, 2, 0), "{report}");
}

#[tokio::test]
async fn the_last_attempt_leads_to_the_dead_letters_with_its_story() {
    let bed = Bed::new("retry-last").await;
    let raw = Envelope::new("hello").unwrap().encode().unwrap();
    bed.push_raw(raw.clone()).await;
    let books = Books::of([raw.clone()]);
    let seen = books.clone();
    let handler = move |message: Message| {
        seen.handed(message.raw());
        async move { Err::<(), _>(format!("failure {}", message.attempt())) }
    };
    let report = serve_all(&bed, settings().max_retries(2), handler).await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "it was tried again");
    assert_eq!((report.acked, report.retried, report.dead), (0, 2, 1), "{report}");
    let [dead] = bed.dead().await.try_into().unwrap();
    assert_eq!(dead.raw, raw, "attempts are never written into the message");
    assert_eq!(dead.meta.reason, DeadReason::MaxAttempts);
    assert_eq!(dead.meta.attempts, 3);
    assert_eq!(dead.meta.error.as_deref(), Some("failure 3"));
}

#[tokio::test]
async fn attempts_of_elsewhere_count() {
    let bed = Bed::new("retry-elsewhere").await;
    bed.push(&Envelope::new("hello").unwrap().with_retries(3)).await;
    let report = serve_all(&bed, settings(), |_: Message| async { Err::<(), _>("again") }).await;
    assert_eq!((report.retried, report.dead), (0, 1), "{report}");
}

#[tokio::test]
async fn a_snooze_never_counts() {
    let bed = Bed::new("retry-snooze").await;
    bed.push(&Envelope::new("hello").unwrap()).await;
    let (calls, highest) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let handler = {
        let (calls, highest) = (Arc::clone(&calls), Arc::clone(&highest));
        move |message: Message| {
            highest.fetch_max(message.attempt(), Ordering::SeqCst);
            let calls = calls.fetch_add(1, Ordering::SeqCst) + 1;
            async move { if calls <= 8 { Outcome::snooze(Duration::from_millis(2)) } else { Outcome::Ack } }
        }
    };
    let report = serve_all(&bed, settings(), handler).await;
    assert_eq!((calls.load(Ordering::SeqCst), highest.load(Ordering::SeqCst)), (9, 1));
    assert_eq!((report.acked, report.retried), (1, 8), "{report}");
}

#[tokio::test]
async fn a_retry_comes_not_before_the_time_the_handler_named() {
    let bed = Bed::new("retry-after").await;
    bed.push(&Envelope::new("hello").unwrap()).await;
    let (seen, mut times) = mpsc::unbounded_channel();
    let wait = Duration::from_millis(700);
    // The backoff alone would be at most 5 ms, or an hour.
    let backoff = settings().max_retry_delay(Duration::from_hours(1));
    let _ =
        serve_all(&bed, backoff, move |message: Message| {
            seen.send(Instant::now()).unwrap();
            async move {
                if message.attempt() == 1 { Outcome::nack("busy").retry_after(wait) } else { Outcome::Ack }
            }
        })
        .await;
    let (first, second) = (times.recv().await.unwrap(), times.recv().await.unwrap());
    assert!(second - first >= wait, "{:?}", second - first);
}

#[tokio::test]
async fn a_rejected_message_is_not_tried_again() {
    let bed = Bed::new("retry-reject").await;
    bed.push(&Envelope::new("hello").unwrap()).await;
    let report =
        serve_all(&bed, settings(), |_: Message| async { Outcome::dead_letter("no such user") }).await;
    assert_eq!((report.retried, report.dead), (0, 1), "{report}");
    let [dead] = bed.dead().await.try_into().unwrap();
    assert_eq!((dead.meta.reason, dead.meta.error.as_deref()), (DeadReason::Rejected, Some("no such user")));
}
