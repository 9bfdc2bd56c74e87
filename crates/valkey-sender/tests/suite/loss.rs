//! What a failover and a power cut take, by durability. The oracle is what is there afterwards, held against the answers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use valkey_envelope::{MessageId, QueueName};
use valkey_sender::{Durability, Sender};
use valkey_testkit::{Figures, TestReplication, TestServer};

use crate::books::{Balance, Books};
use crate::rig::{can_wait_for_the_disk, connect, message, queue, waiting};

const WORKERS: usize = 8;
/// Between two sends of a worker, so that the cases are of a size.
const PACE: Duration = Duration::from_millis(10);
const BLACK_HOLE: Duration = Duration::from_secs(4);

/// The answers to the senders of a case, held against what is there.
async fn balance(case: &str, books: &Books, server: &TestServer, queue: &QueueName) -> Balance {
    let balance = books.balance(&waiting(&connect(&server.url()).await, queue).await);
    balance.publish(Figures::case(case));
    eprintln!(
        "{case}: {} lost of {} confirmed, {} unknown",
        balance.lost.len(),
        balance.confirmed,
        balance.unknown
    );
    balance
}

/// Sends until told to stop.
async fn load(sender: Sender, stop: Arc<AtomicBool>) -> Books {
    let mut books = Books::default();
    while !stop.load(Ordering::Relaxed) {
        let id = MessageId::new().to_string();
        let answer = sender.send(message(1).with_id(id.as_str())).await;
        books.note(id, &answer);
        tokio::time::sleep(PACE).await;
    }
    books
}

/// The replica hears nothing for four seconds, then the primary dies and the replica takes over.
async fn promotion(case: &str, durability: Durability, settings: &[(&str, &str)]) -> Option<Balance> {
    let server = TestServer::builder().append_only(true).config("appendfsync", "always");
    let servers = TestReplication::builder().replicas(1).server(server).start().await.unwrap();
    let primary = &servers.servers()[0];
    if durability == Durability::Durable && !can_wait_for_the_disk(primary).await {
        valkey_testkit::skipped("the server has no WAITAOF");
        return None;
    }
    for (name, value) in settings {
        primary.cli(&["CONFIG", "SET", name, value]).await.unwrap();
    }
    let queue = queue();
    let sender = Sender::builder(connect(&primary.url()).await, queue.clone())
        .durability(durability)
        .durability_timeout(Duration::from_millis(500))
        .retries(0, Duration::ZERO)
        .build();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(load(sender.clone(), Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    servers.link(1).black_hole();
    tokio::time::sleep(BLACK_HOLE).await;
    primary.kill().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    servers.promote(1).await.unwrap();
    let mut books = Books::default();
    for worker in workers {
        books.add(worker.await.unwrap());
    }
    Some(balance(case, &books, &servers.servers()[1], &queue).await)
}

#[tokio::test]
async fn a_promotion_takes_what_was_sent_fast() {
    let balance =
        promotion("fast, replica black-holed 4 s and promoted", Durability::Fast, &[]).await.unwrap();
    assert!(!balance.lost.is_empty(), "nothing was lost, so this shows nothing");
}

#[tokio::test]
async fn min_replicas_to_write_narrows_the_loss_of_fast_and_does_not_end_it() {
    let settings = [("min-replicas-to-write", "1"), ("min-replicas-max-lag", "1")];
    let case = "fast, min-replicas-to-write 1, replica black-holed 4 s and promoted";
    let balance = promotion(case, Durability::Fast, &settings).await.unwrap();
    assert!(!balance.lost.is_empty(), "nothing was lost, so this shows nothing");
}

#[tokio::test]
async fn a_promotion_takes_what_was_only_on_the_old_disk() {
    let case = "durable, replica black-holed 4 s and promoted";
    let Some(balance) = promotion(case, Durability::Durable, &[]).await else { return };
    assert!(!balance.lost.is_empty(), "nothing was lost, so this shows nothing");
}

#[tokio::test]
async fn a_promotion_takes_nothing_that_was_confirmed_as_replicated() {
    let case = "replicated(1), replica black-holed 4 s and promoted";
    let balance = promotion(case, Durability::Replicated(NonZeroU32::MIN), &[]).await.unwrap();
    assert!(balance.confirmed > 100, "{} confirmed", balance.confirmed);
    assert_eq!(balance.lost, [""; 0]);
}

/// The machine loses its power: of the append-only file there is what was synced. That is at least everything up to the
/// last message that was confirmed as durable; all that came after it is taken away.
#[tokio::test]
async fn a_power_cut_takes_nothing_that_was_confirmed_as_durable() {
    let server =
        TestServer::builder().append_only(true).config("appendfsync", "always").start().await.unwrap();
    if !can_wait_for_the_disk(&server).await {
        valkey_testkit::skipped("the server has no WAITAOF");
        return;
    }
    let (connection, queue) = (connect(&server.url()).await, queue());
    let fast = Sender::builder(connection.clone(), queue.clone()).retries(0, Duration::ZERO).build();
    let durable = fast.with_durability(Durability::Durable);
    // Both at once; what is fast and lies before something durable is safe, too, but nobody said so.
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(load(durable.clone(), Arc::clone(&stop)))).collect();
    let others: Vec<_> = (0..2).map(|_| tokio::spawn(load(fast.clone(), Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut safe, mut rest) = (Books::default(), Books::default());
    for other in others {
        rest.add(other.await.unwrap());
    }
    for worker in workers {
        safe.add(worker.await.unwrap());
    }
    let synced = append_only_size(&server).await;
    for n in 0..200 {
        let id = format!("late-{n}");
        let answer = fast.send(message(n).with_id(id.as_str())).await;
        rest.note(id, &answer);
    }
    let written = append_only_size(&server).await;
    assert!(written > synced);
    server.kill().await.unwrap();
    server.lose_append_only_tail(written - synced).await.unwrap();
    server.restart().await.unwrap();
    let safe = balance("durable, power cut", &safe, &server, &queue).await;
    assert!(safe.confirmed > 100, "{} confirmed", safe.confirmed);
    assert_eq!(safe.lost, [""; 0]);
    let rest = balance("fast, power cut, 200 behind the last sync", &rest, &server, &queue).await;
    assert_eq!(rest.lost.len(), 200, "nothing was lost, so this shows nothing");
}

async fn append_only_size(server: &TestServer) -> u64 {
    let info = server.cli(&["INFO", "persistence"]).await.unwrap();
    let size = info.lines().find_map(|line| line.strip_prefix("aof_current_size:"));
    size.unwrap().trim().parse().unwrap()
}
