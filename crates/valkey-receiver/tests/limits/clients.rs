//! Consumers whose own clocks are an hour off, or jump about: leases, delays and retries know the server's clock only.
//!
//! Needs libfaketime (the package `faketime` of Debian), which lies to a process about the time of day.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use valkey_connection::Command;
use valkey_envelope::Envelope;
use valkey_testkit::Figures;

use crate::hand::server_ms;
use crate::ledger::Ledger;
use crate::support::{Bed, PATIENCE, until};
use crate::worker::{LEASE, Worker, listen};

const HOUR: i64 = 3_600;
const READY: u32 = 100;
const DELAYED: u32 = 20;

/// What makes a process believe that it is now as much later as the file says.
fn lie(library: &Path, file: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ]
}

async fn work_by_a_wrong_clock(name: &'static str, offsets: &[i64]) {
    let Some(library) = valkey_testkit::libfaketime() else {
        valkey_testkit::skipped(
            "libfaketime is not installed, and nothing else moves the clock of one process",
        );
        return;
    };
    let bed = Bed::new(name).await;
    let file = std::env::temp_dir().join(format!("{}-clock", bed.queue));
    let set = |seconds: i64| std::fs::write(&file, format!("{seconds:+}s\n")).unwrap();
    set(offsets[0]);
    let ledger = Ledger::default();
    let honest = server_ms(&bed).await / 1000;
    let mut liar = Worker::spawn_with(&bed, "5", &ledger, &lie(&library, &file));
    let off = liar.clock().await - honest;
    assert!((off - offsets[0]).abs() < 60, "its clock is {off} s off");
    let mut other = Worker::spawn(&bed, "5", &ledger);
    other.clock().await;
    until("both", async || (bed.consumers().await.len() == 2).then_some(())).await;
    let members: BTreeSet<String> = bed.consumers().await.into_iter().collect();

    bed.push_numbers(READY).await;
    let due_ms = server_ms(&bed).await + 3 * i64::try_from(LEASE.as_millis()).unwrap();
    for number in READY + 1..=READY + DELAYED {
        let raw = Envelope::new(&number).unwrap().encode().unwrap();
        let member = [format!("{number}|0|0|n|").as_bytes(), &raw].concat();
        bed.ask(Command::new("ZADD").key(bed.keys.delayed()).arg(due_ms).arg(member)).await;
    }
    let mut workers = vec![liar, other];
    // For three leases: whoever measured them by a wrong clock would take the other for dead, or himself.
    let mut turn = 0;
    while server_ms(&bed).await < due_ms - 200 {
        set(offsets[turn % offsets.len()]);
        turn += 1;
        listen(&mut workers, Duration::from_millis(150)).await;
        assert!(ledger.finished() <= READY as usize, "nothing delayed comes early");
        assert_eq!(bed.delayed().await, i64::from(DELAYED));
    }
    assert_eq!(ledger.finished(), READY as usize);
    let deadline = std::time::Instant::now() + PATIENCE;
    while bed.held_anywhere().await > 0 {
        assert!(std::time::Instant::now() < deadline, "the delayed ones come");
        listen(&mut workers, Duration::from_millis(20)).await;
    }
    let late_ms = server_ms(&bed).await - due_ms;
    let present: BTreeSet<String> = bed.consumers().await.into_iter().collect();
    assert_eq!(present, members, "nobody was taken for dead");
    for worker in workers {
        worker.drain().await;
    }
    let _ = std::fs::remove_file(&file);
    let lost = ledger.lost(READY + DELAYED);
    Figures::new()
        .sent((READY + DELAYED).into())
        .lost(lost.len() as u64)
        .twice(ledger.duplicates().into())
        .note(format!("delayed ones were all done {late_ms} ms after they were due"))
        .publish();
    assert_eq!((lost, ledger.duplicates(), ledger.most_crashes()), (vec![], 0, 0));
}

#[tokio::test]
async fn a_consumer_whose_clock_is_an_hour_ahead_works_as_any_other() {
    work_by_a_wrong_clock("ahead", &[HOUR]).await;
}

#[tokio::test]
async fn a_consumer_whose_clock_is_an_hour_behind_works_as_any_other() {
    work_by_a_wrong_clock("behind", &[-HOUR]).await;
}

#[tokio::test]
async fn a_consumer_whose_clock_jumps_about_works_as_any_other() {
    work_by_a_wrong_clock("jumping", &[0, HOUR, -HOUR, 7]).await;
}
