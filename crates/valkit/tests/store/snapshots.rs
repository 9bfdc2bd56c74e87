//! Servers that keep snapshots only, or nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use valkey_receiver::DrainReport;
use valkey_testkit::{Figures, TestServer, eventually};

use crate::bed::Bed;
use crate::books::Books;
use crate::crew::{Crew, Plan};

fn plan() -> Plan {
    Plan { pace: Duration::from_millis(5), work: Duration::from_millis(30), ..Plan::default() }
}

/// What a restart has undone.
struct Undone {
    books: Books,
    /// Confirmed, not yet handled, and not on the disk.
    lost: BTreeSet<u32>,
    /// Handled, and in the queue again.
    again: BTreeSet<u32>,
    recovery: Duration,
    report: DrainReport,
}

/// Kills the server under a crew, starts it, and lets the crew go on with what is left.
async fn kill_and_go_on(bed: &Bed, crew: Crew) -> Undone {
    bed.shut().await;
    bed.server.kill().await.unwrap();
    bed.server.restart().await.unwrap();
    eventually("the server", async || bed.direct.ping().await.ok()).await;
    let (contents, known) = (bed.contents().await, bed.remembered().await);
    assert!(contents.values().all(|times| *times == 1), "each message is in one place: {contents:?}");
    assert!(contents.keys().all(|number| known.contains(number)), "no message without its id");
    let books = crew.books.clone();
    let (finished, handed, known) =
        (books.finished(), books.handed(), known.into_iter().collect::<BTreeSet<_>>());
    let lost =
        books.confirmed().into_iter().filter(|number| !known.contains(number) && !handed.contains(number));
    let lost = lost.collect();
    let settled: Vec<&u32> = known.iter().filter(|number| !contents.contains_key(number)).collect();
    assert!(
        settled.iter().all(|number| finished.contains(number)),
        "what is remembered and gone was handled"
    );
    let again = contents.keys().copied().filter(|number| finished.contains(number)).collect();

    bed.open().await;
    let opened = Instant::now();
    crew.until_handled(20).await;
    let recovery = opened.elapsed();
    crew.until_confirmed(20).await;
    let report = crew.finish(bed).await;
    assert_eq!(books.crashes(), 0, "nobody crashed");
    Undone { books, lost, again, recovery, report }
}

impl Undone {
    fn publish(&self) {
        let (missing, twice) = (self.books.missing(), self.books.twice());
        let more: Vec<_> = missing.symmetric_difference(&self.lost).collect();
        assert!(more.is_empty(), "exactly what came after the snapshot is lost, but for {more:?}");
        assert!(self.again.is_subset(&twice), "settles that were undone come again");
        assert!(self.books.open().is_empty());
        let sent = self.books.confirmed().len() as u64;
        eprintln!("sent {sent}, lost {}, twice {}; {}", missing.len(), twice.len(), self.report);
        let figures = Figures::new().sent(sent).lost(missing.len() as u64).twice(twice.len() as u64);
        figures
            .recovery(self.recovery)
            .note(format!("{} settles uncertain", self.report.uncertain))
            .publish();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_snapshots_only_what_came_after_the_last_one_is_undone() {
    let bed = Bed::new("snapshot", TestServer::builder()).await;
    let crew = Crew::start(&bed, &plan()).await;
    crew.until_handled(100).await;
    let before = crew.books.confirmed();
    bed.server.cli(&["SAVE"]).await.unwrap();
    let after = Instant::now();
    sleep(Duration::from_millis(700)).await;
    let undone = kill_and_go_on(&bed, crew).await;
    assert!(undone.lost.is_disjoint(&before), "what the snapshot has is not lost");
    let late =
        undone.books.confirmed().into_iter().filter(|number| undone.books.confirmed_at(*number) > after);
    assert!(late.count() > undone.lost.len() && undone.lost.len() > 50 && undone.again.len() > 20);
    undone.publish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_persistence_all_that_waited_is_gone_and_everybody_goes_on() {
    let bed = Bed::new("forgetful", TestServer::builder()).await;
    let crew = Crew::start(&bed, &plan()).await;
    crew.until_handled(100).await;
    let undone = kill_and_go_on(&bed, crew).await;
    assert!(undone.again.is_empty() && undone.books.twice().is_empty(), "nothing is there to come again");
    assert!(undone.report.uncertain > 0, "what was held is nowhere any more: {}", undone.report);
    undone.publish();
}
