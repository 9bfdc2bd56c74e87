//! What the limits admit, on whichever node.

use tokio::task::JoinSet;
use valkey_testkit::{TestServer, eventually};

use crate::support::{Client, Cluster, MailServer};

#[tokio::test(flavor = "multi_thread")]
async fn of_thirty_connections_twenty_pass_and_the_store_counts_them() {
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let node = cluster.node("max_requests_per_window = 20\nrate_limit_window = \"1h\"", "").await;
    let mut greetings = Vec::new();
    for _ in 0..30 {
        greetings.push(node.visit("172.20.0.1").await);
    }
    assert!(greetings[..20].iter().all(|greeting| greeting == "220 mail"), "{greetings:?}");
    for refused in &greetings[20..] {
        assert!(
            refused.starts_with("421 4.7.0 ")
                && refused.contains("too many connections from 172.20.0.1 (20 in the window), try again in "),
            "{refused}"
        );
    }
    assert_eq!(mail.headers().len(), 20);
    let key = format!("{}ip:172.20.0.1", cluster.prefix);
    let server = TestServer::shared().await;
    assert_eq!(server.cli(&["ZCARD", &key]).await.unwrap(), "20");
    assert_eq!(node.visit("172.20.0.2").await, "220 mail", "another address has a limit of its own");
    node.end().await;
    // Nothing of what was held is left.
    let held = server.cli(&["--scan", "--pattern", &format!("{}*:held", cluster.prefix)]).await.unwrap();
    assert_eq!(held, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_thirty_at_once_on_three_nodes_exactly_twenty_pass() {
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(cluster.node("max_requests_per_window = 20\nrate_limit_window = \"1h\"", "").await);
    }
    let nodes = std::sync::Arc::new(nodes);
    for round in 1..=5 {
        let mut visits = JoinSet::new();
        for number in 0..30 {
            let nodes = nodes.clone();
            // Addresses of one network are one client, if they are IPv6.
            visits.spawn(
                async move { nodes[number % 3].visit(&format!("2001:db8:1:{round}::{number}")).await },
            );
        }
        let greetings = visits.join_all().await;
        let passed = greetings.iter().filter(|greeting| *greeting == "220 mail").count();
        assert_eq!(passed, 20, "{greetings:?}");
        let key = format!("{}ip:2001:db8:1:{round}::/64", cluster.prefix);
        assert_eq!(TestServer::shared().await.cli(&["ZCARD", &key]).await.unwrap(), "20");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_its_connections_gets_no_more_on_any_node_and_pays_nothing_for_trying() {
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let resources = "max_connections_per_ip = 50\nmax_requests_per_window = 60\nrate_limit_window = \"1h\"";
    let nodes = [
        cluster.node(resources, "").await,
        cluster.node(resources, "").await,
        cluster.node(resources, "").await,
    ];
    let mut held = Vec::new();
    for number in 0..50 {
        let client = nodes[number % 3].client("192.0.2.7").await;
        assert!(client.is_greeted(), "{number}: {}", client.greeting);
        held.push(client);
    }
    for node in &nodes {
        for _ in 0..5 {
            let refused = node.visit("192.0.2.7").await;
            assert!(
                refused.starts_with("421 4.7.0 ") && refused.contains("at the same time (50)"),
                "{refused}"
            );
        }
        assert_eq!(node.visit("192.0.2.8").await, "220 mail");
    }
    drop(held.pop());
    let room = eventually("the place of one that has closed", async || {
        let client = nodes[0].client("192.0.2.7").await;
        client.is_greeted().then_some(client)
    });
    held.push(room.await);
    // Whoever found no place was not charged.
    let key = format!("{}ip:192.0.2.7", cluster.prefix);
    assert_eq!(TestServer::shared().await.cli(&["ZCARD", &key]).await.unwrap(), "51");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_together_hold_no_more_than_the_cluster_may() {
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let nodes =
        [cluster.node("max_connections = 10", "").await, cluster.node("max_connections = 10", "").await];
    let mut held = Vec::new();
    for number in 0..10 {
        held.push(nodes[number % 2].client(&format!("192.0.2.{number}")).await);
    }
    assert!(held.iter().all(Client::is_greeted));
    for node in &nodes {
        let refused = node.visit("192.0.2.99").await;
        assert!(
            refused.starts_with("421 4.7.0 ") && refused.contains("too many connections (10)"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn some_are_never_limited_and_a_process_has_a_bound_of_its_own() {
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let node = cluster
        .node("max_connections_per_ip = 1", "allowed = [\"192.0.2.0/24\"]\nmax_local_connections = 4")
        .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let client = node.client("::ffff:192.0.2.7").await;
        assert!(client.is_greeted(), "{}", client.greeting);
        held.push(client);
    }
    held.push(node.client("198.51.100.1").await);
    assert!(held[3].is_greeted());
    // It is told before it says who it is.
    let mut fifth = Client::connect(node.address).await;
    assert!(fifth.line().await.starts_with("421 4.3.2 "));
}

/// Scripts that the server was asked to run.
async fn scripts(server: &TestServer) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).await.unwrap();
    let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    stats.lines().filter(|line| line.starts_with("cmdstat_eval")).filter_map(calls).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_the_rate_refuses_costs_the_store_nothing_and_is_in_nobodys_way() {
    const FLOOD: u64 = 300;
    let server = TestServer::start().await.unwrap();
    let mail = MailServer::start().await;
    let mut cluster = Cluster::new(&mail).await;
    cluster.url = server.url();
    let resources = "max_requests_per_window = 5\nrate_limit_window = \"1h\"";
    let node = cluster.node(resources, "").await;
    for _ in 0..5 {
        assert_eq!(node.visit("192.0.2.7").await, "220 mail");
    }
    assert!(node.visit("192.0.2.7").await.starts_with("421"));
    let before = scripts(&server).await;
    // One after the other: those that come at once would travel together, and cost little anyhow.
    for number in 0..FLOOD {
        assert!(node.visit("192.0.2.7").await.starts_with("421 4.7.0 "));
        if number == FLOOD / 2 {
            assert_eq!(node.visit("192.0.2.8").await, "220 mail");
        }
    }
    // The other client, the looks at the store, and what the refused one asks when its refusal has been believed for 5 s.
    let asked = scripts(&server).await - before;
    assert!(asked < FLOOD / 4, "{asked} calls");
    assert_eq!(mail.headers().len(), 6);
}
