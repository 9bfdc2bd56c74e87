//! Health and metrics as scrapers, balancers and strangers see them.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use valkit_service::Shutdown;
use valkit_service::http::{Http, Readiness, Site};

/// A program that is ready until it drains, and counts how often it was asked for its metrics.
#[derive(Debug, Default)]
struct Program {
    scrapes: Arc<AtomicUsize>,
    has_recorder: bool,
}

impl Site for Program {
    fn metrics(&self, _is_draining: bool) -> Option<String> {
        let scrape = self.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        self.has_recorder.then(|| format!("scrapes {scrape}\n"))
    }

    fn keep_up(&self) {}

    fn readiness(&self, is_draining: bool) -> Readiness {
        Readiness { is_ready: !is_draining, document: format!("{{\"draining\":{is_draining}}}") }
    }
}

async fn served(program: Program) -> (SocketAddr, Shutdown) {
    let http = Http::bind(SocketAddr::from(([127, 0, 0, 1], 0)), program).await.unwrap();
    let (address, shutdown) = (http.address().unwrap(), Shutdown::new());
    tokio::spawn(http.run(shutdown.clone()));
    (address, shutdown)
}

/// Sends these bytes and reads until the other side closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn ask(address: SocketAddr, line: &str) -> String {
    exchange(address, &format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn each_path_has_its_answer_and_others_are_told_which_there_are() {
    let (address, _) = served(Program { has_recorder: true, ..Program::default() }).await;
    let metrics = ask(address, "GET /metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.ends_with("\r\n\r\nscrapes 1\n"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{metrics}");
    assert!(ask(address, "GET /healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(ask(address, "HEAD /healthz").await.ends_with("\r\n\r\n"));
    let nowhere = ask(address, "GET /secrets").await;
    assert!(nowhere.starts_with("HTTP/1.1 404 ") && nowhere.contains("/readyz"), "{nowhere}");
    let posted = ask(address, "POST /metrics").await;
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET, HEAD\r\n"), "{posted}");
}

#[tokio::test]
async fn who_drains_is_not_ready_and_is_watched_to_the_end() {
    let (address, shutdown) = served(Program { has_recorder: true, ..Program::default() }).await;
    assert!(ask(address, "GET /readyz").await.starts_with("HTTP/1.1 200 "));
    shutdown.drain();
    let drains = ask(address, "GET /readyz").await;
    assert!(drains.starts_with("HTTP/1.1 503 ") && drains.ends_with("{\"draining\":true}"), "{drains}");
    assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(address, "GET /metrics").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_process_with_another_recorder_says_so() {
    let (address, _) = served(Program::default()).await;
    let metrics = ask(address, "GET /metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 404 ") && metrics.contains("another recorder"), "{metrics}");
}

#[tokio::test]
async fn who_says_nothing_does_not_hold_a_place_for_ever() {
    let (address, _) = served(Program { has_recorder: true, ..Program::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    // All places are taken by those who say nothing; they lose them, and this one is served.
    assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn garbage_is_answered_and_asks_the_program_for_nothing() {
    let program = Program { has_recorder: true, ..Program::default() };
    let scrapes = Arc::clone(&program.scrapes);
    let (address, _) = served(program).await;
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    for garbage in ["\0\u{1}\u{2}\r\n\r\n", "GET /metrics SPDY/9\r\n\r\n"] {
        let answer = exchange(address, garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may close while this is still being sent.
    let _ = stream.write_all(endless.as_bytes()).await;
    assert!(ask(address, "GET /healthz").await.ends_with("ok\n"));
    assert_eq!(scrapes.load(Ordering::Relaxed), 0);
}
