//! The same day's work on a cluster, over TLS with few rights, and on a full server.

use std::time::Duration;

use valkey_admin::{Admin, DeadQuery, DeadSelection, Execution, PeekQuery, Place, ReplayTo};
use valkey_config::CsvList;
use valkey_connection::{Command, ConnectionSettings, Mode};
use valkey_envelope::{Lane, QueueName};
use valkey_testkit::{Figures, TestCluster, TestServer, unique_name};

use crate::support::{Bench, GARBAGE};

/// One of each verb, on messages in every place.
async fn a_days_work(bench: &Bench) {
    let (admin, queue, keys) = (&bench.admin, &bench.queue, &bench.keys);
    let now = bench.now().await;
    bench.push(keys.public(), "public").await;
    bench.push(keys.lane(Lane::High), "high").await;
    bench.push(keys.redo(), "0|1|n|redo").await;
    bench.delay("1-1-c", now + 60_000, 0, "delayed").await;
    bench.register("late", now - 1).await;
    bench.claim("late", "1-1", 0, GARBAGE).await;
    for id in ["a", "b", "c"] {
        bench.bury(id, now, "rejected", Lane::Normal, id.to_owned()).await;
    }

    let stats = admin.stats(queue).await.unwrap();
    assert_eq!((stats.ready.total(), stats.delayed, stats.in_flight, stats.dead), (3, 1, 1, 3));
    let peek = PeekQuery { place: Place::Redo, skip: 0, count: 5, max_bytes: 100 };
    assert_eq!(admin.peek(queue, &peek).await.unwrap().items[0].bytes, "redo");
    assert!(admin.pause(queue).await.unwrap() && admin.resume(queue).await.unwrap());

    let other: QueueName = unique_name("elsewhere").parse().unwrap();
    let one = DeadSelection::Ids(vec!["a".into()]);
    let tally =
        admin.replay(queue, &one, &ReplayTo::Queue(other.clone()), Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.complete().unwrap().done(), 1);
    assert_eq!(bench.popped(other.keys().public()).await, ["a"]);
    let one = DeadSelection::Ids(vec!["b".into()]);
    let tally = admin.replay(queue, &one, &ReplayTo::Source, Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.complete().unwrap().done(), 1);
    let tally = admin.purge_dead(queue, &DeadSelection::All, Execution::Run, |_| ()).await.unwrap();
    let purged = tally.complete().unwrap().done();
    assert_eq!(purged, 1);
    assert!(admin.dead_letters(queue, &DeadQuery::default()).await.unwrap().letters.is_empty());

    let tally = admin.hand_back(queue, &Admin::HAND_BACK, Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.complete().unwrap().done(), 4);
    let order = bench.popped(keys.public()).await;
    // Eight in all: one was replayed elsewhere, one purged on purpose, and the others are handed back.
    let replayed = bench.popped(other.keys().public()).await.len();
    let kept = (replayed + order.len()) as u64 + purged;
    Figures::new().sent(8).lost(8_u64.saturating_sub(kept)).twice(kept.saturating_sub(8)).publish();
    assert_eq!(order, [GARBAGE, b"redo", b"high", b"public", b"b", b"delayed"]);
    let tally = admin.purge(queue, &[Place::Public], Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.complete().unwrap().done(), 6);
}

#[tokio::test]
async fn on_a_cluster() {
    let cluster = TestCluster::start(3).await.unwrap();
    let addresses: CsvList<_> = cluster.urls().iter().map(|url| url.parse().unwrap()).collect();
    let settings = ConnectionSettings::default().address(addresses).mode(Mode::Cluster);
    let mut queues = Vec::new();
    for _ in 0..6 {
        let bench = Bench::with(settings.clone()).await;
        a_days_work(&bench).await;
        bench.push(bench.keys.public(), "x").await;
        queues.push(bench.queue.clone());
    }
    let bench = Bench::with(settings).await;
    let found = bench.admin.queues(|_| ()).await.unwrap().queues;
    assert!(queues.iter().all(|queue| found.contains(queue)), "{found:?}");
    let diagnosis = bench.admin.doctor(&[]).await.unwrap();
    assert_eq!(diagnosis.servers.len(), 3, "{diagnosis:#?}");
    assert_eq!(
        bench
            .admin
            .stats_all(&queues)
            .await
            .into_iter()
            .filter(|stats| stats.as_ref().unwrap().exists)
            .count(),
        6
    );
    for queue in &queues {
        assert!(bench.admin.erase(queue).await.unwrap() >= 1);
    }
    let left = bench.admin.queues(|_| ()).await.unwrap().queues;
    assert!(queues.iter().all(|queue| !left.contains(queue)), "{left:?}");
}

