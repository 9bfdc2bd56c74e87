//! A server can be asked, configured, broken and brought back.

#![allow(clippy::unwrap_used, missing_docs)]

mod client;

use std::time::Duration;

use client::Client;
use valkey_testkit::{TestServer, TestkitError, unique_name};

#[tokio::test]
async fn cli_speaks_to_the_shared_server() {
    let server = TestServer::shared().await;
    let key = unique_name("greeting");
    assert_eq!(server.cli(&["SET", &key, "hello"]).await.unwrap(), "OK");
    assert_eq!(server.cli(&["GET", &key]).await.unwrap(), "hello");
    assert_eq!(server.cli(&["GET", &unique_name("none")]).await.unwrap(), "");
    assert!(std::ptr::eq(server, TestServer::shared().await));
}

#[test]
fn the_shared_server_outlives_the_runtime_that_started_it() {
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pong = runtime.block_on(async { TestServer::shared().await.cli(&["PING"]).await });
        assert_eq!(pong.unwrap(), "PONG");
    }
}

#[tokio::test]
async fn cli_raw_carries_any_bytes_both_ways() {
    let server = TestServer::shared().await;
    let key = unique_name("bytes");
    let mut payload: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    payload.extend(b"\r\n\n\n");
    server.cli_raw(&["-x", "SET", &key], payload.clone()).await.unwrap();
    assert_eq!(server.cli(&["STRLEN", &key]).await.unwrap(), payload.len().to_string());
    assert_eq!(server.cli_raw(&["GET", &key], "").await.unwrap(), payload);
    assert!(matches!(server.cli(&["GET", &key]).await, Err(TestkitError::Invalid(_))));
}

#[tokio::test]
async fn a_server_knows_what_it_is() {
    let server = TestServer::start().await.unwrap();
    let version = server.version().await.unwrap();
    let said = version.to_string().replacen(' ', " version=", 1);
    assert!(server.log().contains(&format!("{said},")), "{version} is not in {}", server.log());
    assert!(version.at_least(7, 0, 0) && !version.at_least(version.major, version.minor, version.patch + 1));
}

#[tokio::test]
async fn an_error_of_the_server_is_an_error_of_cli() {
    let server = TestServer::shared().await;
    let key = unique_name("string");
    server.cli(&["SET", &key, "x"]).await.unwrap();
    let Err(TestkitError::Cli { command, message }) = server.cli(&["LPUSH", &key, "y"]).await else {
        panic!("a string is no list");
    };
    assert_eq!(command, format!("LPUSH {key} y"));
    assert!(message.starts_with("WRONGTYPE "), "{message}");
}

