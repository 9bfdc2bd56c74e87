//! A foreign key of another type under each of our names: it is named and nothing is deleted, other queues go on, and
//! when it is gone, so does this one.
#![allow(clippy::unwrap_used)]

#[path = "support/log.rs"]
mod log;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use valkey_connection::{Command, ErrorKind};
use valkey_envelope::{Lane, QueueKeys};
use valkey_receiver::{Delivery, ReceiveError, ReceiverSettings, SettleError};

use support::books::{Balance, Books};
use support::{Bed, soon, until};

/// Short, so that the squatter outlasts it.
const LEASE: Duration = Duration::from_secs(1);

fn settings() -> ReceiverSettings {
    ReceiverSettings::default().lease(LEASE)
}

/// All keys of a queue but those of single consumers, and the counters that nothing depends on.
fn keys(keys: &QueueKeys) -> Vec<String> {
    [
        keys.public(),
        keys.lane(Lane::High),
        keys.lane(Lane::Low),
        keys.woken(),
        keys.consumers(),
        keys.redo(),
        keys.delayed(),
        keys.dead(),
        keys.dead_body(),
        keys.control(),
    ]
    .map(str::to_owned)
    .into()
}

/// Puts a string where `key` was, and that aside.
async fn squat(bed: &Bed, key: &str) {
    let exists = bed.ask(Command::new("EXISTS").key(key)).await.as_int().unwrap() == 1;
    let mut commands = Vec::new();
    if exists {
        commands.push(Command::new("RENAME").key(key).arg(format!("{key}:aside")));
    }
    commands.push(Command::new("SET").key(key).arg("squatter"));
    for reply in bed.connection.execute_all(commands).await {
        reply.unwrap();
    }
}

/// The squatter is untouched, and goes.
async fn evict(bed: &Bed, key: &str) {
    assert_eq!(bed.ask(Command::new("GET").key(key)).await.into_string().unwrap(), "squatter");
    let aside = format!("{key}:aside");
    if bed.ask(Command::new("EXISTS").key(aside.as_str())).await.as_int().unwrap() == 1 {
        bed.ask(Command::new("RENAME").key(aside.as_str()).arg(key)).await;
    } else {
        bed.ask(Command::new("DEL").key(key)).await;
    }
}

#[tokio::test]
async fn a_squatter_at_the_start_is_named_and_left_alone() {
    let bed = Bed::new("squat-start").await;
    bed.ask(Command::new("LPUSH").key(bed.keys.lane(Lane::High)).arg("waiting")).await;
    let books = Books::of(["waiting"]);
    for key in keys(&bed.keys) {
        squat(&bed, &key).await;
        let builder = valkey_receiver::Receiver::builder(&bed.connection).queue(bed.queue.clone());
        let error = soon("the start", builder.settings(settings()).start()).await.unwrap_err();
        assert!(error.to_string().contains(&format!("key {key} ")), "{error}");
        let ReceiveError::Join { queue, source } = error else { panic!("{error}") };
        assert_eq!((queue, source.kind()), (bed.queue.clone(), ErrorKind::WrongType), "{source}");
        evict(&bed, &key).await;
    }
    assert_eq!(books.publish(&bed).await.lost, 0);
    assert_eq!(
        bed.ask(Command::new("LLEN").key(bed.keys.lane(Lane::High))).await.as_int().unwrap(),
        1,
        "nothing was touched"
    );
    let receiver = bed.receiver(settings()).await;
    let _ = soon("the end", receiver.drain()).await.unwrap();
}

/// Settles each in another way, and tells how it went.
async fn settle(nth: usize, delivery: Delivery, books: &Books) -> (u32, Result<(), SettleError>) {
    let number = delivery.message().payload_as().unwrap();
    let settled = match nth {
        0 => books.try_ack(delivery).await,
        1 => {
            books.wanted_again(delivery.raw());
            delivery.nack(Some(Duration::from_millis(1)), None).await
        }
        _ => delivery.dead_letter("for the test").await,
    };
    (number, settled)
}

