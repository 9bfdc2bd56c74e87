//! A queue that is paused and resumed under load, with consumers killed in between.

use std::time::{Duration, Instant};

use valkey_testkit::Figures;

use crate::fleet::Sender;
use crate::ledger::Ledger;
use crate::scale;
use crate::support::{Bed, until};
use crate::worker::{LEASE, Worker, listen};

const WORKERS: usize = 3;
/// So long that whoever is killed holds something.
const WORK_MS: &str = "60";

#[tokio::test]
async fn a_queue_paused_and_resumed_again_and_again_hands_out_nothing_meanwhile_and_loses_nothing() {
    let bed = Bed::new("pausing").await;
    let ledger = Ledger::default();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::spawn(&bed, WORK_MS, &ledger)).collect();
    let sender = Sender::start(&bed, bed.connection.clone(), Duration::from_millis(1));
    until("the first messages", async || (bed.taken().await > 20).then_some(())).await;
    let (mut settled, mut kills) = (Duration::ZERO, 0_u64);
    for round in 0..3 * scale() as usize {
        bed.control(&[("paused", "1")]).await;
        let (taken, paused) = (bed.taken().await, Instant::now());
        // One dies with what it holds, and its successor joins a queue that is paused.
        if round % 2 == 0 {
            workers.remove(round % WORKERS).kill().await;
            workers.push(Worker::spawn(&bed, WORK_MS, &ledger));
            kills += 1;
        }
        // What was in flight is finished and settled; what the dead one held waits to be taken again.
        while bed.try_in_flight().await != Some(0) {
            assert!(paused.elapsed() < LEASE * 10, "settles and reaps go on while it is paused");
            listen(&mut workers, Duration::from_millis(20)).await;
        }
        settled = settled.max(paused.elapsed());
        listen(&mut workers, Duration::from_millis(300)).await;
        assert_eq!(bed.taken().await, taken, "handed out while it was paused");
        assert!(bed.ready().await > 0, "senders go on");
        bed.control(&[("paused", "")]).await;
        let resumed = Instant::now();
        while bed.taken().await == taken {
            assert!(resumed.elapsed() < LEASE * 5, "work goes on");
            listen(&mut workers, Duration::from_millis(10)).await;
        }
        if round % 2 == 1 {
            workers.remove(0).kill().await;
            workers.push(Worker::spawn(&bed, WORK_MS, &ledger));
            kills += 1;
        }
        listen(&mut workers, Duration::from_millis(200)).await;
    }
    let sent = sender.stop().await;
    let deadline = Instant::now() + crate::support::PATIENCE;
    while bed.held_anywhere().await > 0 {
        assert!(Instant::now() < deadline, "the queue is emptied");
        listen(&mut workers, Duration::from_millis(50)).await;
    }
    futures::future::join_all(workers.into_iter().map(Worker::drain)).await;
    let (lost, dead) = (sent.lost(&ledger), bed.dead().await.len());
    sent.figures(Figures::new(), &ledger)
        .recovery(settled)
        .note(format!("{kills} kills; recovery: from the pause until nothing was in flight, lease 1 s"))
        .publish();
    assert_eq!((lost, dead), (vec![], 0));
}
