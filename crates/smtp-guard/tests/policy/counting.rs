//! What counts, and how often.

use std::path::PathBuf;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use valkey_testkit::TestServer;

use crate::support::{MAIL, Mail, Node, Postfix, prefix};

const PER_CLIENT: &str =
    "[policy.limits.client]\nper = \"client\"\nquota = \"20/10day\"\nalgorithm = \"sliding-log\"\n";
const PER_SENDER: &str = "[policy.limits.sender]\nper = \"sender\"\ncount = \"recipient\"\nquota = \"20/10day\"\n\
    algorithm = \"sliding-log\"\n";

/// How much is counted under a key.
async fn count(server: &TestServer, node: &Node, key: &str) -> u64 {
    server.cli(&["ZCARD", &format!("{}{key}", node.prefix)]).await.unwrap().trim().parse().unwrap()
}

/// The stages of a message to two, one of them named twice.
async fn stages(postfix: &mut Postfix<tokio::net::TcpStream>, mail: Mail<'_>) {
    for recipient in ["bob@example.net", "eve@example.net", "bob@EXAMPLE.net"] {
        assert_eq!(postfix.ask("RCPT", mail, recipient, 0).await, "DUNNO");
    }
    assert_eq!(postfix.ask("DATA", mail, "", 3).await, "DUNNO");
    assert_eq!(postfix.ask("END-OF-MESSAGE", mail, "", 3).await, "DUNNO");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_counts_once_over_all_its_stages_and_each_recipient_once() {
    let server = TestServer::shared().await;
    let node = Node::start(server, &prefix(), &format!("{PER_CLIENT}{PER_SENDER}")).await;
    let mut postfix = node.connect().await;
    for stage in ["CONNECT", "EHLO", "MAIL", "VRFY"] {
        assert_eq!(postfix.ask(stage, Mail { instance: "", ..MAIL }, "", 0).await, "DUNNO");
    }
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 0);
    stages(&mut postfix, MAIL).await;
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 1);
    assert_eq!(count(server, &node, "sender:ada@example.org").await, 2);
    // Also over another connection, which Postfix opens when it likes.
    stages(&mut node.connect().await, MAIL).await;
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 1);
    stages(&mut postfix, Mail { instance: "1f.6b02e854.1.1", ..MAIL }).await;
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 2);
    assert_eq!(count(server, &node, "sender:ada@example.org").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_message_alone_counts_all_of_it() {
    let server = TestServer::shared().await;
    let node = Node::start(server, &prefix(), &format!("{PER_CLIENT}{PER_SENDER}")).await;
    let mut postfix = node.connect().await;
    assert_eq!(postfix.ask("END-OF-MESSAGE", MAIL, "", 3).await, "DUNNO");
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 1);
    assert_eq!(count(server, &node, "sender:ada@example.org").await, 3);
    // More than there ever is: told as what it is, and nothing is charged.
    let next = Mail { instance: "1f.6b02e854.1.1", ..MAIL };
    let answer = postfix.ask("END-OF-MESSAGE", next, "", 21).await;
    assert_eq!(answer, "452 4.5.3 Error: too many recipients from this sender at once (limit sender)");
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_one_limit_also_when_all_ask_at_once() {
    let server = TestServer::shared().await;
    let prefix = prefix();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(server, &prefix, PER_CLIENT).await);
    }
    let mut asked = JoinSet::new();
    for number in 0..30 {
        let mut postfix = nodes[number % 3].connect().await;
        asked.spawn(async move {
            let instance = format!("1f.6b02e854.1.{number}");
            postfix.ask("RCPT", Mail { instance: &instance, ..MAIL }, "bob@example.net", 0).await
        });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.iter().filter(|answer| *answer == "DUNNO").count(), 20, "{answers:?}");
    let refused: Vec<_> = answers.iter().filter(|answer| *answer != "DUNNO").collect();
    for answer in &refused {
        assert!(
            answer.starts_with("450 4.7.1 Error: too much mail from 192.0.2.7, try again in "),
            "{answer}"
        );
    }
    assert_eq!(count(server, &nodes[0], "client:192.0.2.7").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_limits_are_charged_all_or_none() {
    let server = TestServer::shared().await;
    let limits = format!(
        "{PER_CLIENT}[policy.limits.user]\nper = \"sasl_user\"\nquota = \"2/10day\"\nalgorithm = \"sliding-log\"\n\
         [policy.limits.domain]\nper = \"recipient_domain\"\ncount = \"recipient\"\nquota = \"3/10day\"\n\
         algorithm = \"sliding-log\"\n\
         [policy.limits.trial]\nper = \"client\"\nquota = \"1/10day\"\nalgorithm = \"sliding-log\"\nshadow = true\n"
    );
    let node = Node::start(server, &prefix(), &limits).await;
    let mut postfix = node.connect().await;
    let mail = |number| Mail { instance: ["a", "b", "c", "d", "e"][number], user: "Ada", ..MAIL };
    // The limit that only counts is in nobody's way.
    assert_eq!(postfix.ask("RCPT", mail(0), "bob@example.net", 0).await, "DUNNO");
    assert_eq!(postfix.ask("RCPT", mail(1), "bob@example.net", 0).await, "DUNNO");
    let refused = postfix.ask("RCPT", mail(2), "bob@example.net", 0).await;
    assert!(refused.starts_with("450 4.7.1 Error: too much mail from this user, "), "{refused}");
    assert!(refused.ends_with(" (limit user)"), "{refused}");
    for (key, counted) in [("client:192.0.2.7", 2), ("user:ada", 2), ("domain:example.net", 2)] {
        assert_eq!(count(server, &node, key).await, counted, "{key}");
    }
    // Without a login only the others are asked.
    let anonymous = |number| Mail { user: "", ..mail(number) };
    assert_eq!(postfix.ask("RCPT", anonymous(3), "bob@example.net", 0).await, "DUNNO");
    let refused = postfix.ask("RCPT", anonymous(3), "eve@example.net", 0).await;
    assert!(refused.starts_with("452 4.5.3 Error: too many recipients for this domain, "), "{refused}");
    assert_eq!(postfix.ask("RCPT", anonymous(3), "eve@example.com", 0).await, "DUNNO");
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounces_count_for_the_client_that_sends_them() {
    let server = TestServer::shared().await;
    let limit =
        "[policy.limits.sender]\nper = \"sender\"\nquota = \"1/10day\"\nalgorithm = \"sliding-log\"\n";
    let node = Node::start(server, &prefix(), limit).await;
    let mut postfix = node.connect().await;
    let bounce = |client, instance| Mail { sender: "", client, instance, ..MAIL };
    assert_eq!(postfix.ask("RCPT", bounce("192.0.2.7", "a"), "b@x.org", 0).await, "DUNNO");
    assert_eq!(postfix.ask("RCPT", bounce("2001:db8::1", "b"), "b@x.org", 0).await, "DUNNO");
    assert!(postfix.ask("RCPT", bounce("192.0.2.7", "c"), "b@x.org", 0).await.starts_with("450 "));
    // All addresses of a /64 are one customer's.
    assert!(postfix.ask("RCPT", bounce("2001:db8::2", "d"), "b@x.org", 0).await.starts_with("450 "));
    assert_eq!(count(server, &node, "sender:2001:db8::/64").await, 1);
    // Whose address is not known, that one is not anybody.
    assert_eq!(postfix.ask("RCPT", bounce("unknown", "e"), "b@x.org", 0).await, "DUNNO");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_networks_have_limits_and_some_have_none() {
    let server = TestServer::shared().await;
    let limit = "[policy.limits.client]\nper = \"client\"\nquota = \"2/10day\"\nallow = [\"198.51.100.0/24\"]\n\
        networks = [{ v4 = 24, v6 = 48, quota = \"3/10day\" }]\n";
    let node = Node::start(server, &prefix(), limit).await;
    let mut postfix = node.connect().await;
    let mut passed = Vec::new();
    for (number, client) in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1"]
        .into_iter()
        .chain(["198.51.100.7"; 5])
        .enumerate()
    {
        let instance = number.to_string();
        let mail = Mail { client, instance: &instance, ..MAIL };
        passed.push(postfix.ask("RCPT", mail, "b@x.org", 0).await == "DUNNO");
    }
    assert_eq!(passed[..6], [true, true, false, true, false, true]);
    assert!(passed[6..].iter().all(|passed| *passed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_does_as_well() {
    let server = TestServer::shared().await;
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("policy");
    // One that nobody listens on any more, as a crash leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let policy = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\n{PER_CLIENT}", path.display());
    let node = Node::start(server, &prefix(), &policy).await;
    let mut postfix = Postfix(BufReader::new(UnixStream::connect(&path).await.unwrap()));
    assert_eq!(postfix.ask("RCPT", MAIL, "b@x.org", 0).await, "DUNNO");
    // The other stages may ask the other way: it is the same message.
    assert_eq!(node.connect().await.ask("DATA", MAIL, "b@x.org", 1).await, "DUNNO");
    assert_eq!(count(server, &node, "client:192.0.2.7").await, 1);
    node.shutdown.drain();
    assert_eq!(postfix.answer().await, "", "an idle connection ends");
    valkey_testkit::eventually("the socket is gone", async || (!path.exists()).then_some(())).await;
}
