//! A cluster that can be written to, broken and moved about.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use valkey_testkit::{TestCluster, TestServer, TestkitError};

#[tokio::test]
async fn a_cluster_is_writable_in_all_its_parts_and_slots_move() {
    let cluster = TestCluster::start(3).await.unwrap();
    assert_eq!((cluster.nodes().len(), cluster.urls().len()), (3, 3));
    let mut owners = std::collections::BTreeSet::new();
    for number in 0..12 {
        let key = format!("key-{number}");
        assert_eq!(cluster.cli(&["SET", &key, "x"]).await.unwrap(), "OK");
        owners.insert(cluster.owner_of(cluster.slot_of(&key).await.unwrap()).await.unwrap());
    }
    assert_eq!(owners.len(), 3);

    let slot = cluster.slot_of("{q}").await.unwrap();
    for key in ["{q}a", "{q}b", "{q}c"] {
        cluster.cli(&["LPUSH", key, "x"]).await.unwrap();
    }
    let from = cluster.owner_of(slot).await.unwrap();
    let to = (from + 1) % 3;
    let migration = cluster.begin_slot_migration(slot, to).await.unwrap();
    assert!(migration.move_key("{q}b").await.unwrap());
    assert!(!migration.move_key("{q}b").await.unwrap(), "it is gone from there");
    let old = &cluster.nodes()[from];
    assert_eq!(old.cli(&["LLEN", "{q}a"]).await.unwrap(), "1", "not moved yet");
    let Err(TestkitError::Cli { message, .. }) = old.cli(&["LLEN", "{q}b"]).await else {
        panic!("it has moved")
    };
    assert!(message.contains("ASK"), "{message}");
    let Err(TestkitError::Cli { message, .. }) = old.cli(&["DEL", "{q}a", "{q}b"]).await else {
        panic!("split")
    };
    assert!(message.contains("TRYAGAIN"), "{message}");
    migration.finish().await.unwrap();
    assert_eq!(cluster.owner_of(slot).await.unwrap(), to);
    for key in ["{q}a", "{q}b", "{q}c"] {
        assert_eq!(cluster.cli(&["LLEN", key]).await.unwrap(), "1");
    }
    cluster.migrate_slot(slot, from).await.unwrap();
    assert_eq!(cluster.nodes()[from].cli(&["LLEN", "{q}c"]).await.unwrap(), "1");

    cluster.nodes()[to].kill().await.unwrap();
    cluster.wait_until_down(Duration::from_secs(30)).await.unwrap();
    cluster.nodes()[to].restart().await.unwrap();
    cluster.wait_until_ok(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test]
async fn a_cluster_speaks_tls_to_itself_and_asks_for_passwords() {
    let node = TestServer::builder().tls().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let cluster = TestCluster::start_with(3, node).await.unwrap();
    assert!(cluster.urls().iter().all(|url| url.starts_with("valkeys://app:pw@")));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(cluster.cli(&["SET", key, "x"]).await.unwrap(), "OK");
    }
    let slot = cluster.slot_of("a").await.unwrap();
    let to = (cluster.owner_of(slot).await.unwrap() + 1) % 3;
    cluster.migrate_slot(slot, to).await.unwrap();
    assert_eq!(cluster.cli(&["GET", "a"]).await.unwrap(), "x");
}

#[tokio::test]
async fn a_replica_takes_over_from_a_primary_that_died() {
    let node = TestServer::builder().append_only(true).password("s3cret");
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    assert_eq!(cluster.nodes().len(), 6);
    for primary in 0..3 {
        assert_eq!(cluster.replicas_of(primary).await.unwrap(), [primary + 3]);
    }
    let slot = cluster.slot_of("{q}").await.unwrap();
    let old = cluster.owner_of(slot).await.unwrap();
    // On the primary's own connection, so that WAIT knows what was written.
    let wrote = cluster.nodes()[old].cli_raw(&[], "SET {q}a 1\nWAIT 1 10000\n").await.unwrap();
    assert_eq!(String::from_utf8(wrote).unwrap(), "OK\n1");
    cluster.nodes()[old].kill().await.unwrap();
    cluster.wait_until_writable(Duration::from_secs(40)).await.unwrap();
    let new = cluster.owner_of(slot).await.unwrap();
    assert_eq!(new, old + 3);
    assert_eq!(cluster.cli(&["GET", "{q}a"]).await.unwrap(), "1");
    assert_eq!(cluster.cli(&["SET", "{q}b", "1"]).await.unwrap(), "OK");

    // The old one comes back as a replica, and slots still move.
    cluster.nodes()[old].restart().await.unwrap();
    cluster.wait_until_ok(Duration::from_secs(40)).await.unwrap();
    while cluster.replicas_of(new).await.unwrap() != [old] {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let to = (old + 1) % 3;
    cluster.migrate_slot(slot, to).await.unwrap();
    assert_eq!(cluster.owner_of(slot).await.unwrap(), to);
    assert_eq!(cluster.cli(&["GET", "{q}b"]).await.unwrap(), "1");
    cluster.wait_until_writable(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_none_is_refused() {
    assert!(matches!(TestCluster::start(0).await, Err(TestkitError::Invalid(_))));
}