#[tokio::test]
async fn over_tls_with_few_rights() {
    // What the verbs need and no more: no ACL, no CONFIG, no FLUSHALL, only queue keys.
    let rules = "resetkeys ~queue:* ~{queue:* resetchannels &{queue:* -@all +@read +@write +@scripting +@connection +@pubsub \
                 -@dangerous +info +time +spublish +unlink";
    let server = TestServer::builder().tls().acl_user("operator", "pw", rules).start().await.unwrap();
    let settings = ConnectionSettings::from_url(&server.url())
        .unwrap()
        .tls_ca_file(server.tls_ca_path().map(Into::into));
    let bench = Bench::with(settings).await;
    a_days_work(&bench).await;
    let diagnosis = bench.admin.doctor(&[]).await.unwrap();
    assert_eq!(diagnosis.servers.len(), 1);
}

#[tokio::test]
async fn on_a_full_server() {
    let server = TestServer::builder().config("maxmemory-policy", "noeviction").start().await.unwrap();
    let bench = Bench::on(&server).await;
    let (admin, queue, keys) = (&bench.admin, &bench.queue, &bench.keys);
    for i in 0..3 {
        bench.push(keys.public(), "x").await;
        bench.push(keys.redo(), "0|1|n|redo").await;
        bench.push(keys.woken(), "woken").await;
        bench.bury(&format!("{i}"), 1, "rejected", Lane::Normal, "x").await;
    }
    bench.run(Command::new("CONFIG SET").args(["maxmemory", "1"])).await;
    bench.connection.execute(Command::new("SET").key("k").arg("v")).await.unwrap_err();

    assert_eq!(admin.stats(queue).await.unwrap().dead, 3);
    assert!(admin.pause(queue).await.unwrap());
    let one = DeadSelection::Ids(vec!["0".into()]);
    assert_eq!(admin.replay(queue, &one, &ReplayTo::Source, Execution::Run, |_| ()).await.unwrap().done(), 1);
    let places = [Place::Redo, Place::Woken];
    assert_eq!(admin.hand_back(queue, &places, Execution::Run, |_| ()).await.unwrap().done(), 6);
    let dead = admin.purge_dead(queue, &DeadSelection::All, Execution::Run, |_| ()).await.unwrap().done();
    let ready = admin.purge(queue, &[Place::Public], Execution::Run, |_| ()).await.unwrap().done();
    let there = dead + ready;
    Figures::new().sent(12).lost(12_u64.saturating_sub(there)).twice(there.saturating_sub(12)).publish();
    assert_eq!((dead, ready), (2, 10));
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts() {
    let server = TestServer::start().await.unwrap();
    let bench = Bench::on(&server).await;
    bench.run(Command::new("SCRIPT FLUSH")).await;
    a_days_work(&bench).await;
}

#[tokio::test]
async fn a_server_that_went_away_is_told_in_time() {
    let server = TestServer::start().await.unwrap();
    let bench = Bench::with_just(&ConnectionSettings::from_url(&server.url()).unwrap()).await;
    server.kill().await.unwrap();
    let limit = Duration::from_secs(20);
    let error = tokio::time::timeout(limit, bench.admin.stats(&bench.queue)).await.unwrap().unwrap_err();
    assert!(matches!(error, valkey_admin::Error::Connection(_)), "{error}");
}
