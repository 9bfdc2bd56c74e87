//! A cluster of three primaries.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{llen, lpush, until_ok};
use valkey_connection::{Bell, Command, Connection, ConnectionSettings, ErrorKind, Mode, Script};
use valkey_testkit::TestCluster;

static SUM: Script = Script::new(
    "sum",
    "redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[1])",
);

fn settings(cluster: &TestCluster) -> ConnectionSettings {
    ConnectionSettings::default()
        .address(cluster.urls().join(",").parse().unwrap())
        .mode(Mode::Cluster)
        .read_timeout(Duration::from_secs(1))
        .probe_interval(Duration::from_millis(200))
        .probe_timeout(Duration::from_millis(300))
}

async fn start() -> (TestCluster, Connection) {
    let cluster = TestCluster::start(3).await.unwrap();
    let connection = Connection::connect(&settings(&cluster)).await.unwrap();
    (cluster, connection)
}

#[tokio::test]
async fn commands_find_the_node_of_their_key() {
    let (cluster, connection) = start().await;
    // Keys of all nodes, mixed in one batch.
    let keys: Vec<String> = (0..60).map(|number| format!("key-{number}")).collect();
    let batch: Vec<_> = keys.iter().flat_map(|key| [lpush(key, "a"), lpush(key, "b")]).collect();
    let lengths: Vec<_> = connection
        .execute_all(batch)
        .await
        .into_iter()
        .map(|result| result.unwrap().as_int().unwrap())
        .collect();
    assert_eq!(lengths, [1, 2].repeat(60), "in order per key");

    let nodes = connection.primaries().await.unwrap();
    assert_eq!(nodes.len(), 3);
    let mut sizes = Vec::new();
    for node in &nodes {
        sizes.push(connection.execute_on(node, Command::new("DBSIZE")).await.unwrap().as_int().unwrap());
    }
    assert_eq!(sizes.iter().sum::<i64>(), 60);
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");

    // Scripts: by hash tag, batched over all nodes, each of which has to learn the script.
    let calls =
        keys.iter().map(|key| SUM.call().key(format!("{{{key}}}:x")).key(format!("{{{key}}}:y")).arg(2_u32));
    for result in connection.invoke_all(calls.collect()).await {
        assert_eq!(result.unwrap().as_int().unwrap(), 2);
    }
    let error = connection.invoke(SUM.call().key("a").key("b").arg(1_u32)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossSlot, "{error}");
    drop(cluster);
}

