//! The scripts held against a model: random sequences of everything that consumers, producers, operators, time and the
//! server can do, on both at once, all keys and all answers compared after each step.
//!
//! To learn what the queue does, read `queue.rs` and the files in `queue`.
#![allow(clippy::unwrap_used)]
#![allow(clippy::cast_sign_loss, reason = "settings and times that are floats here are not negative")]

mod call;
mod clock;
mod image;
mod ledger;
mod lua;
mod mutants;
mod op;
mod play;
mod queue;
mod scenes;
mod scripted;
mod server;

use std::sync::Mutex;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};
use valkey_testkit::Figures;

use crate::lua::Scripts;
use crate::play::{Played, play};
use crate::scenes::sequences;
use crate::server::Server;

/// Sequences in CI; `PROPTEST_CASES` is another number, `VALKIT_LONG=1` a large one. Of the mistakes of `mutants.rs` the one
/// that hides best shows in one of fifteen.
const CASES: u32 = 96;
const LONG_CASES: u32 = 20_000;

/// Sequences at the same time, each on a queue of its own.
const WORKERS: u32 = 4;

/// Repeats the sequences of a run that printed it.
const SEED: &str = "VALKIT_MODEL_SEED";

#[test]
fn the_scripts_do_what_the_model_does() {
    let seed = seed();
    println!("{SEED}={seed}");
    let (played, wrong) = (Mutex::new(Played::default()), Mutex::new(Vec::new()));
    workers(|worker| {
        let played_here = Mutex::new(Played::default());
        let result = play_many(seed + u64::from(worker), cases() / WORKERS, &played_here);
        *played.lock().unwrap() += played_here.into_inner().unwrap();
        wrong.lock().unwrap().extend(result.err());
    });
    let Played { sequences, steps, messages } = played.into_inner().unwrap();
    let wrong = wrong.into_inner().unwrap();
    let note = format!("{sequences} sequences, {steps} steps, all keys compared after each");
    println!("{note}, {messages} messages");
    Figures::new().sent(messages).lost(wrong.len() as u64).note(note).publish();
    assert!(wrong.is_empty(), "{}\nAgain: {SEED}={seed}", wrong.join("\n\n"));
}

/// So many random sequences from a seed.
///
/// # Errors
/// The shortest sequence that was found to fail, and how.
fn play_many(seed: u64, cases: u32, played: &Mutex<Played>) -> Result<(), String> {
    let runtime = runtime();
    let server = Mutex::new(runtime.block_on(Server::new(Scripts::ours())));
    let last = Mutex::new(String::new());
    let result = runner(seed, cases).run(&sequences(), |ops| {
        match runtime.block_on(play(&mut server.lock().unwrap(), &ops)) {
            Ok(one) => {
                *played.lock().unwrap() += one;
                Ok(())
            }
            Err(wrong) => {
                *last.lock().unwrap() = wrong;
                Err(TestCaseError::fail("the last step"))
            }
        }
    });
    result.map_err(|_| last.into_inner().unwrap())
}

fn cases() -> u32 {
    let given = std::env::var("PROPTEST_CASES").ok().map(|cases| cases.parse().unwrap());
    given.unwrap_or(if valkey_testkit::is_long() { LONG_CASES } else { CASES })
}

/// By chance, unless it is given.
fn seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    given.unwrap_or_else(|| rand::random::<u32>().into())
}

fn runner(seed: u64, cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    // Each choice of each op draws from a generator of its own: the cheap kind, and its state must not be mostly zeros.
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&(!seed).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &bytes))
}

/// One thread for a worker and its connection: no step waits for another thread to wake up.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Steps wait for the server most of the time, so several go on at once.
fn workers(work: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let work = &work;
            scope.spawn(move || work(worker));
        }
    });
}
