//! What comes over a connection that is nothing of Postfix's.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use valkey_testkit::TestServer;

use crate::support::{MAIL, Mail, Node, PATIENCE, prefix};

const LIMIT: &str = "[policy.limits.client]\nper = \"client\"\nquota = \"1000/10day\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_closed_without_an_answer() {
    let server = TestServer::shared().await;
    let node = Node::start(server, &prefix(), LIMIT).await;
    let megabyte = vec![b'x'; 1 << 20];
    let corpus: &[&[u8]] = &[
        &megabyte,
        &[b"sender=", &megabyte[..], b"\n\n"].concat(),
        b"request=smtpd_access_policy\nsender=a\0b\n\n",
        b"request=smtpd_access_policy\nno equals sign\n\n",
        b"request=other\n\n",
        b"=\n\n",
        b"\n",
        b"\n\n\n\n",
        b"EHLO example.org\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        &"x=1\n".repeat(300).into_bytes(),
        &format!("x={}\n", "y".repeat(4_000)).repeat(20).into_bytes(),
    ];
    for bytes in corpus {
        let mut stranger = node.connect().await;
        // It may be closed while we are still talking.
        let _ = tokio::time::timeout(PATIENCE, stranger.0.write_all(bytes)).await.unwrap();
        assert_eq!(stranger.answer().await, "", "{:?}", &bytes[..bytes.len().min(40)]);
    }
    // Nobody else noticed.
    assert_eq!(node.connect().await.ask("RCPT", MAIL, "b@x.org", 0).await, "DUNNO");
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_but_possible_questions_are_answered() {
    let server = TestServer::shared().await;
    let node = Node::start(server, &prefix(), LIMIT).await;
    let mut postfix = node.connect().await;
    let question = "request=smtpd_access_policy\nprotocol_state=RCPT\ninstance=a\nclient_address=192.0.2.7\n";
    for (rest, answers) in [
        ("\n", 1),
        ("client_address=192.0.2.8\nclient_address=\n\n", 1),
        ("sender=\u{fc}\u{1f4e7}@example.org\n\n", 1),
        ("a_name_of_tomorrow==x=\n\n", 1),
        ("recipient_count=99999999999999999999\n\n", 1),
    ] {
        postfix.say(format!("{question}{rest}").as_bytes()).await;
        for _ in 0..answers {
            assert_eq!(postfix.answer().await, "DUNNO");
        }
    }
    // Bytes that are no text, and several questions in one go.
    postfix.say(b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=\xff\xfe\n\n").await;
    postfix.say(format!("{question}\n").repeat(50).as_bytes()).await;
    for _ in 0..51 {
        assert_eq!(postfix.answer().await, "DUNNO");
    }
    // A byte at a time.
    for byte in format!("{question}\n").bytes() {
        postfix.say(&[byte]).await;
    }
    assert_eq!(postfix.answer().await, "DUNNO");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_question_is_closed_and_who_is_idle_too() {
    let server = TestServer::shared().await;
    let policy = format!("request_timeout = \"1s\"\nidle_timeout = \"3s\"\n{LIMIT}");
    let node = Node::start(server, &prefix(), &policy).await;
    let begun = Instant::now();
    let (mut half, mut idle) = (node.connect().await, node.connect().await);
    half.say(b"request=smtpd_access_policy\nprotocol_sta").await;
    assert_eq!(half.answer().await, "");
    let slow = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_millis(2_800)).contains(&slow), "{slow:?}");
    assert_eq!(idle.answer().await, "");
    assert!(begun.elapsed() >= Duration::from_millis(2_900), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_connections_than_may_be() {
    let server = TestServer::shared().await;
    let node = Node::start(server, &prefix(), &format!("max_connections = 2\n{LIMIT}")).await;
    let mail = |instance| Mail { instance, ..MAIL };
    let (mut one, mut two) = (node.connect().await, node.connect().await);
    assert_eq!(one.ask("RCPT", mail("a"), "b@x.org", 0).await, "DUNNO");
    assert_eq!(two.ask("RCPT", mail("b"), "b@x.org", 0).await, "DUNNO");
    assert_eq!(node.connect().await.answer().await, "");
    drop(one);
    valkey_testkit::eventually("a place", async || {
        let mut next = node.connect().await;
        // It may be closed before it is written to.
        let _ = next.0.write_all(b"request=smtpd_access_policy\n\n").await;
        (next.answer().await == "DUNNO").then_some(())
    })
    .await;
}
