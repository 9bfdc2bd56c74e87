//! Consumers killed at each step around an effect, again and again; then each effect is counted.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use valkey_connection::Command;
use valkey_envelope::Envelope;
use valkey_receiver::inbox::OnDoubt;
use valkey_testkit::Figures;

use crate::child::Process;
use crate::consumer::{Effects, Kind, STEPS, serve};
use crate::store::FileStore;
use crate::support::Bed;

/// Consumers at a time.
const POSTS: usize = 4;

/// What a run of the whole left behind.
struct Aftermath {
    effects: Effects,
    kills: usize,
    /// Messages that were handed out although a consumer had died with them.
    dead: BTreeSet<u32>,
    took: Duration,
}

/// Ten times as many where there is time.
fn scaled(count: u32) -> u32 {
    if valkey_testkit::is_long() { count * 10 } else { count }
}

async fn push(bed: &Bed, count: u32) {
    let all: Vec<u32> = (1..=count).collect();
    for some in all.chunks(500) {
        let raw = some.iter().map(|number| Envelope::new(number).unwrap().encode().unwrap());
        bed.ask(Command::new("LPUSH").key(bed.keys.public()).args(raw)).await;
    }
}

/// Lets consumers handle `count` messages while they are killed at each of `steps`, `rounds` times at each; the rest is
/// done by one that lives.
async fn kill_around(kind: Kind, count: u32, rounds: u32, steps: &'static [&'static str]) -> Aftermath {
    let seed =
        std::env::var("VALKIT_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("inbox kills {kind:?}: VALKIT_TEST_SEED={seed}");
    let bed = Arc::new(Bed::new("inbox").await);
    push(&bed, count).await;
    let started = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let mut deaths: Vec<(&'static str, u32, u64)> = Vec::new();
    for _ in 0..rounds {
        deaths
            .extend(steps.iter().map(|step| (*step, random.random_range(1..25), random.random_range(0..40))));
    }
    let kills = deaths.len();
    let mut posts = Vec::new();
    for some in deaths.chunks(kills.div_ceil(POSTS)) {
        let (bed, kind, some) = (Arc::clone(&bed), kind.clone(), some.to_vec());
        posts.push(tokio::spawn(async move {
            for (step, at, delay) in some {
                let mut process = Process::spawn(&bed, &kind.role(step, at));
                process.until("ready").await;
                process.tell("go").await;
                if step == "struck" {
                    process.until("working").await;
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    process.signal("KILL").await;
                }
                let status = process.end().await;
                assert_eq!(status.signal(), Some(9), "{step}: {status}");
            }
        }));
    }
    for post in posts {
        post.await.unwrap();
    }
    let last = serve(&bed, &kind).await;
    bed.until_empty().await;
    last.drain();
    let dead = bed.dead().await;
    for body in &dead {
        assert_eq!(body.meta.reason.as_str(), "in_doubt", "{body:?}");
    }
    let number = |raw: &[u8]| Envelope::decode(raw).unwrap().payload_as::<u32>().unwrap();
    let dead: BTreeSet<u32> = dead.iter().map(|body| number(&body.raw)).collect();
    let effects = Effects::new(&bed.connection, &bed.keys);
    Aftermath { effects, kills, dead, took: started.elapsed() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_to_valkey_happen_once_whoever_dies() {
    let (count, rounds) = (scaled(5000), scaled(10));
    let after = kill_around(Kind::Apply, count, rounds, &["before", "marked", "struck"]).await;
    let happened = after.effects.happened().await;
    let begun = after.effects.begun().await;
    let again: u32 = begun.values().map(|times| times - 1).sum();
    let lost = (1..=count).filter(|number| !happened.contains_key(number)).count();
    let twice = happened.values().filter(|times| **times > 1).count();
    Figures::case(format!("apply, {} kills", after.kills))
        .sent(count.into())
        .lost(lost as u64)
        .twice(twice as u64)
        .note(format!("effects twice; handlers called again {again} times"))
        .publish();
    eprintln!("apply: {count} messages, {} kills, called again {again}, took {:?}", after.kills, after.took);
    assert_eq!((lost, twice, happened.len()), (0, 0, count as usize));
    assert!(again >= after.kills as u32 / 4, "{again}: what no handler saw twice proves nothing");
    assert_eq!(after.dead, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_elsewhere_happens_at_most_once_where_doubt_is_a_dead_letter() {
    let (count, rounds) = (scaled(2000), scaled(6));
    let after = kill_around(Kind::Guard(OnDoubt::DeadLetter), count, rounds, &STEPS).await;
    let (begun, happened) = (after.effects.begun().await, after.effects.happened().await);
    let lost: Vec<u32> =
        (1..=count).filter(|number| !happened.contains_key(number) && !after.dead.contains(number)).collect();
    let twice = happened.values().filter(|times| **times > 1).count();
    let in_vain = after.dead.iter().filter(|number| happened.contains_key(number)).count();
    Figures::case(format!("guard with DeadLetter, {} kills", after.kills))
        .sent(count.into())
        .lost(lost.len() as u64)
        .twice(twice as u64)
        .note(format!(
            "effects twice; {} dead letters in doubt, of {in_vain} the effect had happened",
            after.dead.len()
        ))
        .publish();
    eprintln!(
        "guard, dead letter: {count} messages, {} kills, in doubt {}, of which happened {in_vain}, took {:?}",
        after.kills,
        after.dead.len(),
        after.took
    );
    assert_eq!(lost, Vec::<u32>::new());
    assert_eq!(twice, 0);
    assert_eq!(begun.values().copied().max(), Some(1), "no run ever begins a second time");
    assert_eq!(after.effects.overlaps().await.len(), 0);
    // Half of the kills strike in a handler; each leaves at least the one that it struck.
    assert!(after.dead.len() >= after.kills / 2, "{}", after.dead.len());
    assert!(
        in_vain >= rounds as usize && after.dead.len() - in_vain >= rounds as usize,
        "both sides of the instant"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_elsewhere_happens_at_least_once_where_doubt_is_run_again() {
    let (count, rounds) = (scaled(2000), scaled(6));
    let after = kill_around(Kind::Guard(OnDoubt::RunAgain), count, rounds, &STEPS).await;
    let (begun, happened) = (after.effects.begun().await, after.effects.happened().await);
    let lost = (1..=count).filter(|number| !happened.contains_key(number)).count();
    let twice: Vec<u32> =
        happened.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    Figures::case(format!("guard with RunAgain, {} kills", after.kills))
        .sent(count.into())
        .lost(lost as u64)
        .twice(twice.len() as u64)
        .note("effects twice: their process died between the effect and its mark")
        .publish();
    eprintln!(
        "guard, run again: {count} messages, {} kills, effects twice {}, took {:?}",
        after.kills,
        twice.len(),
        after.took
    );
    assert_eq!(lost, 0);
    assert_eq!(after.effects.overlaps().await.len(), 0, "never two at a time");
    assert!(twice.iter().all(|number| begun[number] > 1), "only a run that ended without a word is repeated");
    // Each kill behind the effect doubles one for certain.
    assert!(twice.len() >= rounds as usize, "{}", twice.len());
    assert_eq!(after.dead, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_in_a_transaction_happen_once_whoever_dies() {
    let (count, rounds) = (scaled(1000), scaled(6));
    let file = std::env::temp_dir().join(format!("{}.txt", valkey_testkit::unique_name("inbox")));
    let after = kill_around(Kind::Transaction(file.clone()), count, rounds, &STEPS).await;
    let mut effects = FileStore::new(file.clone()).effects();
    std::fs::remove_file(file).unwrap();
    let all = effects.len();
    effects.sort_unstable();
    effects.dedup();
    let (lost, twice) = (count as usize - effects.len(), all - effects.len());
    Figures::case(format!("transaction, {} kills", after.kills))
        .sent(count.into())
        .lost(lost as u64)
        .twice(twice as u64)
        .note("effects twice")
        .publish();
    eprintln!("transaction: {count} messages, {} kills, took {:?}", after.kills, after.took);
    assert_eq!((lost, twice), (0, 0));
    assert_eq!(after.dead, BTreeSet::new());
}
