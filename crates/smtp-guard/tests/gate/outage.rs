//! The store goes away, and comes back: mail flows, and soon the limits are back.

use std::time::{Duration, Instant};

use valkey_testkit::{TestServer, eventually};

use crate::support::{Cluster, MailServer};

const RESOURCES: &str = "max_requests_per_window = 5\nrate_limit_window = \"1h\"";
/// Less than any client of a mail server waits.
const PROMPT: Duration = Duration::from_secs(2);

/// The store may be back for so long at most before limits are in force.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn mail_flows_while_the_store_is_away_and_limits_are_back_in_time() {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    let mail = MailServer::start().await;
    let mut cluster = Cluster::new(&mail).await;
    cluster.url = server.url();
    let node = cluster.node(RESOURCES, "check_timeout = \"100ms\"").await;
    eventually("limits in force", async || node.visit("192.0.2.1").await.starts_with("421").then_some(()))
        .await;
    for (fault, away) in [("killed", 1), ("paused", 1), ("killed", 4)] {
        if fault == "killed" {
            server.kill().await.unwrap();
        } else {
            server.pause().await.unwrap();
        }
        let begun = Instant::now();
        let mut visits = 0;
        while begun.elapsed() < Duration::from_secs(away) || visits < 30 {
            let asked = Instant::now();
            assert_eq!(node.visit("192.0.2.2").await, "220 mail", "{fault}");
            assert!(asked.elapsed() < PROMPT, "{fault}: {:?}", asked.elapsed());
            visits += 1;
        }
        if fault == "killed" {
            server.restart().await.unwrap();
        } else {
            server.resume().await.unwrap();
        }
        let back = Instant::now();
        eventually("refused again", async || node.visit("192.0.2.1").await.starts_with("421").then_some(()))
            .await;
        assert!(back.elapsed() < BACK, "{fault} for {away} s: {:?}", back.elapsed());
        tokio::time::sleep(BACK.saturating_sub(back.elapsed())).await;
        // Now all are, not only some.
        for _ in 0..20 {
            assert!(node.visit("192.0.2.1").await.starts_with("421 4.7.0"));
        }
        let key = format!("{}ip:192.0.2.2", cluster.prefix);
        let charged: u64 = server.cli(&["ZCARD", &key]).await.unwrap().parse().unwrap();
        assert!(charged <= 5, "nothing is charged later");
        server.cli(&["DEL", &key]).await.unwrap();
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_the_store_and_finds_it() {
    let server = TestServer::start().await.unwrap();
    let mail = MailServer::start().await;
    let mut cluster = Cluster::new(&mail).await;
    cluster.url = server.url();
    server.kill().await.unwrap();
    let node = cluster.node(RESOURCES, "check_timeout = \"100ms\"").await;
    for _ in 0..20 {
        assert_eq!(node.visit("192.0.2.1").await, "220 mail");
    }
    server.restart().await.unwrap();
    let back = Instant::now();
    eventually("limits in force", async || node.visit("192.0.2.1").await.starts_with("421").then_some(()))
        .await;
    assert!(back.elapsed() < BACK, "{:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_not_pass_anybody_unchecked_says_so() {
    let server = TestServer::start().await.unwrap();
    let mail = MailServer::start().await;
    let mut cluster = Cluster::new(&mail).await;
    cluster.url = server.url();
    let node = cluster.node(RESOURCES, "check_timeout = \"100ms\"\non_unavailable = \"deny\"").await;
    eventually("the store", async || node.visit("192.0.2.1").await.starts_with("220").then_some(())).await;
    server.kill().await.unwrap();
    for _ in 0..20 {
        let refused = node.visit("192.0.2.1").await;
        assert!(
            refused.starts_with("421 4.3.2 ") && refused.contains("the limits cannot be asked"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_count_its_share_by_itself_meanwhile() {
    let server = TestServer::start().await.unwrap();
    let mail = MailServer::start().await;
    let mut cluster = Cluster::new(&mail).await;
    cluster.url = server.url();
    server.kill().await.unwrap();
    let gate = "check_timeout = \"100ms\"\non_unavailable = \"local\"\nnodes = 2";
    let node = cluster.node("max_requests_per_window = 10\nrate_limit_window = \"1h\"", gate).await;
    let mut passed = 0;
    for _ in 0..20 {
        passed += u32::from(node.visit("192.0.2.1").await == "220 mail");
    }
    assert_eq!(passed, 5, "half of the limit");
    assert_eq!(node.visit("192.0.2.2").await, "220 mail");
}
