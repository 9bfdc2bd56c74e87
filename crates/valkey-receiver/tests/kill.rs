//! Consumers killed by `SIGKILL` at each step of their work, against a ledger: nothing is lost, what was in flight
//! comes again within a lease and a second, and only that.
#![allow(clippy::unwrap_used)]

#[path = "support/child.rs"]
mod child;
#[path = "support/ledger.rs"]
mod ledger;
mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use valkey_connection::Command;
use valkey_envelope::{Envelope, InFlight};
use valkey_receiver::{Batch, DrainReport, Message, Receiver, ReceiverHandle, ReceiverSettings};
use valkey_testkit::{Figures, progress};

use child::{Assassin, Part, Process, heed, say};
use ledger::Ledger;
use support::{Bed, soon, until};

const ROUNDS: u32 = 20;
/// In each round.
const COUNT: u32 = 10_000;
/// With `VALKIT_LONG=1`: a million in all.
const LONG_COUNT: u32 = 50_000;
const LEASE: Duration = Duration::from_secs(2);
/// What recovery may take beyond the lease. It is counted from when the death is known here, about 1 ms after it, and
/// looked for every 10 ms.
const SLACK: Duration = Duration::from_secs(1);
/// What one take claims.
const BATCH: usize = 64;
/// Where a victim dies: having claimed, before any handler; in a handler; in a handler that has done its work; with
/// settles on their way; in the middle of a batch; wherever the parent strikes.
const STEPS: [&str; 6] = ["claimed", "handling", "handled", "settling", "batch", "struck"];

fn settings() -> ReceiverSettings {
    ReceiverSettings::default().lease(LEASE)
}

/// A consumer that was killed.
struct Victim {
    cid: String,
    /// On the server's clock.
    killed_ms: i64,
    held: BTreeSet<u32>,
}

/// What one way to die came to.
#[derive(Clone, Copy, Debug, Default)]
struct Toll {
    held: usize,
    duplicates: u32,
    slowest_ms: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_killed_at_each_step_lose_nothing() {
    let count = if valkey_testkit::is_long() { LONG_COUNT } else { COUNT };
    let mut tolls = [Toll::default(); STEPS.len()];
    for number in 0..ROUNDS {
        if number.is_multiple_of(5) {
            progress(format_args!("{number} of {ROUNDS} rounds of {count} messages"));
        }
        round(number, count, &mut tolls).await;
    }
    for (step, Toll { held, duplicates, slowest_ms }) in STEPS.iter().zip(tolls) {
        let figures = Figures::case(*step).twice(duplicates.into());
        let figures = figures.recovery(Duration::from_millis(slowest_ms.unsigned_abs()));
        figures.note(format!("{ROUNDS} kills, {held} in flight")).publish();
    }
}

/// What is lost is told whatever becomes of the round; the rest is told when all rounds are over.
async fn round(number: u32, count: u32, tolls: &mut [Toll; STEPS.len()]) {
    let bed = Bed::new("kill").await;
    push(&bed, count).await;
    let ledger = Ledger::default();

    let mut processes: Vec<_> =
        STEPS.iter().map(|step| Process::spawn(&bed, &format!("{step} {number}"))).collect();
    let mut victims: Vec<Victim> = Vec::new();
    for (process, step) in processes.iter_mut().zip(STEPS) {
        process.until("ready").await;
        process.tell("go").await;
        victims.push(kill(&bed, process, step, number, &ledger, &victims).await);
    }
    let survivors = [survivor(&bed, &ledger).await, survivor(&bed, &ledger).await];

    for (Victim { cid, killed_ms, held }, toll) in victims.iter().zip(tolls.iter_mut()) {
        let inflight = bed.keys.inflight(cid);
        let recovered_ms = until("recovery", async || {
            let gone = bed.ask(Command::new("EXISTS").key(inflight.as_str())).await.as_int().unwrap() == 0;
            if gone && held.is_subset(&ledger.reclaimed()) { Some(server_ms(&bed).await) } else { None }
        })
        .await;
        let took = recovered_ms - killed_ms;
        assert!(took <= (LEASE + SLACK).as_millis() as i64, "round {number}: recovered after {took} ms");
        toll.slowest_ms = toll.slowest_ms.max(took);
        toll.held += held.len();
    }
    bed.until_empty().await;
    for (stop, service) in survivors {
        stop.drain();
        let report = soon("the end", service).await.unwrap();
        assert!(report.is_clean(), "round {number}: {report}");
    }

    let lost = ledger.lost(count);
    Figures::new().sent(count.into()).lost(lost.len() as u64).publish();
    assert_eq!(lost, Vec::<u32>::new(), "round {number}: lost");
    let held: BTreeSet<u32> = victims.iter().flat_map(|victim| victim.held.iter().copied()).collect();
    assert_eq!(ledger.reclaimed(), held, "round {number}: exactly what was in flight at a kill comes again");
    assert_eq!(ledger.most_crashes(), 1, "round {number}: each message saw one kill");
    assert_eq!(ledger.handed_out_twice(), Vec::<u32>::new(), "round {number}");
    let duplicates = ledger.duplicates();
    assert!(duplicates as usize <= held.len(), "round {number}: {duplicates}");
    for (victim, toll) in victims.iter().zip(tolls) {
        toll.duplicates += ledger.duplicates_among(&victim.held);
    }
    let left = bed.server.cli(&["KEYS", &format!("{}*", bed.keys.tag())]).await.unwrap();
    let left: Vec<&str> =
        left.lines().filter(|key| !key.contains(":stats:") && *key != bed.keys.control()).collect();
    assert_eq!(left, Vec::<&str>::new(), "round {number}: nothing dead, in flight or waiting is left");
}

async fn push(bed: &Bed, count: u32) {
    let all: Vec<u32> = (1..=count).collect();
    for some in all.chunks(500) {
        let raw = some.iter().map(|number| Envelope::new(number).unwrap().encode().unwrap());
        bed.ask(Command::new("LPUSH").key(bed.keys.public()).args(raw)).await;
    }
}

/// Sees a victim to its end, and reads what it held then.
async fn kill(
    bed: &Bed,
    process: &mut Process,
    step: &str,
    number: u32,
    ledger: &Ledger,
    before: &[Victim],
) -> Victim {
    if step == "struck" {
        process.until("working").await.iter().for_each(|line| ledger.read(line));
        tokio::time::sleep(Duration::from_micros(u64::from(number) * 700)).await;
        process.signal("KILL").await;
    }
    let status = process.end().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}: {status}");
    let killed_ms = server_ms(bed).await;
    while let Some(line) = process.hear().await {
        ledger.read(&line);
    }
    let mut cids = bed.consumers().await;
    cids.retain(|cid| before.iter().all(|victim| victim.cid != *cid));
    let [cid] = cids.try_into().expect("one new consumer");
    let held = bed.ask(Command::new("HGETALL").key(bed.keys.inflight(&cid))).await.into_pairs().unwrap();
    let held: BTreeSet<u32> = held
        .into_iter()
        .filter_map(|(field, value)| {
            InFlight::of_field(&field.into_bytes().unwrap(), value.into_bytes().unwrap())
        })
        .map(|claim| Envelope::decode(&claim.frame.raw).unwrap().payload_as().unwrap())
        .collect();
    if step == "claimed" {
        assert!(held.len() >= BATCH, "a victim claims before it dies");
    }
    Victim { cid, killed_ms, held }
}

