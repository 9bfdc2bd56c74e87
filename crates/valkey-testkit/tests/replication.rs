//! Replicas copy, fall behind, take over and come back.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use valkey_testkit::{TestReplication, TestServer, TestkitError};

/// What these servers have of a key.
async fn get(servers: &TestReplication, numbers: impl IntoIterator<Item = usize>, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    for number in numbers {
        values.push(servers.servers()[number].cli(&["GET", key]).await.unwrap());
    }
    values
}

#[tokio::test]
async fn replicas_have_what_the_primary_has() {
    let servers = TestReplication::builder().replicas(2).start().await.unwrap();
    assert_eq!((servers.servers().len(), servers.addresses().len()), (3, 3));
    assert_eq!(servers.primary().await.unwrap(), 0);
    let primary = &servers.servers()[0];
    let answers = primary.cli_raw(&[], "SET a 1\nWAIT 2 10000\n").await.unwrap();
    assert_eq!(String::from_utf8(answers).unwrap(), "OK\n2");
    primary.cli(&["SET", "b", "2"]).await.unwrap();
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, [1, 2], "b").await, ["2", "2"]);
    let refused = servers.servers()[1].cli(&["SET", "a", "1"]).await;
    assert!(matches!(refused, Err(TestkitError::Cli { message, .. }) if message.starts_with("READONLY")));
    // The stream runs through the proxies, and clients are told the replicas' own addresses.
    assert!(servers.link(1).traffic().reply_bytes > 0 && servers.link(2).traffic().reply_bytes > 0);
    let role = primary.cli(&["ROLE"]).await.unwrap();
    let (host, _) =
        servers.addresses()[1].split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    assert!(role.contains(&host), "{role}");
}

#[tokio::test]
async fn a_replica_behind_a_black_hole_misses_what_comes_and_catches_up() {
    let servers = TestReplication::builder().replicas(1).start().await.unwrap();
    let primary = &servers.servers()[0];
    primary.cli(&["SET", "before", "1"]).await.unwrap();
    servers.wait_synced().await.unwrap();
    servers.link(1).black_hole();
    // On one connection: WAIT is about what its own has written.
    let answers = primary.cli_raw(&[], "SET during 1\nWAIT 1 500\n").await.unwrap();
    assert_eq!(String::from_utf8(answers).unwrap(), "OK\n0", "nobody hears it");
    assert!(primary.cli(&["INFO", "replication"]).await.unwrap().contains("connected_slaves:1"), "no RST");
    assert_eq!(get(&servers, [1], "before").await, ["1"]);
    assert_eq!(get(&servers, [1], "during").await, [""]);
    servers.link(1).heal().await.unwrap();
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, [1], "during").await, ["1"]);
}

#[tokio::test]
async fn what_a_promoted_replica_never_heard_is_lost_and_the_others_follow_it() {
    let server = TestServer::builder().append_only(true);
    let servers = TestReplication::builder().replicas(2).server(server).start().await.unwrap();
    let old = &servers.servers()[0];
    old.cli(&["SET", "known", "1"]).await.unwrap();
    servers.wait_synced().await.unwrap();
    servers.link(1).black_hole();
    servers.link(2).black_hole();
    old.cli(&["SET", "unknown", "1"]).await.unwrap();
    old.kill().await.unwrap();
    servers.promote(1).await.unwrap();
    assert_eq!(servers.primary().await.unwrap(), 1);
    let new = &servers.servers()[1];
    new.cli(&["SET", "new", "1"]).await.unwrap();
    servers.link(2).heal().await.unwrap();
    servers.wait_synced().await.unwrap();
    for (key, value) in [("known", "1"), ("unknown", ""), ("new", "1")] {
        assert_eq!(get(&servers, [1, 2], key).await, [value, value], "{key}");
    }

    // The old one comes back as what it was, with what only it has, and is told.
    old.restart().await.unwrap();
    assert_eq!(get(&servers, [0], "unknown").await, ["1"]);
    assert_eq!(servers.primary().await.unwrap(), 1, "nobody follows the other");
    servers.follow(0, 1).await.unwrap();
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, [0], "unknown").await, [""]);
    assert_eq!(get(&servers, [0], "new").await, ["1"]);

    // What they are is kept over restarts.
    for server in servers.servers() {
        server.restart().await.unwrap();
    }
    servers.wait_synced().await.unwrap();
    assert_eq!(servers.primary().await.unwrap(), 1);
    servers.link(1).heal().await.unwrap();
    servers.promote(0).await.unwrap();
    servers.wait_synced().await.unwrap();
    assert_eq!(servers.primary().await.unwrap(), 0);
}

