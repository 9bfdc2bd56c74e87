//! A server at its `maxmemory`: what is there is finished all the same, nobody asks without pause, and new work is refused
//! by name.
#![allow(clippy::unwrap_used)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/rig.rs"]
mod rig;
mod support;

use std::time::Duration;

use tokio::time::sleep;
use valkey_connection::{Command, ErrorKind};
use valkey_envelope::Envelope;
use valkey_receiver::ReceiverSettings;
use valkey_testkit::{Figures, TestServer};

use rig::bed_on;
use support::{Bed, soon, until};

async fn limit_memory(bed: &Bed, bytes: &str) {
    bed.server.cli(&["CONFIG", "SET", "maxmemory", bytes]).await.unwrap();
}

/// How often commands were called or refused so far, by those who receive.
async fn commands(bed: &Bed) -> u64 {
    let stats = bed.server.cli(&["INFO", "commandstats"]).await.unwrap();
    let count = |line: &str, name: &str| -> u64 {
        let field =
            line.split([':', ',']).find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        field.map_or(0, |count| count.parse().unwrap())
    };
    let ours = |line: &&str| {
        ["evalsha", "eval", "blmove", "hgetall", "client|id"]
            .iter()
            .any(|name| line.starts_with(&format!("cmdstat_{name}:")))
    };
    stats.lines().filter(ours).map(|line| count(line, "calls") + count(line, "rejected_calls")).sum()
}

#[tokio::test]
async fn at_maxmemory_what_is_there_is_finished_and_nobody_asks_without_pause() {
    let bed = bed_on(TestServer::start().await.unwrap(), "oom").await;
    bed.push_numbers(100).await;
    let settings = ReceiverSettings::default().max_retries(1).retry_delay(Duration::from_millis(1));
    limit_memory(&bed, "1").await;
    let receiver = bed.receiver(settings).await;

    // Takes and settles of each kind go on: joining, claiming, delaying and burying all write.
    let mut acked = 0;
    for nth in 0..100 {
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        match (nth, delivery.attempt()) {
            (90.., 1) => delivery.nack(None, "again".to_owned()).await.unwrap(),
            (80..90, _) => delivery.dead_letter("for the test").await.unwrap(),
            _ => {
                delivery.ack().await.unwrap();
                acked += 1;
            }
        }
    }
    assert_eq!(acked, 80);
    for _ in 0..10 {
        let delivery = soon("a second attempt", receiver.recv()).await.unwrap();
        assert_eq!(delivery.attempt(), 2);
        delivery.ack().await.unwrap();
    }
    assert_eq!((bed.held_anywhere().await, bed.dead().await.len()), (0, 10));

    // New messages are refused, with a reason.
    let raw = Envelope::new("new").unwrap().encode().unwrap();
    let push = || Command::new("LPUSH").key(bed.keys.public()).arg(raw.clone());
    let refused = bed.connection.execute(push()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory, "{refused}");
    assert!(refused.to_string().contains("raise maxmemory"), "{refused}");
    assert!(!refused.outcome_unknown());

    // Parks are refused; takes look instead, now and then.
    let before = commands(&bed).await;
    sleep(Duration::from_secs(4)).await;
    let calls = commands(&bed).await - before;
    assert!((2..40).contains(&calls), "{calls} commands in 4 s of idling");

    limit_memory(&bed, "0").await;
    bed.connection.execute(push()).await.unwrap();
    soon("the new one", receiver.recv()).await.unwrap().ack().await.unwrap();
    until("a park", async || {
        let clients = bed.ask(Command::new("INFO").arg("clients")).await.into_string().unwrap();
        clients.contains("blocked_clients:1").then_some(())
    })
    .await;
    let report = soon("the end", receiver.drain()).await.unwrap();
    let lost = 101_u64.saturating_sub(report.acked + report.dead);
    Figures::new().sent(102).confirmed(101).rejected(1).lost(lost).publish();
    assert_eq!((report.acked, report.retried, report.dead, report.uncertain), (91, 10, 10, 0), "{report}");
}