#[tokio::test]
async fn data_survives_a_kill_with_an_append_only_file_and_the_address_stays() {
    let server = TestServer::builder().append_only(true).config("appendfsync", "no").start().await.unwrap();
    let address = server.address();
    server.cli(&["LPUSH", "q", "one"]).await.unwrap();
    let mut client = Client::connect(&address).await;
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    server.kill().await.unwrap();
    assert!(!server.is_running());
    assert_eq!(client.hear().await, b"", "its clients are cut off");
    let refused = tokio::net::TcpStream::connect(&address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(matches!(server.cli(&["PING"]).await, Err(TestkitError::Cli { .. })));
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    assert!(server.is_running());
    assert_eq!(server.address(), address);
    assert_eq!(server.cli(&["LRANGE", "q", "0", "-1"]).await.unwrap(), "one");
    server.restart().await.unwrap();
    assert_eq!(Client::connect(&address).await.ask(&["LLEN", "q"]).await, ":1\r\n");
}

#[tokio::test]
async fn without_persistence_a_restart_forgets() {
    let server = TestServer::start().await.unwrap();
    server.cli(&["SET", "a", "1"]).await.unwrap();
    server.stop().await.unwrap();
    assert!(!server.is_running());
    server.restart().await.unwrap();
    assert_eq!(server.cli(&["EXISTS", "a"]).await.unwrap(), "0");
}

#[tokio::test]
async fn the_tail_of_an_append_only_file_can_be_lost() {
    // `everysec` would hold a write back while the disk is slow, and the kill take it along.
    let server = TestServer::builder().append_only(true).config("appendfsync", "no").start().await.unwrap();
    for value in ["one", "two"] {
        server.cli(&["LPUSH", "q", value]).await.unwrap();
    }
    assert!(matches!(server.lose_append_only_tail(1).await, Err(TestkitError::State { .. })));
    server.kill().await.unwrap();
    server.lose_append_only_tail(1).await.unwrap();
    assert!(matches!(server.lose_append_only_tail(1_000_000).await, Err(TestkitError::Invalid(_))));
    server.restart().await.unwrap();
    assert_eq!(server.cli(&["LRANGE", "q", "0", "-1"]).await.unwrap(), "one");
}

#[tokio::test]
async fn a_bit_of_an_append_only_file_can_turn_over() {
    let server = TestServer::builder().append_only(true).config("appendfsync", "no").start().await.unwrap();
    server.cli(&["LPUSH", "q", "payload-0"]).await.unwrap();
    server.kill().await.unwrap();
    let file = server.append_only_file().await.unwrap();
    let at = file.windows(9).position(|some| some == b"payload-0").unwrap() + 8;
    assert!(matches!(server.flip_append_only_bit(1_000_000).await, Err(TestkitError::Invalid(_))));
    server.flip_append_only_bit(at as u64).await.unwrap();
    assert_eq!(server.append_only_file().await.unwrap().len(), file.len());
    server.restart().await.unwrap();
    assert_eq!(server.cli(&["LRANGE", "q", "0", "-1"]).await.unwrap(), "payload-1");
}

#[tokio::test]
async fn snapshots_fail_as_long_as_they_are_told_to() {
    let server = TestServer::start().await.unwrap();
    server.cli(&["SAVE"]).await.unwrap();
    server.fail_snapshots(true).await.unwrap();
    assert!(server.cli(&["SAVE"]).await.is_err());
    server.fail_snapshots(false).await.unwrap();
    server.cli(&["SAVE"]).await.unwrap();
}

#[tokio::test]
async fn a_paused_server_answers_when_it_is_resumed() {
    let server = TestServer::start().await.unwrap();
    let mut client = Client::connect(&server.address()).await;
    server.pause().await.unwrap();
    assert!(server.is_running());
    client.say(&["PING"]).await.unwrap();
    assert!(client.hears_nothing().await);
    let mut other = Client::connect(&server.address()).await;
    other.say(&["PING"]).await.unwrap();
    assert!(other.hears_nothing().await);
    server.resume().await.unwrap();
    assert_eq!(client.hear().await, b"+PONG\r\n");
    assert_eq!(other.hear().await, b"+PONG\r\n");

    // Each end works on a paused one, too.
    server.pause().await.unwrap();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    server.pause().await.unwrap();
    server.kill().await.unwrap();
    assert!(matches!(server.pause().await, Err(TestkitError::State { .. })));
}

#[tokio::test]
async fn directives_take_effect() {
    let server =
        TestServer::builder().config("maxmemory", "4mb").config("save", "3600 1").start().await.unwrap();
    assert_eq!(server.cli(&["CONFIG", "GET", "maxmemory"]).await.unwrap(), "maxmemory\n4194304");
    assert_eq!(server.cli(&["CONFIG", "GET", "save"]).await.unwrap(), "save\n3600 1");
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let Err(TestkitError::Start { reason, log }) =
        TestServer::builder().config("no-such-thing", "1").start().await
    else {
        panic!("it has no such directive");
    };
    assert_eq!(reason, "exit code 1");
    assert!(log.contains("no-such-thing"), "{log}");
    let broken = TestServer::builder().config("maxmemory", "1mb\nport 1").start().await;
    assert!(matches!(broken, Err(TestkitError::Invalid(_))));
    let broken = TestServer::builder().acl_user("a b", "c", "+@all").start().await;
    assert!(matches!(broken, Err(TestkitError::Invalid(_))));
}

#[tokio::test]
async fn the_log_tells_of_all_runs() {
    let server = TestServer::start().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.log().matches("Ready to accept connections").count(), 2);
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let server = TestServer::builder().password("s3cret").start().await.unwrap();
    assert_eq!(server.url(), format!("valkey://default:s3cret@{}", server.address()));
    let mut client = Client::connect(&server.address()).await;
    assert!(client.ask(&["LLEN", "q"]).await.starts_with("-NOAUTH"));
    assert!(client.ask(&["AUTH", "wrong"]).await.starts_with("-WRONGPASS"));
    assert_eq!(client.ask(&["AUTH", "s3cret"]).await, "+OK\r\n");
    assert_eq!(client.ask(&["LLEN", "q"]).await, ":0\r\n");
    assert_eq!(server.cli(&["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_user_may_what_its_rules_say() {
    let server = TestServer::builder()
        .default_user_off()
        .acl_user("app", "pw", "~queue:* &* +@all -@dangerous")
        .start()
        .await
        .unwrap();
    assert_eq!(server.url(), format!("valkey://app:pw@{}", server.address()));
    let mut client = Client::connect(&server.address()).await;
    assert!(client.ask(&["PING"]).await.starts_with("-NOAUTH"));
    assert_eq!(client.ask(&["AUTH", "app", "pw"]).await, "+OK\r\n");
    assert_eq!(client.ask(&["LPUSH", "queue:q", "x"]).await, ":1\r\n");
    assert!(client.ask(&["LPUSH", "other", "x"]).await.starts_with("-NOPERM"));
    assert!(client.ask(&["FLUSHALL"]).await.starts_with("-NOPERM"));
    assert_eq!(server.cli(&["ACL", "WHOAMI"]).await.unwrap(), "testkit");
    // The list is kept in a file: changes can be saved, and are read again at a restart.
    server.cli(&["ACL", "SETUSER", "app", "resetpass", ">new"]).await.unwrap();
    server.cli(&["ACL", "SAVE"]).await.unwrap();
    server.restart().await.unwrap();
    let mut client = Client::connect(&server.address()).await;
    assert!(client.ask(&["AUTH", "app", "pw"]).await.starts_with("-WRONGPASS"));
    assert_eq!(client.ask(&["AUTH", "app", "new"]).await, "+OK\r\n");
}

#[tokio::test]
async fn a_start_nobody_waits_for_leaves_nothing_behind() {
    let start = TestServer::builder().start();
    assert!(tokio::time::timeout(Duration::from_millis(1), start).await.is_err());
    assert_eq!(TestServer::shared().await.cli(&["PING"]).await.unwrap(), "PONG");
}
