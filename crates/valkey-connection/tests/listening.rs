//! Hints on shard channels.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{brisk, shared};
use valkey_connection::{Bell, Command, Connection, Listener};
use valkey_testkit::{FaultProxy, TestServer, unique_name};

async fn next(listener: &mut Listener) -> Option<Bell> {
    tokio::time::timeout(Duration::from_secs(10), listener.recv()).await.ok()
}

async fn ring(connection: &Connection, channel: &str) {
    connection.execute(Command::new("SPUBLISH").key(channel).arg("")).await.unwrap();
}

#[tokio::test]
async fn a_ring_arrives_at_every_listener_of_the_channel() {
    let connection = shared().await;
    let channel = unique_name("bell");
    let mut first = connection.listen(&channel).await.unwrap();
    let mut second = connection.listen(&channel).await.unwrap();
    let mut other = connection.listen(&unique_name("other")).await.unwrap();
    ring(&connection, &channel).await;
    assert_eq!(next(&mut first).await, Some(Bell::Rang));
    assert_eq!(next(&mut second).await, Some(Bell::Rang));
    assert!(tokio::time::timeout(Duration::from_millis(50), other.recv()).await.is_err());
}

#[tokio::test]
async fn a_dropped_recv_loses_no_ring() {
    let connection = shared().await;
    let channel = unique_name("bell");
    let mut listener = connection.listen(&channel).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), listener.recv()).await.is_err());
    ring(&connection, &channel).await;
    // Whoever polls and drops all the time still gets it in the end.
    let started = std::time::Instant::now();
    loop {
        if let Ok(bell) = tokio::time::timeout(Duration::from_micros(10), listener.recv()).await {
            assert_eq!(bell, Bell::Rang);
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "the ring is lost");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn after_a_lost_connection_it_says_that_something_may_be_missed_and_listens_on() {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let through = Connection::connect(&brisk(&format!("valkey://{}", proxy.address()))).await.unwrap();
    let direct = shared().await;
    let channel = unique_name("bell");
    let mut listener = through.listen(&channel).await.unwrap();
    for _ in 0..3 {
        proxy.drop_connections();
        assert_eq!(next(&mut listener).await, Some(Bell::MaybeMissed));
        ring(&direct, &channel).await;
        assert_eq!(next(&mut listener).await, Some(Bell::Rang));
    }
}

#[tokio::test]
async fn a_stalled_connection_is_noticed_without_any_traffic() {
    let server = TestServer::shared().await;
    let hole = FaultProxy::start(&server.address()).await.unwrap();
    let front = FaultProxy::start(&hole.address()).await.unwrap();
    let through = Connection::connect(&brisk(&format!("valkey://{}", front.address()))).await.unwrap();
    let channel = unique_name("bell");
    let mut listener = through.listen(&channel).await.unwrap();
    hole.stall();
    front.set_upstream(&server.address());
    assert_eq!(next(&mut listener).await, Some(Bell::MaybeMissed));
    ring(&shared().await, &channel).await;
    assert_eq!(next(&mut listener).await, Some(Bell::Rang));
}
