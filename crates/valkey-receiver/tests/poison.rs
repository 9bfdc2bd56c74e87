//! Messages that are bad for their consumer, among many good ones: they take its process down, never end, or hold up its
//! threads. Exactly they end among the dead letters, each for its reason, and nothing else suffers.
#![allow(clippy::unwrap_used)]

#[path = "support/child.rs"]
mod child;
#[path = "support/ledger.rs"]
mod ledger;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use valkey_envelope::{DeadBody, DeadReason, Envelope};
use valkey_receiver::{Message, ReceiverSettings};
use valkey_testkit::Figures;

use child::{Assassin, Part, Process, Threads, heed, say};
use ledger::Ledger;
use support::Bed;

const GOOD: u32 = 1000;
const FEW: u32 = 300;
/// Ways to die that leave the process as it was: the message fails, again and again.
const SURVIVED: [&str; 3] = ["panic", "pending", "block"];
const RETRIES: u32 = 2;
/// Payloads above this are poison.
const POISON: u32 = 1_000_000;
const PROCESSES: usize = 2;

fn settings() -> ReceiverSettings {
    let settings = ReceiverSettings::default().lease(Duration::from_secs(1)).max_retries(RETRIES);
    settings.retry_delay(Duration::from_millis(20)).processing_timeout(Duration::from_millis(500))
}

#[tokio::test]
async fn one_poison_message_is_the_only_one_to_die() {
    let outcome = serve("abort", &[POISON + 1], GOOD).await;
    assert_eq!(outcome.poisoned, [POISON + 1]);
    // Twice in a crowd, once among a few, once alone; a crowd that had been settled already saves one.
    assert!((3..=4).contains(&outcome.deaths), "{} processes died of it", outcome.deaths);
}

#[tokio::test]
async fn a_poison_that_kills_dies_like_one_that_aborts() {
    let outcome = serve("kill", &[POISON + 1], GOOD).await;
    assert_eq!(outcome.poisoned, [POISON + 1]);
    assert!((3..=4).contains(&outcome.deaths), "{} processes died of it", outcome.deaths);
}

#[tokio::test]
async fn two_poison_messages_die_and_condemn_nobody_else() {
    let outcome = serve("abort", &[POISON + 1, POISON + 2], GOOD).await;
    assert_eq!(outcome.poisoned, [POISON + 1, POISON + 2]);
    assert!((3..=8).contains(&outcome.deaths), "{} processes died of them", outcome.deaths);
}

#[tokio::test]
async fn whichever_way_a_process_dies_of_it_only_the_poison_is_condemned() {
    for way in ["overflow", "memory", "exit"] {
        let outcome = serve(way, &[POISON + 1], FEW).await;
        assert_eq!(outcome.poisoned, [POISON + 1], "{way}");
        assert!((3..=4).contains(&outcome.deaths), "{way}: {} processes died of it", outcome.deaths);
    }
}

#[tokio::test]
async fn a_poison_that_panics_or_never_ends_costs_its_attempts_and_no_process() {
    for way in ["panic", "pending"] {
        let outcome = serve(way, &[POISON + 1, POISON + 2], FEW).await;
        assert_eq!((outcome.poisoned, outcome.deaths), (vec![POISON + 1, POISON + 2], 0), "{way}");
    }
}

#[tokio::test]
async fn a_poison_that_blocks_the_only_thread_costs_time_and_nobody_his_message() {
    // Beyond the lease at each attempt, on a runtime of one thread, which then waits for ever.
    let outcome = serve("block", &[POISON + 1], FEW).await;
    assert_eq!((outcome.poisoned, outcome.deaths), (vec![POISON + 1], 0));
}

struct Outcome {
    poisoned: Vec<u32>,
    deaths: usize,
}

