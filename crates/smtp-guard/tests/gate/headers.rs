//! Who the client is: what balancers say, and what is told to the mail server.

use std::time::{Duration, Instant};

use smtp_guard::proxy::Header;

use crate::support::{Client, Cluster, MailServer};

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_server_is_told_the_client_that_the_balancer_names() {
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("", "").await;
    assert_eq!(node.visit("192.0.2.7").await, "220 mail");
    assert_eq!(node.visit("2001:db8::7").await, "220 mail");
    let mut line = Client::connect(node.address).await;
    // What the client says too early is kept.
    line.say(b"PROXY TCP4 198.51.100.9 203.0.113.1 1234 25\r\nNOOP\r\nQUIT\r\n").await;
    assert_eq!([line.line().await, line.line().await, line.line().await], ["220 mail", "250 ok", "221 bye"]);
    // A balancer that looks whether the mail server is there.
    let mut check = Client::connect(node.address).await;
    check.say(&Header::Local.to_bytes()).await;
    assert_eq!(check.line().await, "220 mail");
    let proxied = |client: &str, server: &str| Header::Proxied {
        client: client.parse().unwrap(),
        server: server.parse().unwrap(),
    };
    assert_eq!(
        mail.headers(),
        [
            proxied("192.0.2.7:40000", "203.0.113.1:25"),
            proxied("[2001:db8::7]:40000", "[2001:db8::25]:25"),
            proxied("198.51.100.9:1234", "203.0.113.1:25"),
            Header::Local,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_balancer_is_not_believed() {
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("", "trusted_proxies = []").await;
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.line().await, "220 mail", "it is greeted before it says anything");
    client.say(b"PROXY TCP4 198.51.100.9 203.0.113.1 1234 25\r\n").await;
    assert_eq!(client.line().await, "250 ok", "to the mail server it is a line like others");
    let here = client.stream.get_ref().local_addr().unwrap();
    assert_eq!(mail.headers(), [Header::Proxied { client: here, server: node.address }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_says_something_else_or_nothing_is_cut_off_in_time() {
    let mail = MailServer::start().await;
    let node = Cluster::new(&mail).await.node("", "header_timeout = \"1s\"").await;
    for garbage in [
        &b"EHLO there\r\n"[..],
        b"PROXY TCP4 nobody\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        &[0; 9_000],
    ] {
        let mut client = Client::connect(node.address).await;
        client.say(garbage).await;
        assert_eq!(client.line().await, "", "{garbage:?}");
    }
    // A byte now and then: the time is for the whole header.
    let begun = Instant::now();
    let mut slow = Client::connect(node.address).await;
    let drip = async {
        for byte in Header::Local.to_bytes().iter().chain(&[0; 100]) {
            use tokio::io::AsyncWriteExt as _;
            if slow.stream.get_mut().write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    drip.await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(slow.line().await, "");
    assert_eq!(mail.headers(), [], "nothing of it came to the mail server");
}
