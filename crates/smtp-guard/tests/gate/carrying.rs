//! What passes is passed on as it is, and nothing lasts longer than it may.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Cluster, MailServer};

/// A client that says much and listens late: both directions are full for a while, and nothing is lost or out of order.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_as_they_were_sent_in_both_directions() {
    const SIZE: usize = 16 << 20;
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("", "").await;
    let mut client = node.client("192.0.2.7").await;
    client.say(b"DATA\r\n").await;
    assert_eq!(client.line().await, "354 go");
    let bytes: Vec<u8> =
        (0..SIZE).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let sent = bytes.clone();
    let (mut read, mut write) = client.stream.into_inner().into_split();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    writer.await.unwrap();
    assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_and_who_never_ends_is_closed() {
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let node = cluster.node("idle_timeout = \"1s\"\nsession_timeout = \"4s\"", "").await;
    let mut silent = node.client("192.0.2.7").await;
    let begun = Instant::now();
    assert_eq!(silent.line().await, "");
    let lasted = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&lasted), "{lasted:?}");
    // One that goes on and on lasts longer than that, but not for ever.
    let begun = Instant::now();
    let mut busy = node.client("192.0.2.8").await;
    loop {
        if busy.stream.write_all(b"NOOP\r\n").await.is_err() || busy.line().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(3_900), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_close_when_the_mail_server_has_is_closed() {
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("max_connections_per_ip = 1", "").await;
    let mut client = node.client("192.0.2.7").await;
    client.say(b"QUIT\r\n").await;
    assert_eq!([client.line().await, client.line().await], ["221 bye", ""]);
    // It still has its side open; its place is free soon nevertheless.
    valkey_testkit::eventually("its place", async || {
        node.client("192.0.2.7").await.is_greeted().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mail_server_clients_are_told_to_come_again_and_hold_no_place() {
    let mail = MailServer::start().await;
    let mut cluster = Cluster::new(&mail).await;
    // Nobody listens there: it was somebody's a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster.backend = free.local_addr().unwrap();
    drop(free);
    let node = cluster.node("max_connections_per_ip = 1", "").await;
    for _ in 0..3 {
        let refused = node.visit("192.0.2.7").await;
        assert!(
            refused.starts_with("421 4.3.2 ") && refused.contains("the mail server does not answer"),
            "{refused}"
        );
    }
}