/// Serves so many good messages and these until all are finished or dead, replacing each process that dies.
async fn serve(role: &str, poisons: &[u32], good: u32) -> Outcome {
    let bed = Arc::new(Bed::new("poison").await);
    for number in 1..=good {
        bed.push(&Envelope::new(&number).unwrap()).await;
        if number % (good / 3) == 0
            && let Some(poison) = poisons.get((number / (good / 3)) as usize - 1)
        {
            bed.push(&Envelope::new(poison).unwrap()).await;
        }
    }
    let (ledger, stop) = (Ledger::default(), CancellationToken::new());
    let deaths: Arc<AtomicUsize> = Arc::default();
    let posts: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let post =
                post(Arc::clone(&bed), role.to_owned(), ledger.clone(), stop.clone(), Arc::clone(&deaths));
            tokio::spawn(post)
        })
        .collect();
    bed.until_empty().await;
    stop.cancel();
    for post in posts {
        post.await.unwrap();
    }

    let sent = u64::from(good) + poisons.len() as u64;
    let dead = bed.dead().await;
    let poisoned: BTreeSet<u32> =
        dead.iter().map(|dead| Envelope::decode(&dead.raw).unwrap().payload_as().unwrap()).collect();
    let mut lost = ledger.lost(good);
    lost.retain(|number| !poisoned.contains(number));
    lost.extend(poisons.iter().filter(|poison| !poisoned.contains(poison)));
    let twice = ledger.handed_out_more_than_once().len() as u64;
    let figures = Figures::case(role).sent(sent).lost(lost.len() as u64).twice(twice);
    figures.note(format!("{} processes died", deaths.load(Ordering::SeqCst))).publish();
    assert_eq!(lost, Vec::<u32>::new());
    assert_eq!(bed.held_anywhere().await, 0);
    assert_eq!(bed.consumers().await, Vec::<String>::new());
    for DeadBody { meta, .. } in &dead {
        if SURVIVED.contains(&role) {
            assert_eq!((&meta.reason, meta.crashes), (&DeadReason::MaxAttempts, 0), "{meta:?}");
            assert_eq!(meta.attempts, RETRIES + 1, "{meta:?}");
            continue;
        }
        assert_eq!(meta.reason, DeadReason::Crashed);
        assert_eq!(meta.attempts, 0, "a crash is no failed attempt");
        assert!(meta.crashes >= 3, "{meta:?}");
    }
    assert_eq!(poisoned.len(), dead.len(), "each died once");
    Outcome { poisoned: poisoned.into_iter().collect(), deaths: deaths.load(Ordering::SeqCst) }
}

/// Sees to it that there is a process, until told to stop.
async fn post(
    bed: Arc<Bed>,
    role: String,
    ledger: Ledger,
    stop: CancellationToken,
    deaths: Arc<AtomicUsize>,
) {
    loop {
        let mut process = Process::spawn(&bed, &role);
        let stopped = loop {
            tokio::select! {
                line = process.hear() => match line {
                    Some(line) => ledger.read(&line),
                    None => break false,
                },
                () = stop.cancelled() => break true,
            }
        };
        if stopped {
            process.tell("drain").await;
            while let Some(line) = process.hear().await {
                ledger.read(&line);
            }
            assert!(process.end().await.success());
            return;
        }
        assert!(!process.end().await.success());
        deaths.fetch_add(1, Ordering::SeqCst);
    }
}

/// The one that dies of poison.
#[test]
fn consumer_process() {
    let Some(part) = Part::given() else { return };
    let threads = if part.role == "block" { Threads::One } else { Threads::Two };
    part.play_on(threads, async |part| {
        let assassin = Arc::new(Mutex::new(Assassin::hire()));
        let way = part.role.clone();
        let handler = move |message: Message| {
            let number: u32 = message.payload_as().unwrap();
            say(format_args!("handed {number} {}", message.crashes()));
            let poison = (number > POISON).then(|| way.clone());
            if poison.as_deref() == Some("kill") {
                assassin.lock().unwrap().strike();
            }
            async move {
                if let Some(way) = poison {
                    suffer(&way).await;
                }
                say(format_args!("done {number}"));
            }
        };
        let service = part.receiver(settings()).await.serve(handler);
        let report = service.with_graceful_shutdown(async { drop(heed().await) }).await.unwrap();
        assert!(report.is_clean(), "{report}");
    });
}

/// What a poison does to its consumer.
async fn suffer(way: &str) {
    match way {
        "abort" => std::process::abort(),
        "exit" => exit(),
        "overflow" => drop(sink(0)),
        // What no allocator gives ends the process.
        "memory" => drop(Vec::<u8>::with_capacity(1 << 62)),
        "panic" => panic!("the poison"),
        "pending" => std::future::pending().await,
        "block" => {
            std::thread::sleep(settings().lease * 3 / 2);
            std::future::pending::<()>().await;
        }
        other => panic!("no poison is called {other}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "that is the poison")]
fn exit() -> ! {
    std::process::exit(1)
}

/// Goes down until the stack is used up.
#[expect(unconditional_recursion, reason = "that is the poison")]
fn sink(depth: u64) -> [u64; 64] {
    let below = sink(std::hint::black_box(depth + 1));
    std::hint::black_box([below[0] + depth; 64])
}
