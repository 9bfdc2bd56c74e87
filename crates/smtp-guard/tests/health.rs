//! Health as a balancer sees it.
#![allow(clippy::unwrap_used)]

mod web;

use std::time::{Duration, Instant};

use smtp_guard::Shutdown;
use smtp_guard::settings::Listen;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use valkey_testkit::{TestServer, eventually};

use crate::web::{ask, guard, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_store_is_ready_unless_its_gate_needs_it() {
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("valkey://{}", free.local_addr().unwrap());
    drop(free);
    for (gate, code, status) in [
        ("listen = []\n", "200", "ready"),
        ("listen = \"127.0.0.1:0\"\n", "200", "ready"),
        ("listen = \"127.0.0.1:0\"\non_unavailable = \"deny\"\n", "503", "unavailable"),
    ] {
        let guard = guard(&url, gate).await;
        let http = guard.http_address().unwrap();
        let running = tokio::spawn(guard.run(Shutdown::new()));
        let (head, body) = request(http, "GET /readyz").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{head}");
        assert!(body.contains(&format!("\"status\":\"{status}\",\"degraded\":true")), "{body}");
        assert!(request(http, "GET /healthz").await.0.starts_with("HTTP/1.1 200 "));
        running.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_says_so_and_who_says_nothing_is_closed() {
    let server = TestServer::shared().await;
    let guard = guard(&server.url(), "listen = []\n").await;
    let (http, policy) = (guard.http_address().unwrap(), guard.policy_addresses().remove(0));
    let shutdown = Shutdown::new();
    let told = shutdown.clone();
    let running = tokio::spawn(async move { guard.run(told).await.unwrap() });
    let begun = Instant::now();
    let mut silent = TcpStream::connect(http).await.unwrap();
    assert_eq!(silent.read(&mut [0; 9]).await.unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // A question that has begun is waited for.
    let Listen::Tcp(address) = policy else { panic!("{policy} is no address") };
    let mut postfix = TcpStream::connect(address).await.unwrap();
    postfix.write_all(b"request=smtpd_access_policy\n").await.unwrap();
    // It has arrived when the next one, which came later, is answered.
    assert_eq!(ask(&Listen::Tcp(address), "a").await, "action=DUNNO\n\n");
    shutdown.drain();
    eventually("it drains", async || {
        request(http, "GET /readyz").await.1.contains("\"status\":\"draining\"").then_some(())
    })
    .await;
    assert!(request(http, "GET /readyz").await.0.starts_with("HTTP/1.1 503 "));
    postfix.write_all(b"\n").await.unwrap();
    let mut answer = String::new();
    postfix.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "action=DUNNO\n\n");
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}
