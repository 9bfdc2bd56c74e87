//! Messages that take their consumer's process down with them, among a thousand good ones: exactly they end among the
//! dead letters, after a few crashes, and nothing else suffers.
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

use child::{Assassin, Part, Process, heed, say};
use ledger::Ledger;
use support::{Bed, until};

const GOOD: u32 = 1000;
/// Payloads above this are poison.
const POISON: u32 = 1_000_000;
const PROCESSES: usize = 2;

fn settings() -> ReceiverSettings {
    ReceiverSettings::default().lease(Duration::from_secs(1))
}

#[tokio::test]
async fn one_poison_message_is_the_only_one_to_die() {
    let outcome = serve("abort", &[POISON + 1]).await;
    assert_eq!(outcome.poisoned, [POISON + 1]);
    // Twice in a crowd, once among a few, once alone; a crowd that had been settled already saves one.
    assert!((3..=4).contains(&outcome.deaths), "{} processes died of it", outcome.deaths);
}

#[tokio::test]
async fn a_poison_that_kills_dies_like_one_that_aborts() {
    let outcome = serve("kill", &[POISON + 1]).await;
    assert_eq!(outcome.poisoned, [POISON + 1]);
    assert!((3..=4).contains(&outcome.deaths), "{} processes died of it", outcome.deaths);
}

#[tokio::test]
async fn two_poison_messages_die_and_condemn_nobody_else() {
    let outcome = serve("abort", &[POISON + 1, POISON + 2]).await;
    assert_eq!(outcome.poisoned, [POISON + 1, POISON + 2]);
    assert!((3..=8).contains(&outcome.deaths), "{} processes died of them", outcome.deaths);
}

struct Outcome {
    poisoned: Vec<u32>,
    deaths: usize,
}

/// Serves a thousand good messages and these until all are finished or dead, replacing each process that dies.
async fn serve(role: &str, poisons: &[u32]) -> Outcome {
    let bed = Arc::new(Bed::new("poison").await);
    for number in 1..=GOOD {
        bed.push(&Envelope::new(&number).unwrap()).await;
        if number % 300 == 0
            && let Some(poison) = poisons.get(number as usize / 300 - 1)
        {
            bed.push(&Envelope::new(poison).unwrap()).await;
        }
    }
    let (ledger, stop, deaths) = (Ledger::default(), CancellationToken::new(), Arc::default());
    let posts: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let post =
                post(Arc::clone(&bed), role.to_owned(), ledger.clone(), stop.clone(), Arc::clone(&deaths));
            tokio::spawn(post)
        })
        .collect();
    until("all of them", async || {
        (ledger.finished() == GOOD as usize && bed.dead().await.len() >= poisons.len()).then_some(())
    })
    .await;
    bed.until_empty().await;
    stop.cancel();
    for post in posts {
        post.await.unwrap();
    }

    assert_eq!(ledger.lost(GOOD), Vec::<u32>::new());
    assert_eq!(bed.held_anywhere().await, 0);
    assert_eq!(bed.consumers().await, Vec::<String>::new());
    let dead = bed.dead().await;
    for DeadBody { meta, .. } in &dead {
        assert_eq!(meta.reason, DeadReason::Crashed);
        assert_eq!(meta.attempts, 0, "a crash is no failed attempt");
        assert!(meta.crashes >= 3, "{meta:?}");
    }
    let poisoned: BTreeSet<u32> =
        dead.iter().map(|dead| Envelope::decode(&dead.raw).unwrap().payload_as().unwrap()).collect();
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
    part.play(async |part| {
        let assassin = Arc::new(Mutex::new(Assassin::hire()));
        let kills = part.role == "kill";
        let handler = move |message: Message| {
            let number: u32 = message.payload_as().unwrap();
            if number > POISON && kills {
                assassin.lock().unwrap().strike();
            } else if number > POISON {
                std::process::abort();
            }
            say(format_args!("done {number}"));
            async {}
        };
        let service = part.receiver(settings()).await.serve(handler);
        let report = service.with_graceful_shutdown(async { drop(heed().await) }).await.unwrap();
        assert!(report.is_clean(), "{report}");
    });
}