#[tokio::test]
async fn blocking_and_unblocking_reach_the_same_node() {
    let (_cluster, connection) = start().await;
    let mut dedicated = connection.dedicated().await.unwrap();
    let unblocker = dedicated.unblocker();
    for number in 0..6 {
        let (from, to) = (format!("{{q-{number}}}:from"), format!("{{q-{number}}}:to"));
        connection.execute(lpush(&from, "m")).await.unwrap();
        let moved = dedicated.blocking_move(&from, &to, Duration::from_secs(1)).await.unwrap();
        assert_eq!(moved.as_deref(), Some(&b"m"[..]));
        let started = Instant::now();
        let (parked, ()) =
            tokio::join!(dedicated.blocking_move(&from, &to, Duration::from_secs(10)), async {
                while !unblocker.unblock().await.unwrap() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        assert_eq!(parked.unwrap(), None);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_moved_slot_is_followed() {
    let (cluster, connection) = start().await;
    let mut dedicated = connection.dedicated().await.unwrap();
    connection.execute(lpush("{tag}:q", "kept")).await.unwrap();
    let slot = cluster.slot_of("{tag}:q").await.unwrap();
    let mut listener = connection.listen("{tag}:bell").await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    for step in 1..=2 {
        cluster.migrate_slot(slot, (owner + step) % 3).await.unwrap();
        let length = connection.execute(lpush("{tag}:q", "x")).await.unwrap().as_int().unwrap();
        assert_eq!(length, 1 + i64::try_from(step).unwrap());
        assert_eq!(dedicated.execute(llen("{tag}:q")).await.unwrap().as_int().unwrap(), length);
        let moved =
            dedicated.blocking_move("{tag}:none", "{tag}:to", Duration::from_millis(50)).await.unwrap();
        assert_eq!(moved, None);
        let result = connection.invoke(SUM.call().key("{tag}:a").key("{tag}:b").arg(1_u32)).await.unwrap();
        assert_eq!(result.as_int().unwrap(), i64::try_from(step).unwrap());
    }
    // The subscription is found again on the new node.
    let started = Instant::now();
    loop {
        connection.execute(Command::new("SPUBLISH").key("{tag}:bell").arg("")).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(200), listener.recv()).await {
            Ok(Bell::Rang) => break,
            _ => assert!(started.elapsed() < Duration::from_secs(15), "the bell never rings again"),
        }
    }
}

#[tokio::test]
async fn while_a_slot_moves_scripts_are_put_off_and_nothing_is_half_done() {
    let (cluster, connection) = start().await;
    connection.execute(Command::new("SET").key("{tag}:a").arg(1_u32)).await.unwrap();
    connection.execute(Command::new("SET").key("{tag}:b").arg(1_u32)).await.unwrap();
    let slot = cluster.slot_of("{tag}:a").await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    let migration = cluster.begin_slot_migration(slot, (owner + 1) % 3).await.unwrap();
    assert!(migration.move_key("{tag}:a").await.unwrap());
    let error = connection.invoke(SUM.call().key("{tag}:a").key("{tag}:b").arg(1_u32)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(!error.outcome_unknown());
    // Commands of one key are served all the time: where it is, where it went, and where a new one belongs.
    let get = |key: &'static str| connection.execute(Command::new("GET").key(key));
    assert_eq!(get("{tag}:a").await.unwrap().as_int().unwrap(), 1, "moved");
    assert_eq!(get("{tag}:b").await.unwrap().as_int().unwrap(), 1, "not yet moved");
    let batch = (0..10).map(|number| lpush("{tag}:new", &number.to_string())).collect();
    for (result, length) in connection.execute_all(batch).await.into_iter().zip(1..) {
        assert_eq!(result.unwrap().as_int().unwrap(), length, "in order");
    }
    let mut dedicated = connection.dedicated().await.unwrap();
    let moved = dedicated.blocking_move("{tag}:new", "{tag}:new", Duration::from_millis(500)).await.unwrap();
    assert_eq!(moved.as_deref(), Some(&b"0"[..]));
    assert!(migration.move_key("{tag}:b").await.unwrap());
    migration.finish().await.unwrap();
    let (sum, _) = until_ok(Duration::from_secs(5), || {
        connection.invoke(SUM.call().key("{tag}:a").key("{tag}:b").arg(1_u32))
    })
    .await;
    assert_eq!(sum.as_int().unwrap(), 2, "the refused call did nothing");
}

#[tokio::test]
async fn a_node_that_dies_and_comes_back_needs_no_restart_of_ours() {
    let node = valkey_testkit::TestServer::builder().append_only(true);
    let cluster = TestCluster::start_with(3, node).await.unwrap();
    let connection = Connection::connect(&settings(&cluster)).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    let slot = cluster.slot_of("{tag}:q").await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    connection.execute(lpush("{tag}:q", "kept")).await.unwrap();
    cluster.nodes()[owner].kill().await.unwrap();
    for _ in 0..5 {
        let started = Instant::now();
        let error = connection.execute(llen("{tag}:q")).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        let started = Instant::now();
        assert!(dedicated.execute(llen("{tag}:q")).await.is_err());
        assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    }
    cluster.nodes()[owner].restart().await.unwrap();
    cluster.wait_until_ok(Duration::from_secs(30)).await.unwrap();
    let (length, _) = until_ok(Duration::from_secs(15), || connection.execute(llen("{tag}:q"))).await;
    assert_eq!(length.as_int().unwrap(), 1);
    let started = Instant::now();
    while dedicated.execute(llen("{tag}:q")).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(15));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tls_works_with_every_node() {
    let cluster = TestCluster::start_with(3, valkey_testkit::TestServer::builder().tls()).await.unwrap();
    let secure = settings(&cluster).tls_ca_file(cluster.tls_ca_path().map(Into::into));
    let connection = Connection::connect(&secure).await.unwrap();
    let batch = (0..30).map(|number| lpush(&format!("key-{number}"), "x")).collect();
    for result in connection.execute_all(batch).await {
        assert_eq!(result.unwrap().as_int().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_cluster_asked_as_a_single_server_says_what_is_wrong() {
    let cluster = TestCluster::start(3).await.unwrap();
    let single = ConnectionSettings::from_url(&cluster.urls()[0]).unwrap();
    let connection = Connection::connect(&single).await.unwrap();
    let keys = ["a", "b", "c", "d", "e", "f"];
    let results = connection.execute_all(keys.iter().map(|key| lpush(key, "x")).collect()).await;
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains("mode"), "{error}");
    }
}

#[tokio::test]
async fn one_seed_is_enough_to_find_the_rest() {
    let cluster = TestCluster::start(3).await.unwrap();
    let one = settings(&cluster).address(cluster.urls()[0].parse().unwrap());
    let connection = Connection::connect(&one).await.unwrap();
    assert_eq!(connection.primaries().await.unwrap().len(), 3);
    connection.execute(lpush("a", "x")).await.unwrap();
    connection.execute(lpush("b", "x")).await.unwrap();
    connection.execute(lpush("c", "x")).await.unwrap();
}
