//! When the circuit breaker lets calls through again: with the settings of a program that sets nothing, it would be a minute.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{brisk, llen, lpush, until, until_ok};
use valkey_connection::{BreakerState, Connection, ConnectionSettings};
use valkey_testkit::{FaultProxy, TestServer};

/// From the end of a fault until the first call that counts.
const SOON: Duration = Duration::from_secs(5);

/// A call as a sender makes it: `None` if it was refused.
async fn send(connection: &Connection) -> Option<bool> {
    let permit = connection.breaker().acquire().ok()?;
    let answer = connection.execute(lpush("q", "x")).await;
    permit.record(&answer);
    Some(answer.is_ok())
}

async fn until_open(connection: &Connection) {
    let started = Instant::now();
    while connection.breaker().state() != BreakerState::Open {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not open");
        send(connection).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Until calls get through, and as many as it takes to close it.
async fn until_sent(connection: &Connection, case: &str) {
    let started = Instant::now();
    while send(connection).await != Some(true) {
        assert!(started.elapsed() < SOON, "{case}: refused for {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eprintln!("{case}: after {:?}", started.elapsed());
    // Where an address was turned, another connection of the pool may still lead to the former server.
    while connection.breaker().state() != BreakerState::Closed {
        assert!(started.elapsed() < 2 * SOON, "{case}: not closed after {:?}", started.elapsed());
        send(connection).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As a program has it, but for what a call waits.
fn plain(url: &str) -> ConnectionSettings {
    ConnectionSettings::from_url(url).unwrap().read_timeout(Duration::from_millis(300))
}

async fn demote(server: &TestServer, primary: &TestServer) {
    let address = primary.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    server.cli(&["REPLICAOF", host, port]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_back_is_tried_at_once() {
    let server = TestServer::start().await.unwrap();
    let connection = Connection::connect(&plain(&server.url())).await.unwrap();
    server.kill().await.unwrap();
    until_open(&connection).await;
    server.restart().await.unwrap();
    until_sent(&connection, "killed").await;
}

// Not the server of the test above: one that has just come back has tries of growing pauses, however it fails next.
#[tokio::test]
async fn a_server_that_stood_still_is_tried_at_once() {
    let server = TestServer::start().await.unwrap();
    let connection = Connection::connect(&plain(&server.url())).await.unwrap();
    server.pause().await.unwrap();
    until_open(&connection).await;
    // The watchdog has to have noticed.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(send(&connection).await, None, "nobody has come back");
    server.resume().await.unwrap();
    until_sent(&connection, "stood still").await;
}

#[tokio::test]
async fn whoever_was_a_replica_for_a_while_is_tried_once_it_is_none() {
    let (server, other) = tokio::join!(TestServer::start(), TestServer::start());
    let (server, other) = (server.unwrap(), other.unwrap());
    let connection = Connection::connect(&plain(&server.url())).await.unwrap();
    demote(&server, &other).await;
    until_open(&connection).await;
    // Connections are made again meanwhile, and answer; that is not what counts.
    for _ in 0..30 {
        assert_eq!(send(&connection).await, None, "a replica is asked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.cli(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    until_sent(&connection, "a primary again").await;
}

#[tokio::test]
async fn an_address_that_leads_to_another_primary_is_followed_also_where_nobody_ends_connections() {
    let (old, new) = tokio::join!(TestServer::start(), TestServer::start());
    let (old, new) = (old.unwrap(), new.unwrap());
    let address = FaultProxy::start(&old.address()).await.unwrap();
    let connection = Connection::connect(&plain(&format!("valkey://{}", address.address()))).await.unwrap();
    demote(&old, &new).await;
    until_open(&connection).await;
    address.set_upstream(&new.address());
    until_sent(&connection, "an address that was turned").await;
    assert_ne!(new.cli(&["LLEN", "q"]).await.unwrap(), "0");
}

#[tokio::test]
async fn who_may_not_ask_for_the_role_has_the_growing_pauses() {
    let (server, other) = tokio::join!(
        TestServer::builder().acl_user("producer", "secret", "~q -@all +lpush +llen +ping +hello").start(),
        TestServer::start()
    );
    let (server, other) = (server.unwrap(), other.unwrap());
    let settings = plain(&server.url_as("producer", "secret"));
    let connection = Connection::connect(&settings).await.unwrap();
    demote(&server, &other).await;
    until_open(&connection).await;
    let (started, mut asked) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(8) {
        asked += usize::from(send(&connection).await.is_some());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!((1..=8).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn connections_that_break_all_the_time_do_not_open_the_way_to_a_sick_server() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let connection = Connection::connect(&brisk(&format!("valkey://{}", proxy.address()))).await.unwrap();
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    until_open(&connection).await;
    let (started, mut asked) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(8) {
        proxy.drop_connections();
        until_ok(SOON, || connection.execute(llen("q"))).await;
        asked += usize::from(send(&connection).await.is_some());
    }
    assert!((1..=8).contains(&asked), "asked {asked} times");
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await.unwrap();
    let settled = || connection.breaker().state() == BreakerState::HalfOpen;
    until(Duration::from_secs(10), "the next try", settled).await;
    assert_eq!(send(&connection).await, Some(true));
}
