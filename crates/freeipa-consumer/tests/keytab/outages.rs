//! A KDC that is away, or might as well be.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use valkey_testkit::eventually;

use crate::scene::{Scene, with};

/// A consumer that runs, and ends with the test.
struct Running {
    child: Child,
    http: SocketAddr,
}

impl Running {
    async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let http = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains("started") {
                line.clear();
                assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            }
            // Nobody reads the rest, and nobody must wait for that.
            std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
            let start = line.find("127.0.0.1:").unwrap();
            let is_of_it = |letter: char| letter.is_ascii_digit() || letter == '.' || letter == ':';
            let end = line[start..].find(|letter| !is_of_it(letter)).unwrap_or(line.len() - start);
            line[start..start + end].parse().unwrap()
        });
        Self { http: http.await.unwrap(), child }
    }

    async fn ready(&self) -> Value {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kdc_that_is_away_parks_until_it_is_back() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.realm.stop_kdc();
    let running = Running::start(scene.consumer(&with(&scene.realm.path("service.keytab")))).await;
    let parked = eventually("parked", async || {
        let ready = running.ready().await;
        (ready["kind"] == "directory").then_some(ready)
    });
    let parked = parked.await;
    assert!(parked["reason"].as_str().unwrap().contains("Cannot contact any KDC"), "{parked}");
    scene.realm.start_kdc().await;
    eventually("taken again", async || (running.ready().await["status"] == "ready").then_some(())).await;
    assert_eq!(scene.site.logins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kdc_that_does_not_answer_is_not_waited_for() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.realm.stop_kdc();
    // Connections are taken by the system, and nobody ever reads from them.
    let _deaf = TcpListener::bind(("127.0.0.1", scene.realm.port())).unwrap();
    let begun = Instant::now();
    let findings = scene.check(&scene.realm.path("service.keytab")).await;
    findings.assert_no_login(&["no ticket came within 20 s", "see that the KDC answers"]);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}
