//! Payload codecs: what a sender coded is undone before the handler sees it, and what cannot be undone is kept.
#![allow(clippy::unwrap_used)]

mod support;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use valkey_envelope::{DeadReason, Envelope, PayloadCodec, PayloadCodecs};
use valkey_receiver::Receiver;

use support::books::Books;
use support::{Bed, settings, soon, until};

#[derive(Debug)]
struct Mirror(&'static str);

impl PayloadCodec for Mirror {
    fn name(&self) -> &str {
        self.0
    }

    fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(plain.iter().rev().copied().collect())
    }

    fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        self.encode(coded)
    }
}

fn sealed(payload: &str, with: &'static str) -> Envelope {
    PayloadCodecs::new().with(Arc::new(Mirror(with))).seal(Envelope::new(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn known_codecs_are_undone_and_unknown_ones_are_dead_letters_with_the_bytes_as_pushed() {
    let bed = Bed::new("codec").await;
    let unreadable = sealed("hidden", "elsewhere").encode().unwrap();
    let books = Books::of([bed.push(&sealed("hello", "mirror")).await, unreadable.clone()]);
    bed.push_raw(unreadable.clone()).await;
    let receiver = Receiver::builder(&bed.connection)
        .queue(bed.queue.clone())
        .settings(settings().unreadable_wait(Duration::from_millis(60)))
        .codec(Arc::new(Mirror("mirror")))
        .start()
        .await
        .unwrap();

    let delivery = books.next(&receiver).await;
    assert_eq!(delivery.message().payload_as::<String>().unwrap(), "hello");
    assert_eq!(delivery.envelope().header(PayloadCodecs::HEADER), None);
    books.ack(delivery).await;

    let dead = tokio::select! {
        delivery = receiver.recv() => panic!("{delivery:?} cannot be read"),
        dead = until("the dead letter", async || bed.dead().await.pop()) => dead,
    };
    assert_eq!((dead.meta.reason, dead.meta.attempts), (DeadReason::UnknownCodec, 0));
    assert_eq!(dead.raw, unreadable);
    let error = dead.meta.error.unwrap();
    assert!(error.contains("elsewhere") && !error.contains("hidden"), "{error}");
    assert!(receiver.drain().await.unwrap().is_clean());
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn without_codecs_coded_payloads_arrive_as_they_are() {
    let bed = Bed::new("codec-none").await;
    let coded = sealed("hello", "mirror");
    bed.push(&coded).await;
    let receiver = bed.receiver(settings()).await;
    let delivery = soon("the message", receiver.recv()).await.unwrap();
    assert_eq!(delivery.envelope(), &coded);
    delivery.ack().await.unwrap();
    let _ = receiver.drain().await.unwrap();
}
