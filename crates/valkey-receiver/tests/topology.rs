//! One suite, wherever the queue lives: on a plain server, behind TLS with an ACL user, on a cluster, on a slot that moves.
#![allow(clippy::unwrap_used)]

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/ledger.rs"]
mod ledger;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use valkey_connection::{Command, Connection, ConnectionSettings, Mode};
use valkey_envelope::{DeadReason, Envelope, Frame, InFlight, Lane, QueueName};
use valkey_receiver::{Delivery, Receiver, ReceiverSettings};
use valkey_testkit::{Figures, TestCluster, TestServer, unique_name};

use fleet::{Fleet, Sender};
use support::books::{Balance, Books};
use support::{Bed, soon, until};

fn settings() -> ReceiverSettings {
    ReceiverSettings::default()
        .lease(Duration::from_secs(3))
        .retry_delay(Duration::from_millis(5))
        .max_retries(1)
}

fn bed(server: &'static TestServer, connection: &Connection, name: &str) -> Bed {
    let queue: QueueName = unique_name(name).parse().unwrap();
    Bed { server, connection: connection.clone(), keys: queue.keys(), queue }
}

async fn next(receiver: &Receiver, books: &Books) -> (String, Delivery) {
    let delivery = books.next(receiver).await;
    (delivery.message().payload_as().unwrap(), delivery)
}

/// Everything that can become of a message, once.
async fn suite(bed: &Bed) -> Balance {
    let books = Books::default();
    let say = |text: &str| {
        let raw = Envelope::new(text).unwrap().encode().unwrap();
        books.sent([raw.clone()]);
        raw
    };
    let receiver = bed.receiver(settings()).await;

    // Sent, taken, acked; the second wakes it from a park.
    for text in ["first", "second"] {
        bed.push_raw(say(text)).await;
        let (got, delivery) = next(&receiver, &books).await;
        assert_eq!(got, text);
        books.ack(delivery).await;
    }
    // Tried again, and then given up.
    let retried = say("retried");
    bed.push_raw(retried.clone()).await;
    let (_, delivery) = next(&receiver, &books).await;
    books.wanted_again(delivery.raw());
    delivery.nack(None, "once".to_owned()).await.unwrap();
    let (got, delivery) = next(&receiver, &books).await;
    assert_eq!((got.as_str(), delivery.attempt()), ("retried", 2));
    delivery.nack(None, "twice".to_owned()).await.unwrap();
    let [dead] = <[_; 1]>::try_from(bed.until_dead(1).await).unwrap();
    assert_eq!((dead.meta.reason, dead.meta.attempts, dead.raw), (DeadReason::MaxAttempts, 2, retried));
    // Delayed.
    bed.push_raw(say("delayed")).await;
    let (_, delivery) = next(&receiver, &books).await;
    books.wanted_again(delivery.raw());
    delivery.snooze(Duration::from_millis(100)).await.unwrap();
    assert_eq!(bed.delayed().await, 1);
    let (got, delivery) = next(&receiver, &books).await;
    assert_eq!((got.as_str(), delivery.attempt()), ("delayed", 1));
    books.ack(delivery).await;
    // Reclaimed from a consumer that died.
    let frame = Frame::fresh(Lane::Normal, say("reclaimed"));
    let inflight = bed.keys.inflight(&"d".repeat(32));
    let died = vec![
        Command::new("HSET")
            .key(inflight)
            .arg("#")
            .arg("1")
            .arg("1-1")
            .arg(InFlight { claimed_ms: 1, frame }.encode()),
        Command::new("ZADD").key(bed.keys.consumers()).arg("1").arg("d".repeat(32)),
    ];
    for reply in bed.connection.execute_all(died).await {
        reply.unwrap();
    }
    let (got, delivery) = next(&receiver, &books).await;
    assert_eq!((got.as_str(), delivery.crashes()), ("reclaimed", 1));
    books.ack(delivery).await;
    bed.until_empty().await;
    assert!(soon("the end", receiver.drain()).await.unwrap().is_clean());

    // Lanes: by priority, and what nobody has fetched goes back where it came from.
    for (lane, text) in [(Lane::Low, "low"), (Lane::Normal, "normal"), (Lane::High, "high")] {
        bed.ask(Command::new("LPUSH").key(bed.keys.lane(lane)).arg(say(text))).await;
    }
    let receiver = bed.receiver(settings()).await;
    let (got, delivery) = next(&receiver, &books).await;
    assert_eq!((got.as_str(), delivery.lane()), ("high", Lane::High));
    books.ack(delivery).await;
    let report = soon("the end", receiver.drain()).await.unwrap();
    assert_eq!((report.acked, report.handed_back), (1, 2), "{report}");
    for lane in [Lane::Normal, Lane::Low] {
        let length = bed.ask(Command::new("LLEN").key(bed.keys.lane(lane))).await;
        assert_eq!(length.as_int().unwrap(), 1, "{lane}");
    }
    let receiver = bed.receiver(settings()).await;
    for text in ["normal", "low"] {
        let (got, delivery) = next(&receiver, &books).await;
        assert_eq!(got, text);
        books.ack(delivery).await;
    }
    assert!(soon("the end", receiver.drain()).await.unwrap().is_clean());
    assert_eq!((bed.held_anywhere().await, bed.consumers().await.len()), (0, 0));
    let balance = books.balance(&[bed]).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
    balance
}