async fn server_ms(bed: &Bed) -> i64 {
    let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
    time[0].as_int().unwrap() * 1000 + time[1].as_int().unwrap() / 1000
}

async fn survivor(bed: &Bed, ledger: &Ledger) -> (ReceiverHandle, JoinHandle<DrainReport>) {
    let receiver = bed.receiver(settings()).await;
    let (stop, ledger) = (receiver.handle(), ledger.clone());
    let handler = move |message: Message| {
        let number = message.payload_as().unwrap();
        ledger.handed_out(number, message.crashes());
        ledger.done(number);
        async {}
    };
    (stop, tokio::spawn(async move { receiver.serve(handler).await.unwrap() }))
}

/// The victims.
#[test]
fn consumer_process() {
    let Some(part) = Part::given() else { return };
    part.play(async |part| {
        let (step, number) = part.role.split_once(' ').unwrap();
        let number: u32 = number.parse().unwrap();
        let assassin = Arc::new(Mutex::new(Assassin::hire()));
        say("ready");
        heed().await;
        let receiver = part.receiver(settings()).await;
        match step {
            "claimed" => {
                let _first = receiver.recv().await;
                assassin.lock().unwrap().strike();
            }
            "settling" => die_settling(&receiver, number, &assassin).await,
            "batch" => {
                let batch = Batch::new(move |messages: Vec<Message>| {
                    messages.iter().for_each(hand_out);
                    messages.iter().take(messages.len() / 2).for_each(done);
                    assassin.lock().unwrap().strike();
                    #[allow(unreachable_code, reason = "it gives the handler its type")]
                    async {}
                });
                let _ = receiver.serve(batch.max_size(16)).await;
            }
            step => {
                let step = step.to_owned();
                let count = Arc::new(Mutex::new(0));
                let handler = move |message: Message| {
                    let last = {
                        let mut count = count.lock().unwrap();
                        *count += 1;
                        *count > number && step != "struck"
                    };
                    hand_out(&message);
                    if last && step == "handling" {
                        assassin.lock().unwrap().strike();
                    }
                    done(&message);
                    if last {
                        assassin.lock().unwrap().strike();
                    }
                    say("working");
                    tokio::time::sleep(Duration::from_millis(1))
                };
                let _ = receiver.serve(handler).await;
            }
        }
    });
}

/// Settles some, and dies while that is on its way.
async fn die_settling(receiver: &Receiver, number: u32, assassin: &Mutex<Assassin>) {
    let mut deliveries = Vec::new();
    for _ in 0..=number {
        let delivery = receiver.recv().await.unwrap();
        hand_out(delivery.message());
        done(delivery.message());
        deliveries.push(delivery);
    }
    for delivery in deliveries {
        tokio::spawn(delivery.ack());
    }
    // 0 to 3 ms: before, while and after the take that carries them is on its way.
    std::thread::sleep(Duration::from_micros(150 * u64::from(number)));
    assassin.lock().unwrap().strike();
}

fn hand_out(message: &Message) {
    say(format_args!("handed {} {}", message.payload_as::<u32>().unwrap(), message.crashes()));
}

fn done(message: &Message) {
    say(format_args!("done {}", message.payload_as::<u32>().unwrap()));
}
