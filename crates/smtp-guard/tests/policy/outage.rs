//! The store goes away: each answer comes in time, and says what the limits say.

use std::time::{Duration, Instant};

use valkey_testkit::{TestServer, eventually};

use crate::support::{MAIL, Mail, Node, prefix};

/// The time of a check, and what the policy service takes beside it, on a busy machine.
const AT_MOST: Duration = Duration::from_secs(5 + 1);

fn limits(on_unavailable: &str) -> String {
    format!(
        "[policy.limits.client]\nper = \"client\"\nquota = \"2/10day\"\non_unavailable = {on_unavailable}\n\
         [policy.limits.sender]\nper = \"sender\"\ncount = \"recipient\"\nquota = \"1000/10day\"\n"
    )
}

async fn ask_new(node: &Node, number: u32) -> String {
    let instance = format!("1f.{number}");
    let mail = Mail { instance: &instance, ..MAIL };
    let begun = Instant::now();
    let answer = node.connect().await.ask("RCPT", mail, "b@x.org", 0).await;
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_mail_flows_or_waits_as_the_limit_says() {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    for fault in ["killed", "paused"] {
        let (open, closed) = (
            Node::start(&server, &prefix(), &limits("\"allow\"")).await,
            Node::start(&server, &prefix(), &limits("\"deny\"")).await,
        );
        for node in [&open, &closed] {
            assert_eq!(ask_new(node, 0).await, "DUNNO");
        }
        if fault == "killed" {
            server.kill().await.unwrap();
        } else {
            server.pause().await.unwrap();
        }
        for number in 1..10 {
            assert_eq!(ask_new(&open, number).await, "DUNNO", "{fault}");
            let deferred = ask_new(&closed, number).await;
            assert_eq!(deferred, "451 4.3.2 Error: limits cannot be checked now, try again later", "{fault}");
        }
        if fault == "killed" {
            server.restart().await.unwrap();
        } else {
            server.resume().await.unwrap();
        }
        // What passed meanwhile is not charged later, and the limit is in force again by itself.
        let back = Instant::now();
        let mut number = 10;
        eventually("the limit", async || {
            number += 1;
            ask_new(&open, number).await.starts_with("450 ").then_some(())
        })
        .await;
        assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
        eventually("the other limit", async || {
            number += 1;
            ask_new(&closed, number).await.starts_with("450 ").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_store_was_ever_there_answers_come_as_well() {
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("valkey://{}", free.local_addr().unwrap());
    drop(free);
    let open = Node::start_over(&url, &prefix(), &limits("\"allow\"")).await;
    let closed = Node::start_over(&url, &prefix(), &limits("\"deny\"")).await;
    for number in 0..5 {
        assert_eq!(ask_new(&open, number).await, "DUNNO");
        assert!(ask_new(&closed, number).await.starts_with("451 4.3.2 "));
    }
}
