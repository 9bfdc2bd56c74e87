//! The server restarts under consumers that all come back to it at the same instant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_testkit::{Figures, TestServer};

use crate::fleet::{Fleet, Sender};
use crate::support::{Bed, until};
use crate::{MEMBERS, WORK, bound_in_flight, lonely_bed, nothing_is_left, server_ms, settings};

/// Long enough that nobody loses it by waiting for a turn.
const LONG_LEASE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_many_consumers_is_found_by_all_and_nobody_is_taken_for_dead() {
    let bed = lonely_bed(TestServer::builder().append_only(true), "herd-restart").await;
    bound_in_flight(&bed).await;
    let connection = ConnectionSettings::from_url(&bed.server.url()).unwrap().pool_size(1);
    let settings = settings().lease(LONG_LEASE);
    let fleet = Fleet::start(&bed, &connection, MEMBERS, &settings, WORK).await;
    let way = Connection::connect(&connection).await.unwrap();
    let sender = Sender::in_batches(&bed, way, 20, Duration::from_millis(10));
    let names: BTreeSet<String> = bed.consumers().await.into_iter().collect();
    assert_eq!(names.len(), MEMBERS);

    let (mut recovery, mut refusals, mut dials) = (Duration::ZERO, BTreeMap::new(), 0);
    for kill in [false, true, false] {
        let before = fleet.ledger.finished();
        until("work", async || (fleet.ledger.finished() > before + 500).then_some(())).await;
        if kill {
            bed.server.kill().await.unwrap();
        }
        bed.server.restart().await.unwrap();
        let restarted = Instant::now();
        until("the server", async || bed.connection.ping().await.ok()).await;
        let since_ms = server_ms(&bed).await;
        until("all of them", async || (renewed_since(&bed, since_ms).await == MEMBERS).then_some(())).await;
        recovery = recovery.max(restarted.elapsed());
        let now: BTreeSet<String> = bed.consumers().await.into_iter().collect();
        assert_eq!(now, names, "each is back within its lease, under its name");
        for (refusal, count) in refused(&bed).await {
            *refusals.entry(refusal).or_insert(0) += count;
        }
        dials = dials.max(stat(&bed, "stats", "total_connections_received:").await);
    }
    let confirmed = sender.confirmed();
    until("more work", async || (sender.confirmed() > confirmed + 500).then_some(())).await;
    let sent = sender.stop().await;
    bed.until_empty().await;
    assert!(fleet.is_whole());
    let ledger = fleet.ledger.clone();
    let report = fleet.drain().await;
    let again = ledger.handed_out_more_than_once();
    sent.figures(Figures::new(), &ledger)
        .recovery(recovery)
        .note(format!(
            "{MEMBERS} consumers; recovery: until all had renewed; at most {dials} connections made after one restart; {}",
            sent.unknown()
        ))
        .publish();
    eprintln!("confirmed {}, {recovery:?}, {dials} connections, {refusals:?}; {report}", sent.confirmed());
    assert_eq!(sent.lost(&ledger), [0; 0]);
    assert!(again.is_empty(), "{again:?}: an answer that was lost is asked for again, not handed out again");
    assert_eq!((ledger.most_crashes(), bed.dead().await), (0, vec![]));
    assert!(report.is_clean(), "{report}");
    // A consumer has four: its pool, its takes, its parks, its bell.
    assert!(dials <= 4 * 4 * MEMBERS as u64, "{dials} connections were made after one restart");
    // A server that has just started does not know the scripts, and says so while it loads: nothing else is refused.
    refusals.retain(|refusal, _| !["NOSCRIPT", "LOADING"].contains(&refusal.as_str()));
    assert_eq!(refusals, BTreeMap::new());
    nothing_is_left(&bed).await;
}

/// How many consumers have renewed their lease at this time of the server's or later.
async fn renewed_since(bed: &Bed, since_ms: i64) -> usize {
    let least = since_ms + i64::try_from(LONG_LEASE.as_millis()).unwrap();
    let count = Command::new("ZCOUNT").key(bed.keys.consumers()).arg(least).arg("+inf");
    usize::try_from(bed.ask(count).await.as_int().unwrap()).unwrap()
}

/// What the server has refused since its start, by the first word of its answer.
async fn refused(bed: &Bed) -> Vec<(String, u64)> {
    let errors = bed.ask(Command::new("INFO").arg("errorstats")).await.into_string().unwrap();
    let lines = errors.lines().filter_map(|line| line.strip_prefix("errorstat_")?.split_once(":count="));
    lines.map(|(refusal, count)| (refusal.to_owned(), count.trim().parse().unwrap())).collect()
}

async fn stat(bed: &Bed, section: &'static str, name: &str) -> u64 {
    let info = bed.ask(Command::new("INFO").arg(section)).await.into_string().unwrap();
    info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}
