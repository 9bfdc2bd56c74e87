//! Senders whose clocks are an hour off: ids are remembered by the server's clock, due times are the sender's own.
//!
//! Needs libfaketime (the package `faketime` of Debian), which lies to a process about the time of day.

use std::path::Path;

use valkey_testkit::Figures;

use crate::bench::Bench;

const HOUR_MS: i64 = 3_600_000;

/// `valkit send`, by a clock that is off.
fn send(bench: &Bench, library: &Path, offset: &str, options: &[&str]) -> serde_json::Value {
    let mut program = bench.valkit(&[&["send", bench.queue.as_str(), "-o", "json"], options].concat());
    program.env("LD_PRELOAD", library).env("FAKETIME", offset).env("DONT_FAKE_MONOTONIC", "1");
    let done = program.env("VALKEY_DEDUP_WINDOW", "10m").write_stdin("1").assert().success();
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

#[tokio::test]
async fn senders_whose_clocks_disagree_share_one_memory_of_ids() {
    let Some(library) = valkey_testkit::libfaketime() else {
        valkey_testkit::skipped("libfaketime is not installed");
        return;
    };
    let bench = Bench::new("clocks").await;
    let offsets = ["+1h", "-1h", "+0"];
    let accepted: u64 = offsets
        .map(|offset| send(&bench, &library, offset, &["--id", "one"]))
        .iter()
        .map(|told| told["sent"].as_u64().unwrap())
        .sum();
    let there = bench.admin.stats(&bench.queue).await.unwrap().ready.total();
    Figures::new()
        .sent(offsets.len() as u64)
        .confirmed(accepted)
        .lost(accepted.saturating_sub(there))
        .twice(there.saturating_sub(1))
        .publish();
    assert_eq!((accepted, there), (1, 1), "one id, one message");
}

#[tokio::test]
async fn a_due_time_is_as_wrong_as_the_clock_of_its_sender() {
    let Some(library) = valkey_testkit::libfaketime() else {
        valkey_testkit::skipped("libfaketime is not installed");
        return;
    };
    let bench = Bench::new("due").await;
    send(&bench, &library, "+1h", &["--delay", "10s"]);
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    let due = i64::try_from(stats.next_due_in.unwrap().as_millis()).unwrap();
    assert!((due - HOUR_MS - 10_000).abs() < 60_000, "{due} ms");
    // An hour behind, it is due long since, and sent to be taken at once.
    send(&bench, &library, "-1h", &["--delay", "10s"]);
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    let taken = bench.ok(&["receive", bench.queue.as_str(), "--count", "1"]).lines().count();
    let left = bench.admin.stats(&bench.queue).await.unwrap();
    let there = taken as u64 + left.ready.total() + left.delayed;
    Figures::new().sent(2).lost(2_u64.saturating_sub(there)).twice(there.saturating_sub(2)).publish();
    assert_eq!((stats.ready.total() + stats.delayed, taken, there), (2, 1, 2));
}
