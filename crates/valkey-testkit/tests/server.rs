#![allow(clippy::unwrap_used, missing_docs)]

use valkey_testkit::{TestServer, TestkitError, unique_name};

#[tokio::test]
async fn cli_speaks_to_the_shared_server() {
    let server = TestServer::shared().await;
    let key = unique_name("greeting");
    assert_eq!(server.cli(&["SET", &key, "hello"]).await.unwrap(), "OK");
    assert_eq!(server.cli(&["GET", &key]).await.unwrap(), "hello");
}

#[tokio::test]
async fn data_survives_a_kill_with_an_append_only_file_and_the_address_stays() {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    let address = server.address();
    server.cli(&["LPUSH", "q", "one"]).await.unwrap();
    server.kill().await.unwrap();
    assert!(!server.is_running());
    assert!(matches!(server.cli(&["PING"]).await, Err(TestkitError::Cli { .. })));
    server.restart().await.unwrap();
    assert_eq!(server.address(), address);
    assert_eq!(server.cli(&["LRANGE", "q", "0", "-1"]).await.unwrap(), "one");
}
