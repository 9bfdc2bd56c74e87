//! Batches against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::{Batch, BatchHandler, BatchOutcome, DrainReport, Message, Outcome, ReceiverSettings};

use support::{Bed, settings, soon};

async fn serve_all<H: BatchHandler>(bed: &Bed, settings: ReceiverSettings, batch: Batch<H>) -> DrainReport {
    let receiver = bed.receiver(settings).await;
    let stop = receiver.handle();
    let service = tokio::spawn(receiver.serve(batch).into_future());
    bed.until_empty().await;
    stop.drain();
    soon("the end", service).await.unwrap().unwrap()
}

#[tokio::test]
async fn batches_are_no_larger_than_allowed_and_keep_the_order() {
    let bed = Bed::new("batch-size").await;
    bed.push_numbers(50).await;
    let (seen, mut batches) = mpsc::unbounded_channel();
    let batch = Batch::new(move |messages: Vec<Message>| {
        let numbers: Vec<u32> = messages.iter().map(|message| message.payload_as().unwrap()).collect();
        seen.send(numbers).unwrap();
        async {}
    });
    let report = serve_all(&bed, settings(), batch.max_size(8)).await;
    assert_eq!(report.acked, 50, "{report}");
    let mut all = Vec::new();
    while let Some(numbers) = batches.recv().await {
        assert!((1..=8).contains(&numbers.len()), "{numbers:?}");
        all.extend(numbers);
    }
    assert_eq!(all, (1..=50).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_lingering_batch_waits_for_its_companions() {
    let bed = Bed::new("batch-linger").await;
    let receiver = bed.receiver(settings()).await;
    let (seen, mut batches) = mpsc::unbounded_channel();
    let batch = Batch::new(move |messages: Vec<Message>| {
        seen.send(messages.len()).unwrap();
        async {}
    });
    // It never has to wait so long: the third message fills it.
    let linger = support::PATIENCE * 2;
    let stop = receiver.handle();
    let service = tokio::spawn(receiver.serve(batch.max_size(3).linger(linger)).into_future());
    for number in 0..3 {
        bed.push(&Envelope::new(&number).unwrap()).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(soon("the batch", batches.recv()).await, Some(3));
    stop.drain();
    assert_eq!(soon("the end", service).await.unwrap().unwrap().acked, 3);
}

#[tokio::test]
async fn each_message_gets_its_own_outcome() {
    let bed = Bed::new("batch-mixed").await;
    bed.push_numbers(3).await;
    let batch = Batch::new(|messages: Vec<Message>| async move {
        messages
            .iter()
            .map(|message| match (message.payload_as::<u32>().unwrap(), message.attempt()) {
                (1, _) => Outcome::dead_letter("never"),
                (2, 1) => Outcome::nack("not yet"),
                _ => Outcome::Ack,
            })
            .collect::<Vec<_>>()
    });
    let report = serve_all(&bed, settings(), batch).await;
    assert_eq!((report.acked, report.retried, report.dead), (2, 1, 1), "{report}");
    let [dead] = bed.dead().await.try_into().unwrap();
    assert_eq!((dead.meta.reason, dead.meta.error.as_deref()), (DeadReason::Rejected, Some("never")));
}

#[tokio::test]
async fn an_answer_of_the_wrong_length_and_a_panic_nack_the_whole_batch() {
    let bed = Bed::new("batch-wrong").await;
    bed.push_numbers(4).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let batch = Batch::new(move |messages: Vec<Message>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if messages[0].attempt() == 1 {
                return BatchOutcome::each([Outcome::Ack]).nack(1, "too few");
            }
            panic!("at number {}", messages[0].payload_as::<u32>().unwrap());
        }
    });
    let settings = settings().max_retries(1).retry_delay(Duration::ZERO);
    let report = serve_all(&bed, settings, batch.max_size(4).linger(Duration::from_millis(200))).await;
    assert_eq!((report.acked, report.retried, report.dead), (0, 4, 4), "{report}");
    for dead in bed.dead().await {
        assert!(dead.meta.error.as_deref().unwrap().starts_with("panicked: at number "), "{:?}", dead.meta);
    }
}
