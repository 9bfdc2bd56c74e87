//! Everything at once: consumers killed, stopped beyond their lease and drained at random while messages of all lanes,
//! delayed ones, failing ones and postponed ones flow. In the end the books balance.
#![allow(clippy::unwrap_used)]

#[path = "support/child.rs"]
mod child;
#[path = "support/ledger.rs"]
mod ledger;
mod support;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;
use valkey_connection::Command;
use valkey_envelope::{Envelope, Lane};
use valkey_receiver::{Message, Outcome, ReceiverSettings};
use valkey_testkit::{Figures, progress};

use child::{Part, Process, heed, say};
use ledger::Ledger;
use support::{Bed, until};

const COUNT: u32 = 5_000;
/// With `VALKIT_LONG=1`.
const LONG_COUNT: u32 = 50_000;
const PROCESSES: usize = 3;
const LEASE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Drain,
    /// For so many tenths of the lease.
    Stop(u32),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_consumers_the_books_balance() {
    let seed =
        std::env::var("VALKIT_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("storm: VALKIT_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bed = Arc::new(Bed::new("storm").await);
    let (ledger, stop) = (Ledger::default(), CancellationToken::new());
    let posts: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(post(Arc::clone(&bed), ledger.clone(), stop.clone(), random))
        })
        .collect();
    let count = if valkey_testkit::is_long() { LONG_COUNT } else { COUNT };
    for number in 1..=count {
        push(&bed, number).await;
        if number.is_multiple_of(5_000) {
            progress(format_args!("{number} of {count} messages sent"));
        }
        if number.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    stop.cancel();
    let mut blows = 0;
    for post in posts {
        blows += post.await.unwrap();
    }
    // What the last blows left in flight.
    let receiver = bed.receiver(settings()).await;
    let end = receiver.handle();
    let books = ledger.clone();
    let handler = move |message: Message| {
        let books = books.clone();
        async move { handle(&message, |line| books.read(&line)).await }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    bed.until_empty().await;
    until("the end of the last leases", async || (bed.consumers().await.len() == 1).then_some(())).await;
    end.drain();
    let _ = service.await.unwrap().unwrap();

    let (lost, twice) = (ledger.lost(count).len() as u64, ledger.duplicates());
    let figures = Figures::new().sent(count.into()).lost(lost).twice(twice.into());
    figures.note(format!("{blows} blows, seed {seed}")).publish();
    assert!(blows >= 10, "{blows} blows are no storm");
    assert!(bed.dead().await.is_empty(), "{:?}", bed.dead().await);
    assert_eq!(bed.consumers().await, Vec::<String>::new());
    let left = bed.server.cli(&["KEYS", &format!("{}*", bed.keys.tag())]).await.unwrap();
    let left: Vec<&str> =
        left.lines().filter(|key| !key.contains(":stats:") && *key != bed.keys.control()).collect();
    assert_eq!(left, Vec::<&str>::new());
}

/// Spreads the numbers over the places where a message can come in.
async fn push(bed: &Bed, number: u32) {
    let raw = Envelope::new(&number).unwrap().encode().unwrap();
    let lane = [Lane::High, Lane::Normal, Lane::Normal, Lane::Low][number as usize % 4];
    if number.is_multiple_of(5) {
        // Due half a second after some instant of this test.
        let due = bed.ask(Command::new("TIME")).await.into_array().unwrap()[0].as_int().unwrap() * 1000 + 500;
        let member = [format!("{number}|0|0|{}|", lane.as_char()).as_bytes(), &raw].concat();
        bed.ask(Command::new("ZADD").key(bed.keys.delayed()).arg(due).arg(member)).await;
    } else {
        bed.ask(Command::new("LPUSH").key(bed.keys.lane(lane)).arg(raw)).await;
    }
}

/// Keeps one process going and does things to it. How many.
async fn post(bed: Arc<Bed>, ledger: Ledger, stop: CancellationToken, mut random: StdRng) -> u32 {
    let mut blows = 0;
    loop {
        let mut process = Process::spawn(&bed, "storm");
        let blow = *[Blow::Kill, Blow::Drain, Blow::Stop(5), Blow::Stop(12), Blow::Stop(15)]
            .choose(&mut random)
            .unwrap();
        let wait = Duration::from_millis(random.random_range(50..900));
        if hear(&mut process, &ledger, wait, &stop).await {
            blows += 1;
            match blow {
                Blow::Kill => process.signal("KILL").await,
                Blow::Drain => process.tell("drain").await,
                Blow::Stop(tenths) => {
                    process.signal("STOP").await;
                    tokio::time::sleep(LEASE * tenths / 10).await;
                    process.signal("CONT").await;
                    let wait = Duration::from_millis(random.random_range(0..300));
                    hear(&mut process, &ledger, wait, &stop).await;
                    process.signal("KILL").await;
                }
            }
        } else {
            process.tell("drain").await;
        }
        while let Some(line) = process.hear().await {
            ledger.read(&line);
        }
        process.end().await;
        if stop.is_cancelled() {
            return blows;
        }
    }
}

/// Listens for this long; `false` if it is time to stop.
async fn hear(process: &mut Process, ledger: &Ledger, long: Duration, stop: &CancellationToken) -> bool {
    let deadline = tokio::time::Instant::now() + long;
    loop {
        tokio::select! {
            line = process.hear() => ledger.read(&line.expect("it lives")),
            () = tokio::time::sleep_until(deadline) => return true,
            () = stop.cancelled() => return false,
        }
    }
}

fn settings() -> ReceiverSettings {
    // Here nobody is to be condemned: whoever dies was killed from outside.
    ReceiverSettings::default().lease(LEASE).max_crashes(1000.try_into().unwrap())
}

/// Some fail at first, some put it off.
async fn handle(message: &Message, tell: impl Fn(String)) -> Outcome {
    let number: u32 = message.payload_as().unwrap();
    tell(format!("handed {number} {}", message.crashes()));
    tokio::time::sleep(Duration::from_millis(u64::from(number % 3))).await;
    if number.is_multiple_of(7) && message.attempt() == 1 {
        return Outcome::nack("not yet").retry_after(Duration::from_millis(30));
    }
    if number.is_multiple_of(11) && rand::random() {
        return Outcome::snooze(Duration::from_millis(10));
    }
    tell(format!("done {number}"));
    Outcome::ack()
}

#[test]
fn consumer_process() {
    let Some(part) = Part::given() else { return };
    part.play(async |part| {
        let service =
            part.receiver(settings()).await.serve(async |message: Message| handle(&message, say).await);
        let report = service.with_graceful_shutdown(async { drop(heed().await) }).await.unwrap();
        say(report);
    });
}
