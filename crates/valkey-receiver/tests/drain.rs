//! The end: what runs may finish, what waits goes back, what does not end is left.
#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use valkey_envelope::Envelope;
use valkey_receiver::{Message, ReceiverSettings};

use support::books::Books;
use support::{Bed, settings, soon, until};

fn one_at_a_time() -> ReceiverSettings {
    settings().max_concurrent_messages(NonZeroUsize::MIN)
}

/// Encoded messages 1 to `count`, pushed in this order.
async fn push(bed: &Bed, count: u32) -> Vec<Bytes> {
    let mut all = Vec::new();
    for number in 1..=count {
        let raw = Envelope::new(&number).unwrap().encode().unwrap();
        bed.push_raw(raw.clone()).await;
        all.push(raw);
    }
    all
}

#[tokio::test]
async fn what_runs_finishes_and_what_was_prefetched_goes_back_in_order() {
    let bed = Bed::new("drain").await;
    let pushed = push(&bed, 30).await;
    let books = Books::of(pushed.clone());
    let receiver = bed.receiver(one_at_a_time()).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let (finish, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (finish, books) = (Arc::clone(&finish), books.clone());
        move |message: Message| {
            started.send(message.raw().clone()).unwrap();
            books.handed(message.raw());
            let (finish, books) = (Arc::clone(&finish), books.clone());
            async move {
                finish.notified().await;
                books.finished(message.raw());
            }
        }
    };
    let signal = Arc::clone(&stop);
    let service = receiver.serve(handler).with_graceful_shutdown(async move { signal.notified().await });
    let service = tokio::spawn(service.into_future());
    assert_eq!(soon("the first message", starts.recv()).await.unwrap(), pushed[0]);
    until("the prefetch", async || (bed.ready().await == 0).then_some(())).await;

    stop.notify_one();
    until("the prefetched ones", async || (bed.ready().await == 29).then_some(())).await;
    assert!(!service.is_finished(), "the running handler is waited for");
    finish.notify_one();
    let report = soon("the end", service).await.unwrap().unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert_eq!((report.acked, report.handed_back, report.aborted), (1, 29, 0), "{report}");
    assert!(report.is_clean());
    assert!(starts.try_recv().is_err(), "nothing was started after the wish to stop");
    assert_eq!(
        bed.waiting().await,
        pushed[1..],
        "back at the head of the public list, in order and unchanged"
    );
}

#[tokio::test]
async fn a_handler_that_outlasts_the_drain_is_dropped_and_its_message_goes_back_uncounted() {
    let bed = Bed::new("drain-timeout").await;
    let books = Books::of(push(&bed, 1).await);
    let receiver = bed.receiver(one_at_a_time().drain_timeout(Duration::from_millis(100))).await;
    let (started, starts) = oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let stop = receiver.handle();
    let seen = books.clone();
    let handler = move |message: Message| {
        seen.handed(message.raw());
        let _ = started.lock().unwrap().take().unwrap().send(());
        std::future::pending::<()>()
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    soon("the handler", starts).await.unwrap();
    stop.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    assert_eq!((report.acked, report.retried, report.handed_back, report.aborted), (0, 0, 1, 1), "{report}");
    assert!(!report.is_clean());

    let again = bed.receiver(settings()).await;
    let delivery = books.next(&again).await;
    assert_eq!((delivery.attempt(), delivery.crashes()), (1, 0));
    books.ack(delivery).await;
    let _ = again.drain().await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "its first run was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_hold_up_the_end() {
    let bed = Bed::new("drain-blocked").await;
    let books = Books::of(push(&bed, 1).await);
    let receiver = bed.receiver(one_at_a_time().drain_timeout(Duration::from_millis(100))).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let stop = receiver.handle();
    let blocked = Duration::from_secs(4);
    let seen = books.clone();
    let handler = move |message: Message| {
        seen.handed(message.raw());
        started.send(()).unwrap();
        async move { std::thread::sleep(blocked) }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    soon("the handler", starts.recv()).await.unwrap();
    let wish = Instant::now();
    stop.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    assert!(wish.elapsed() < blocked, "{:?}", wish.elapsed());
    assert_eq!((report.acked, report.handed_back, report.aborted), (0, 1, 1), "{report}");
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice, bed.ready().await), (0, 0, 1));
}

#[tokio::test]
async fn a_paused_receiver_gives_back_and_a_resumed_one_takes_again() {
    let bed = Bed::new("drain-pause").await;
    push(&bed, 10).await;
    let receiver = bed.receiver(one_at_a_time()).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let finish = Arc::new(Notify::new());
    let handle = receiver.handle();
    let handler = {
        let finish = Arc::clone(&finish);
        move |message: Message| {
            started.send(message.payload_as::<u32>().unwrap()).unwrap();
            let finish = Arc::clone(&finish);
            async move { finish.notified().await }
        }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    assert_eq!(soon("the first message", starts.recv()).await, Some(1));
    until("the prefetch", async || (bed.ready().await == 0).then_some(())).await;

    handle.pause();
    assert!(handle.is_paused());
    until("the prefetched ones", async || (bed.ready().await == 9).then_some(())).await;
    finish.notify_one();
    // Nothing is in flight any more: all there is are the nine that wait.
    until("the settle", async || (bed.held_anywhere().await == 9).then_some(())).await;
    assert!(starts.try_recv().is_err(), "nothing starts while paused");

    handle.resume();
    for number in 2..=10 {
        assert_eq!(soon("the next message", starts.recv()).await, Some(number));
        finish.notify_one();
    }
    bed.until_empty().await;
    handle.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    assert_eq!((report.acked, report.handed_back), (10, 9), "{report}");
}

#[tokio::test]
async fn an_idle_service_ends_at_once() {
    let bed = Bed::new("drain-idle").await;
    let receiver = bed.receiver(settings()).await;
    let service = receiver.serve(|_: Message| async {}).with_graceful_shutdown(async {});
    let report = soon("the end", service.into_future()).await.unwrap();
    assert_eq!(report.acked + report.handed_back + report.uncertain, 0, "{report}");
    assert!(bed.consumers().await.is_empty());
}