#[tokio::test]
async fn on_a_plain_server() {
    suite(&Bed::new("plain").await).await.figures().publish();
}

#[tokio::test]
async fn over_tls_as_an_acl_user() {
    // The rights a receiver needs, and not more than it asks of the server as a whole.
    let rules = "~queue:* ~{queue:* &{queue:* -@all +@read +@write +@scripting +@blocking +@connection +@pubsub +info +time";
    let server =
        TestServer::builder().tls().default_user_off().acl_user("app", "pw", rules).start().await.unwrap();
    let settings = ConnectionSettings::from_url(&server.url()).unwrap();
    let settings = settings.tls_ca_file(server.tls_ca_path().map(Into::into));
    let connection = Connection::connect(&settings).await.unwrap();
    suite(&bed(Box::leak(Box::new(server)), &connection, "tls")).await.figures().publish();
}

async fn cluster() -> (&'static TestCluster, ConnectionSettings) {
    let cluster: &'static TestCluster = Box::leak(Box::new(TestCluster::start(3).await.unwrap()));
    let seeds = cluster.addresses().join(",");
    (cluster, ConnectionSettings::default().address(seeds.parse().unwrap()).mode(Mode::Cluster))
}

#[tokio::test]
async fn on_each_node_of_a_cluster() {
    let (cluster, settings) = cluster().await;
    let connection = Connection::connect(&settings).await.unwrap();
    let (mut beds, mut owners) = (Vec::new(), BTreeSet::new());
    while owners.len() < 3 || beds.len() < 4 {
        let bed = bed(&cluster.nodes()[0], &connection, "cluster");
        owners.insert(cluster.owner_of(cluster.slot_of(bed.keys.public()).await.unwrap()).await.unwrap());
        beds.push(bed);
    }
    for balance in join_all(beds.iter().map(suite)).await {
        balance.figures().publish();
    }
}

#[tokio::test]
async fn on_a_slot_that_moves_under_load() {
    let (cluster, connection) = cluster().await;
    let shared = Connection::connect(&connection).await.unwrap();
    let bed = bed(&cluster.nodes()[0], &shared, "moving");
    let fleet = Fleet::start(&bed, &connection, 2, &settings(), Duration::from_millis(2)).await;
    let names: BTreeSet<String> = bed.consumers().await.into_iter().collect();
    let sender = Sender::start(&bed, shared.clone(), Duration::from_millis(1));
    let more = async || {
        let before = sender.confirmed();
        until("traffic", async || (sender.confirmed() > before + 100).then_some(())).await;
    };
    let slot = cluster.slot_of(bed.keys.public()).await.unwrap();
    for step in 1..=4 {
        more().await;
        let to = (cluster.owner_of(slot).await.unwrap() + step) % 3;
        if to == cluster.owner_of(slot).await.unwrap() {
            continue;
        }
        let migration = cluster.begin_slot_migration(slot, to).await.unwrap();
        // Half-way for a while, key by key: calls see the slot on both nodes.
        while migration.move_keys(1).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        migration.finish().await.unwrap();
    }
    more().await;
    let sent = sender.stop().await;
    bed.until_empty().await;
    let kept_their_names = bed.consumers().await.into_iter().collect::<BTreeSet<_>>() == names;
    assert!(fleet.is_whole());
    let ledger = fleet.ledger.clone();
    let report = fleet.drain().await;
    let kept = if kept_their_names { "all leases kept" } else { "leases lost" };
    sent.figures(Figures::new(), &ledger).note(format!("{kept}; {}", sent.unknown())).publish();
    let twice = ledger.handed_out_more_than_once();
    eprintln!("confirmed {}, twice {twice:?}, {kept}; {report}", sent.confirmed());
    assert!(!kept_their_names || twice.is_empty(), "nobody lost its lease, and twice came {twice:?}");
    assert_eq!((sent.lost(&ledger).len(), ledger.most_crashes(), bed.dead().await.len()), (0, 0, 0));
}
