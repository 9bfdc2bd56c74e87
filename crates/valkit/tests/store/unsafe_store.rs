//! A server that refuses writes because it could not keep them: `MISCONF` and `NOREPLICAS`.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use valkey_envelope::Envelope;
use valkey_sender::Sender;
use valkey_testkit::{Figures, TestServer, eventually};

use crate::bed::Bed;
use crate::crew::{Crew, Plan};

#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// Snapshots are wanted, and the last one failed.
    Misconf,
    NoReplicas,
}

impl Refusal {
    async fn begin(self, bed: &Bed) {
        match self {
            Self::NoReplicas => bed.set("min-replicas-to-write", "1").await,
            Self::Misconf => {
                bed.server.fail_snapshots(true).await.unwrap();
                bed.set("save", "3600 1000000").await;
                Self::snapshot(bed, "err").await;
            }
        }
    }

    async fn end(self, bed: &Bed) {
        match self {
            Self::NoReplicas => bed.set("min-replicas-to-write", "0").await,
            Self::Misconf => {
                bed.server.fail_snapshots(false).await.unwrap();
                Self::snapshot(bed, "ok").await;
            }
        }
    }

    async fn snapshot(bed: &Bed, becomes: &str) {
        bed.server.cli(&["BGSAVE"]).await.unwrap();
        eventually("the end of a snapshot", async || {
            let info = bed.server.cli(&["INFO", "persistence"]).await.unwrap();
            info.contains(&format!("rdb_last_bgsave_status:{becomes}")).then_some(())
        })
        .await;
    }
}

/// Lets a server refuse writes for `long`, in the middle of everything.
async fn refuses(refusal: Refusal, long: Duration, lease: Duration) {
    let bed = Bed::new("unsafe", TestServer::builder()).await;
    let plan = Plan { lease, ..Plan::default() };
    let crew = Crew::start(&bed, &plan).await;
    crew.until_handled(100).await;
    refusal.begin(&bed).await;
    sleep(Duration::from_millis(200)).await;
    // One that tries once says why; those of the crew may have come to their breaker by the last of their tries.
    let once = Sender::builder(bed.direct.clone(), bed.queue.clone()).retries(0, Duration::ZERO).build();
    let said = once.send(Envelope::new("x").unwrap()).await.unwrap_err();
    let (asked, handled) = (bed.receiving.traffic().requests, crew.books.finished().len());
    sleep(long).await;
    let asked = bed.receiving.traffic().requests - asked;
    assert!(
        crew.books.finished().len() <= handled + plan.receivers * 3 * plan.handlers,
        "only what was held is finished"
    );
    refusal.end(&bed).await;
    let healed = Instant::now();
    crew.until_handled(50).await;
    let recovery = healed.elapsed();
    crew.until_confirmed(50).await;
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;

    // Two receivers with four connections, each with a sign of life every 0.3 s, and takes with growing pauses.
    let most = 2.0 * (4.0 / 0.3 + 10.0) * (long.as_secs_f64() + 1.0);
    assert!((asked as f64) < most, "{asked} commands of two receivers in {long:?}");
    assert!(said.is_transient() && !said.outcome_unknown(), "{said:?}");
    let said = said.to_string();
    assert!(said.contains("INFO persistence and INFO replication"), "the remedy is named: {said}");
    let word = if matches!(refusal, Refusal::Misconf) { "MISCONF" } else { "NOREPLICAS" };
    assert!(said.contains(word), "{said}");
    assert_eq!(books.failures("unknown"), 0, "a refusal is clear: {:?}", books.reasons());
    assert_eq!(books.crashes(), 0, "nobody crashed");
    let (lost, twice) = (bed.lost(&books).await, books.twice().len());
    eprintln!(
        "{refusal:?} for {long:?} with a lease of {lease:?}: {asked} commands, twice {twice}; {report}"
    );
    Figures::case(format!("{word}, {long:?} of a lease of {lease:?}"))
        .sent(books.confirmed().len() as u64)
        .rejected(books.reasons().values().sum())
        .lost(lost.len() as u64)
        .twice(twice as u64)
        .recovery(recovery)
        .note(format!("{asked} commands of two receivers meanwhile"))
        .publish();
    assert!(lost.is_empty(), "lost: {lost:?}");
    if long < lease / 2 {
        assert_eq!((twice, report.uncertain), (0, 0), "what was held is kept: {report}");
    } else {
        assert!(twice <= plan.receivers * 3 * plan.handlers, "{twice} is more than was held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_save_is_waited_for() {
    refuses(Refusal::Misconf, Duration::from_secs(3), Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_save_for_longer_than_the_lease_is_waited_for() {
    refuses(Refusal::Misconf, Duration::from_secs(4), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_replicas_is_waited_for() {
    refuses(Refusal::NoReplicas, Duration::from_secs(3), Duration::from_secs(15)).await;
    refuses(Refusal::NoReplicas, Duration::from_secs(4), Duration::from_secs(2)).await;
}