#[tokio::test]
async fn replicas_come_in_with_tls_and_a_password() {
    let server = TestServer::builder().tls().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let servers = TestReplication::builder().server(server).start().await.unwrap();
    assert!(servers.servers().iter().all(|server| server.url().starts_with("valkeys://app:pw@")));
    servers.servers()[0].cli(&["SET", "a", "1"]).await.unwrap();
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, [1], "a").await, ["1"]);
    let server = TestServer::builder().password(r#"s"3\cret#"#);
    let servers = TestReplication::builder().server(server).start().await.unwrap();
    servers.servers()[0].cli(&["SET", "a", "1"]).await.unwrap();
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, [1], "a").await, ["1"]);
}

#[tokio::test]
async fn there_is_no_server_beyond_the_last() {
    let servers = TestReplication::builder().replicas(0).start().await.unwrap();
    assert!(matches!(servers.promote(1).await, Err(TestkitError::Invalid(_))));
    assert!(matches!(servers.failover().await, Err(TestkitError::Invalid(_))));
}

/// How long a failover may take on a busy machine: down-after, an election, and a tenfold slack.
const FAILOVER: Duration = Duration::from_secs(40);

#[tokio::test]
async fn sentinels_make_a_replica_the_primary_and_the_old_one_a_replica() {
    let server = TestServer::builder().append_only(true);
    let builder = TestReplication::builder().replicas(2).sentinels(3).server(server);
    let servers = builder.down_after(Duration::from_secs(1)).start().await.unwrap();
    assert_eq!((servers.sentinels().len(), servers.sentinel_addresses().len()), (3, 3));
    let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", servers.service()];
    for sentinel in servers.sentinels() {
        assert_eq!(sentinel.cli(&ask).await.unwrap().replace('\n', ":"), servers.addresses()[0]);
    }
    servers.servers()[0].cli(&["SET", "a", "1"]).await.unwrap();
    servers.wait_synced().await.unwrap();
    servers.servers()[0].kill().await.unwrap();
    let new = servers.wait_for_new_primary(0, FAILOVER).await.unwrap();
    assert!(new == 1 || new == 2);
    servers.servers()[new].cli(&["SET", "b", "1"]).await.unwrap();
    servers.servers()[0].restart().await.unwrap();
    // It believes to be the primary until the sentinels tell it otherwise.
    while !is_replica(&servers.servers()[0]).await {
        assert_eq!(servers.primary().await.unwrap(), new);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, 0..3, "b").await, ["1", "1", "1"]);
    assert!(matches!(servers.promote(0).await, Err(TestkitError::Invalid(_))));
}

/// Whether it says so. The moment it is told, all its connections are ended, that of the question among them.
async fn is_replica(server: &TestServer) -> bool {
    server.cli(&["ROLE"]).await.is_ok_and(|role| role.starts_with("slave"))
}

#[tokio::test]
async fn a_failover_can_be_asked_for_and_a_paused_primary_is_replaced() {
    let server = TestServer::builder().tls().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let builder = TestReplication::builder().replicas(2).sentinels(3).server(server);
    let servers = builder.down_after(Duration::from_secs(1)).start().await.unwrap();
    servers.failover().await.unwrap();
    let first = servers.wait_for_new_primary(0, FAILOVER).await.unwrap();
    // Refused by the sentinels as long as they are busy with the other one.
    servers.failover().await.unwrap();
    let second = servers.wait_for_new_primary(first, FAILOVER).await.unwrap();
    servers.wait_synced().await.unwrap();
    servers.servers()[second].pause().await.unwrap();
    let third = servers.wait_for_new_primary(second, FAILOVER).await.unwrap();
    assert_ne!(third, second);
    servers.servers()[third].cli(&["SET", "a", "1"]).await.unwrap();
    servers.servers()[second].resume().await.unwrap();
    while !is_replica(&servers.servers()[second]).await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    servers.wait_synced().await.unwrap();
    assert_eq!(get(&servers, 0..3, "a").await, ["1", "1", "1"]);
    // A sentinel comes back with what it knew.
    servers.sentinels()[0].kill().await.unwrap();
    servers.sentinels()[0].restart().await.unwrap();
    let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", servers.service()];
    let named = servers.sentinels()[0].cli(&ask).await.unwrap().replace('\n', ":");
    assert_eq!(named, servers.addresses()[third]);
}
