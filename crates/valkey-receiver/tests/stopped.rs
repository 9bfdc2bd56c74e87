//! Consumers that stand still beyond their lease (`SIGSTOP`) and wake up again: never two owners able to settle.
#![allow(clippy::unwrap_used)]

#[path = "support/child.rs"]
mod child;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use valkey_connection::Command;
use valkey_receiver::{Delivery, Message, Receiver, ReceiverSettings};

use child::{Part, Process, heed, say};
use support::books::Books;
use support::{Bed, until};

const LEASE: Duration = Duration::from_secs(1);

fn settings() -> ReceiverSettings {
    ReceiverSettings::default().lease(LEASE).retry_delay(Duration::ZERO)
}

/// Starts a child that takes `count` messages at once, and holds them. The books, and the messages in their order.
async fn holder(bed: &Bed, role: &str, count: u32) -> (Process, Books, Vec<Bytes>) {
    let pushed = bed.push_numbers(count).await;
    let books = Books::of(pushed.clone());
    let mut process = Process::spawn(bed, role);
    for raw in &pushed {
        process.hear().await.unwrap();
        books.handed(raw);
    }
    (process, books, pushed)
}

/// What each consumer holds, but for its own count of takes.
async fn in_flight(bed: &Bed) -> BTreeMap<Bytes, Bytes> {
    let mut all = BTreeMap::new();
    for cid in bed.consumers().await {
        let hash = bed.ask(Command::new("HGETALL").key(bed.keys.inflight(&cid))).await;
        let fields = hash.into_pairs().unwrap().into_iter();
        let fields = fields.map(|(name, value)| (name.into_bytes().unwrap(), value.into_bytes().unwrap()));
        all.extend(
            fields
                .filter(|(name, _)| name != "#")
                .map(|(name, value)| (Bytes::from([cid.as_bytes(), b"/", &name].concat()), value)),
        );
    }
    all
}

async fn server_ms(bed: &Bed) -> i64 {
    let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
    time[0].as_int().unwrap() * 1000 + time[1].as_int().unwrap() / 1000
}

async fn receive(receiver: &Receiver, count: usize, books: &Books) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(books.next(receiver).await);
    }
    deliveries
}

#[tokio::test]
async fn a_zombie_settles_nothing_and_works_on_under_a_new_name() {
    let bed = Bed::new("stopped").await;
    let (mut zombie, books, _) = holder(&bed, "hold", 10).await;
    let [first_life] = bed.consumers().await.try_into().unwrap();
    zombie.signal("STOP").await;
    let stopped_ms = server_ms(&bed).await;

    let heir = bed.receiver(settings()).await;
    let taken = receive(&heir, 10, &books).await;
    let recovery = Duration::from_millis((server_ms(&bed).await - stopped_ms).unsigned_abs());
    assert!(taken.iter().all(|delivery| delivery.crashes() == 1 && delivery.attempt() == 1), "{taken:?}");
    assert!(!bed.consumers().await.contains(&first_life), "reaped for good");
    let held = in_flight(&bed).await;
    assert_eq!(held.len(), 10);

    zombie.signal("CONT").await;
    zombie.tell("settle").await;
    assert_eq!(zombie.until("settled").await, vec!["LeaseLost"; 10]);
    assert_eq!(in_flight(&bed).await, held, "the heir's messages are as they were");
    let balance = books.balance(&[&bed]).await;
    balance.figures().recovery(recovery).publish();
    assert_eq!((balance.lost, balance.twice), (0, 10));

    for settled in join_all(taken.into_iter().map(Delivery::ack)).await {
        settled.unwrap();
    }
    bed.until_empty().await;
    let _ = heir.drain().await.unwrap();
    let [second_life] = bed.consumers().await.try_into().unwrap();
    assert_ne!(second_life, first_life);
    bed.push_numbers(1).await;
    assert_eq!(zombie.hear().await.unwrap(), "got 1 after 0");
    zombie.tell("settle").await;
    assert_eq!(zombie.until("settled").await, ["Ok"]);
    bed.until_empty().await;
    assert!(bed.dead().await.is_empty() && !zombie.has_ended());
}

#[tokio::test]
async fn settles_of_a_former_life_do_not_touch_the_messages_of_the_next() {
    let bed = Bed::new("stopped-twice").await;
    let (mut zombie, books, _) = holder(&bed, "hold", 10).await;
    zombie.signal("STOP").await;
    let heir = bed.receiver(settings()).await;
    for delivery in receive(&heir, 10, &books).await {
        books.ack(delivery).await;
    }
    let _ = heir.drain().await.unwrap();

    // In its second life the zombie counts its takes from one again: its old claims and its new ones share their names.
    let pushed = bed.push_numbers(10).await;
    books.sent(pushed.clone());
    zombie.signal("CONT").await;
    for (number, raw) in (1..=10).zip(&pushed) {
        assert_eq!(zombie.hear().await.unwrap(), format!("got {number} after 0"));
        books.handed(raw);
    }
    let held = in_flight(&bed).await;
    assert_eq!(held.len(), 10);
    zombie.tell("settle 10").await;
    assert_eq!(zombie.until("settled").await, vec!["LeaseLost"; 10]);
    assert_eq!(in_flight(&bed).await, held, "what it holds now is as it was");
    zombie.tell("settle").await;
    let settled = zombie.until("settled").await;
    settled.iter().zip(&pushed).filter(|(word, _)| *word == "Ok").for_each(|(_, raw)| books.finished(raw));
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 10), "what was held");
    assert_eq!(settled, vec!["Ok"; 10]);
}

