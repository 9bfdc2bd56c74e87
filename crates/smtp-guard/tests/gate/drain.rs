//! A node that is told to end.

use std::time::{Duration, Instant};

use crate::support::{Client, Cluster, MailServer};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_lets_running_connections_end_and_sends_new_ones_away() {
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("", "").await;
    let mut client = node.client("192.0.2.7").await;
    let mut stays = node.client("192.0.2.7").await;
    assert!(client.is_greeted() && stays.is_greeted());
    node.shutdown.drain();
    let begun = Instant::now();
    let mut new = Client::connect(node.address).await;
    let line = new.line().await;
    assert!(line.starts_with("421 4.3.2 ") && line.contains("about to end"), "{line}");
    client.say(b"NOOP\r\nQUIT\r\n").await;
    assert_eq!([client.line().await, client.line().await], ["250 ok", "221 bye"]);
    // The other one does not end: it is cut when the time to drain is over.
    assert_eq!(stays.line().await, "");
    assert!(begun.elapsed() >= Duration::from_millis(1_900), "{:?}", begun.elapsed());
    node.running.await.unwrap();
    assert!(tokio::net::TcpStream::connect(node.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_wish_ends_it_at_once() {
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("", "").await;
    let mut client = node.client("192.0.2.7").await;
    node.shutdown.drain();
    let begun = Instant::now();
    node.shutdown.now();
    assert_eq!(client.line().await, "");
    node.running.await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1_900), "{:?}", begun.elapsed());
}
