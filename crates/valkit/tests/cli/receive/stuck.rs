//! Nobody reads what is written: the end comes all the same.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use valkey_testkit::Figures;

use crate::support::{Bench, Running};

/// More than any pipe holds.
const LARGE: usize = 900_000;

/// Numbers before and after a message that no pipe can hold.
fn send_one_too_large(bench: &Bench) {
    bench.send_numbers(10);
    let large = format!("\"{}\"", "x".repeat(LARGE));
    bench.valkit(&["send", &bench.queue]).write_stdin(large).assert().success();
    bench.send_numbers(10);
}

fn receive(bench: &Bench, arguments: &[&str]) -> Running {
    Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue])
            .args(arguments)
            .env("VALKEY_URL", bench.server.url())
            .env("VALKEY_DRAIN_TIMEOUT", "1s")
            .env("VALKEY_MAX_RETRIES", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
}

/// Waits until everything before the large one is settled.
async fn until_stuck(bench: &Bench) {
    let begun = Instant::now();
    while bench.kept() > 11 {
        assert!(begun.elapsed() < Duration::from_mins(1), "nothing is handled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn signal(child: &Running, name: &str) {
    Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
}

async fn ended(child: &mut Running) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "it did not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was acked was written whole; everything else is kept, and was not counted.
fn balance(bench: &Bench, child: &mut Running) {
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    let whole = String::from_utf8_lossy(&out).matches('\n').count() as u64;
    let stats = bench.json(&["queue", "show", &bench.queue]);
    Figures::new().sent(21).lost(21_u64.saturating_sub(whole + bench.kept())).publish();
    assert!((10..=20).contains(&whole), "{whole}");
    assert_eq!((&stats["ready"]["total"], &stats["dead"]), (&(21 - whole).into(), &0.into()), "{stats}");
    let left = (21 - whole).to_string();
    let again = bench.ok(&["receive", &bench.queue, "-n", &left, "--exec", "echo $VALKIT_ATTEMPT"]);
    assert!(again.lines().all(|attempt| attempt == "1"), "{again}");
}

#[tokio::test]
async fn a_second_signal_ends_it_though_nobody_reads() {
    for concurrency in ["1", "64"] {
        let bench = Bench::new().await;
        send_one_too_large(&bench);
        let mut child = receive(&bench, &["--concurrency", concurrency]);
        until_stuck(&bench).await;
        signal(&child, "-TERM");
        tokio::time::sleep(Duration::from_millis(200)).await;
        signal(&child, "-TERM");
        assert_eq!(ended(&mut child).await, Some(0));
        balance(&bench, &mut child);
    }
}

#[tokio::test]
async fn the_first_signal_ends_it_once_the_drain_timeout_is_over() {
    let bench = Bench::new().await;
    send_one_too_large(&bench);
    let mut child = receive(&bench, &[]);
    until_stuck(&bench).await;
    signal(&child, "-INT");
    assert_eq!(ended(&mut child).await, Some(0));
    balance(&bench, &mut child);
}

#[tokio::test]
async fn a_second_signal_ends_it_though_nobody_reads_what_went_wrong() {
    let bench = Bench::new().await;
    bench.send_numbers(4);
    let mut child = receive(&bench, &["--concurrency", "4", "--exec", "echo begun; exec yes >&2"]);
    let mut begun = [0; 24];
    child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    // The pipe fills in no time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    signal(&child, "-TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(&child, "-TERM");
    // All has gone back, which nobody can be told.
    assert_eq!(ended(&mut child).await, Some(3));
    let stats = bench.json(&["queue", "show", &bench.queue]);
    Figures::new().sent(4).lost(4_u64.saturating_sub(bench.kept())).publish();
    assert_eq!((&stats["ready"]["total"], &stats["dead"]), (&4.into(), &0.into()), "{stats}");
    // Every end of it is closed: no program is left that could write.
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
}
