//! What the integration tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::time::{Duration, Instant};

use valkey_connection::{Command, Connection, ConnectionSettings, Error};
use valkey_testkit::TestServer;

/// Settings that notice trouble fast, so that the tests need not wait long.
pub(crate) fn brisk(url: &str) -> ConnectionSettings {
    ConnectionSettings::from_url(url)
        .unwrap()
        .pool_size(1)
        .dial_timeout(Duration::from_secs(1))
        .read_timeout(Duration::from_millis(500))
        .write_timeout(Duration::from_secs(1))
        .probe_interval(Duration::from_millis(200))
        .probe_timeout(Duration::from_millis(300))
}

/// A connection to the server that all tests of a file share.
pub(crate) async fn shared() -> Connection {
    let server = TestServer::shared().await;
    Connection::connect(&ConnectionSettings::from_url(&server.url()).unwrap()).await.unwrap()
}

/// Tries until it works, and says how long that took; panics with the last error after `limit`.
pub(crate) async fn until_ok<T, F>(limit: Duration, mut attempt: impl FnMut() -> F) -> (T, Duration)
where
    F: Future<Output = Result<T, Error>>,
{
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return (value, started.elapsed()),
            Err(error) if started.elapsed() > limit => panic!("still failing after {limit:?}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until something holds; panics after `limit`.
pub(crate) async fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn lpush(key: &str, value: &str) -> Command {
    Command::new("LPUSH").key(key).arg(value)
}

pub(crate) fn llen(key: &str) -> Command {
    Command::new("LLEN").key(key)
}