#[tokio::test]
async fn handlers_of_a_former_life_are_dropped_and_blame_nobody() {
    let bed = Bed::new("stopped-serving").await;
    let (mut zombie, books, _) = holder(&bed, "serve", 10).await;
    zombie.signal("STOP").await;
    let heir = bed.receiver(settings()).await;
    let taken = receive(&heir, 10, &books).await;
    let _ = join_all(taken.into_iter().map(|delivery| books.try_ack(delivery))).await;
    let _ = heir.drain().await.unwrap();
    // It takes these under the same names as those it has to give up.
    let pushed = bed.push_numbers(10).await;
    books.sent(pushed.clone());
    zombie.signal("CONT").await;
    let mut lines = Vec::new();
    for _ in 0..20 {
        lines.push(zombie.hear().await.unwrap());
    }
    lines.sort_unstable();
    let expected = (1..=10).map(|number| format!("got {number} after 0"));
    let mut expected: Vec<String> = expected.chain(vec!["dropped".to_owned(); 10]).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected, "each handler of the former life is dropped, none of this one");
    books.handed_all(pushed);
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 10), "what was held");
    assert_eq!(in_flight(&bed).await.len(), 10);
    assert!(bed.dead().await.is_empty() && !zombie.has_ended());
}

#[tokio::test]
async fn without_anybody_to_reap_it_a_sleeper_gives_back_uncounted() {
    let bed = Bed::new("stopped-alone").await;
    let (mut sleeper, books, pushed) = holder(&bed, "hold", 10).await;
    let [first_life] = bed.consumers().await.try_into().unwrap();
    sleeper.signal("STOP").await;
    let deadline = bed.ask(Command::new("ZSCORE").key(bed.keys.consumers()).arg(first_life.as_str())).await;
    let deadline = deadline.as_double().unwrap();
    until("the end of its lease", async || {
        let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
        (time[0].as_int().unwrap() as f64 * 1000.0 > deadline).then_some(())
    })
    .await;
    sleeper.signal("CONT").await;
    for number in 1..=10 {
        assert_eq!(
            sleeper.hear().await.unwrap(),
            format!("got {number} after 0"),
            "in order, and nobody's crash"
        );
    }
    sleeper.tell("settle 10").await;
    assert_eq!(sleeper.until("settled").await, vec!["LeaseLost"; 10]);
    // Each of them was heard of once more.
    books.handed_all(pushed.clone());
    sleeper.tell("settle").await;
    let settled = sleeper.until("settled").await;
    settled.iter().zip(&pushed).filter(|(word, _)| *word == "Ok").for_each(|(_, raw)| books.finished(raw));
    assert_ne!(bed.consumers().await, [first_life]);
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 10), "what was held");
    assert_eq!(settled, vec!["Ok"; 10]);
}

/// The one that is stopped.
#[test]
fn consumer_process() {
    let Some(part) = Part::given() else { return };
    part.play(async |part| {
        let receiver = part.receiver(settings()).await;
        match part.role.as_str() {
            "hold" => hold(&receiver).await,
            _ => {
                let _ = receiver
                    .serve(async |message: Message| {
                        tell_got(&message);
                        let _tell = Tell;
                        std::future::pending::<()>().await;
                    })
                    .await;
            }
        }
    });
}

/// Holds what it receives until told to settle all of it, or the first so many.
async fn hold(receiver: &Receiver) {
    let mut held = Vec::new();
    let mut order = std::pin::pin!(heed());
    loop {
        tokio::select! {
            delivery = receiver.recv() => {
                let delivery = delivery.unwrap();
                tell_got(delivery.message());
                held.push(delivery);
            }
            line = &mut order => {
                let Some(line) = line else { return };
                order.set(heed());
                let count = line.split_once(' ').map_or(held.len(), |(_, count)| count.parse().unwrap());
                for settled in join_all(held.drain(..count).map(Delivery::ack)).await {
                    say(settled.map_or_else(|error| format!("{error:?}"), |()| "Ok".to_owned()));
                }
                say("settled");
            }
        }
    }
}

fn tell_got(message: &Message) {
    say(format_args!("got {} after {}", message.payload_as::<u32>().unwrap(), message.crashes()));
}

/// Tells when it is dropped.
struct Tell;

impl Drop for Tell {
    fn drop(&mut self) {
        say("dropped");
    }
}