/// Messages to and fro on a queue of which `key` is squatted for longer than the lease.
async fn outlast(name: &str, key: impl Fn(&Bed, &str) -> String) -> Balance {
    let bed = Bed::new(name).await;
    let other = Bed::new(name).await;
    let books = Books::of(bed.push_numbers(20).await);
    let builder = valkey_receiver::Receiver::builder(&bed.connection);
    let builder = builder.queue(bed.queue.clone()).queue(other.queue.clone());
    let receiver = builder.settings(settings()).start().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(books.next(&receiver).await);
    }
    let cid = bed.consumers().await.remove(0);
    let key = key(&bed, &cid);
    squat(&bed, &key).await;

    let settle = join_all(held.into_iter().enumerate().map(|(nth, delivery)| settle(nth, delivery, &books)));
    let meanwhile = async {
        // The neighbour on the same thread lives through it.
        let started = tokio::time::Instant::now();
        while started.elapsed() < LEASE + LEASE / 2 {
            books.sent(other.push_numbers(1).await);
            other.until_empty_beside(&receiver, &books).await;
        }
        log::until_line(&["WARN", &format!("key {key} ")]).await;
        evict(&bed, &key).await;
    };
    let (settled, ()) = soon("the settles", async { tokio::join!(settle, meanwhile) }).await;

    let mut done: BTreeSet<u32> =
        settled.into_iter().filter(|(_, settled)| settled.is_ok()).map(|(number, _)| number).collect();
    until(&format!("the rest after the squatter on {key}"), async || {
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(50), receiver.recv()).await
        {
            assert_eq!(delivery.crashes(), 0, "{key}");
            let number = delivery.message().payload_as().unwrap();
            books.handed(delivery.raw());
            if books.try_ack(delivery).await.is_ok() {
                done.insert(number);
            }
        }
        done.iter().copied().eq(1..=20).then_some(())
    })
    .await;
    bed.until_empty().await;
    assert!(bed.dead().await.len() <= 1);
    let _ = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.balance(&[&bed, &other]).await;
    assert_eq!(balance.lost, 0, "{key}");
    balance
}

#[tokio::test]
async fn a_squatter_at_work_is_named_and_outlasted() {
    log::keep();
    let all = (0..10).map(|nth| outlast("squat", move |bed, _| keys(&bed.keys).swap_remove(nth)));
    for balance in join_all(all).await {
        balance.figures().publish();
    }
}

#[tokio::test]
async fn a_squatter_on_what_is_in_flight_is_named_and_outlasted() {
    log::keep();
    outlast("squat-inflight", |bed, cid| bed.keys.inflight(cid)).await.figures().publish();
}

#[tokio::test]
async fn a_squatter_on_the_counters_is_nobodys_trouble() {
    let bed = Bed::new("squat-stats").await;
    let now: u64 =
        bed.ask(Command::new("TIME")).await.into_array().unwrap()[0].as_int().unwrap().try_into().unwrap();
    for minute in now / 60..now / 60 + 3 {
        bed.ask(Command::new("SET").key(bed.keys.stats(minute)).arg("squatter").arg("EX").arg("300")).await;
    }
    bed.push_numbers(3).await;
    let receiver = bed.receiver(settings()).await;
    for _ in 0..3 {
        soon("a message", receiver.recv()).await.unwrap().ack().await.unwrap();
    }
    assert!(soon("the end", receiver.drain()).await.unwrap().is_clean());
}

impl Bed {
    /// Handles what is on this queue with a receiver of several.
    async fn until_empty_beside(&self, receiver: &valkey_receiver::Receiver, books: &Books) {
        let delivery = soon("a message of the neighbour", async {
            loop {
                let delivery = receiver.recv().await.unwrap();
                books.handed(delivery.raw());
                if delivery.queue() == &self.queue {
                    break delivery;
                }
                // Prefetched of the squatted queue: it comes again.
                books.wanted_again(delivery.raw());
                tokio::spawn(delivery.snooze(Duration::from_millis(1)));
            }
        })
        .await;
        books.ack(delivery).await;
    }
}
