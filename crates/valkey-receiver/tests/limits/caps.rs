//! The rate of a queue and its bound on messages in flight: over several consumers, kills, and a restart of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use valkey_testkit::{Figures, TestServer};

use crate::ledger::Ledger;
use crate::scale;
use crate::support::{Bed, PATIENCE, until};
use crate::worker::{Worker, listen};

/// A server that keeps what it has over a restart.
async fn lasting(name: &str) -> Arc<Bed> {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    Arc::new(Bed::on(Box::leak(Box::new(server)), name).await)
}

/// Looks all the time how many messages are in flight; gives the most it saw, and how often it looked.
fn watch(bed: &Arc<Bed>) -> (Arc<AtomicBool>, JoinHandle<(i64, u64)>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (bed, stopped) = (Arc::clone(bed), Arc::clone(&stop));
    let watching = tokio::spawn(async move {
        let (mut most, mut looks) = (0, 0);
        while !stopped.load(Ordering::Relaxed) {
            match bed.try_in_flight().await {
                Some(held) => {
                    most = most.max(held);
                    looks += 1;
                }
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        (most, looks)
    });
    (stop, watching)
}

async fn restart(bed: &Bed) {
    bed.server.kill().await.unwrap();
    bed.server.restart().await.unwrap();
    until("the server", async || bed.connection.ping().await.ok()).await;
}

async fn in_flight_is_bounded(name: &'static str, cap: &str, whole: i64) {
    let bed = lasting(name).await;
    let count = 150 * scale();
    bed.control(&[("max_in_flight", cap)]).await;
    bed.push_numbers(count).await;
    let ledger = Ledger::default();
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::spawn(&bed, "10", &ledger)).collect();
    let (stop, watching) = watch(&bed);
    let deadline = Instant::now() + PATIENCE * scale();
    let third = |part: u32| ledger.finished() >= (count * part / 3) as usize;
    let (mut killed, mut restarted) = (false, false);
    while !(restarted && bed.held_anywhere().await == 0) {
        assert!(Instant::now() < deadline, "{} of {count} are finished", ledger.finished());
        listen(&mut workers, Duration::from_millis(20)).await;
        if third(1) && !killed {
            workers.remove(0).kill().await;
            workers.push(Worker::spawn(&bed, "10", &ledger));
            killed = true;
        } else if third(2) && !restarted {
            restart(&bed).await;
            restarted = true;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (most, looks) = watching.await.unwrap();
    futures::future::join_all(workers.into_iter().map(Worker::drain)).await;
    let lost = ledger.lost(count);
    Figures::case(format!("max_in_flight {cap}"))
        .sent(count.into())
        .lost(lost.len() as u64)
        .twice(ledger.handed_out_more_than_once().len() as u64)
        .note(format!("at most {most} in flight in {looks} looks; one consumer killed, the server once"))
        .publish();
    assert_eq!(lost, [0; 0]);
    assert!((1..=whole).contains(&most), "{most} in flight, {cap} allowed");
    assert!(looks > 100, "{looks} looks");
}

#[tokio::test]
async fn no_more_are_in_flight_than_allowed_whoever_dies() {
    in_flight_is_bounded("cap-whole", "5", 5).await;
}

#[tokio::test]
async fn a_fraction_of_a_message_is_never_in_flight() {
    in_flight_is_bounded("cap-fraction", "2.5", 2).await;
}

/// More than any of these rates lets through.
const COUNT: u32 = 500;

/// Claims within `span`, over three consumers of which one is killed, and a server that is, too.
async fn rate_is_kept(name: &'static str, rate: &str, burst: &str, span: Duration) {
    let bed = lasting(name).await;
    bed.control(&[("rate", rate), ("burst", burst)]).await;
    let (each, most): (f64, f64) = (rate.parse().unwrap(), burst.parse().unwrap());
    bed.push_numbers(COUNT).await;
    let ledger = Ledger::default();
    let started = Instant::now();
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::spawn(&bed, "1", &ledger)).collect();
    let (mut killed, mut restarted) = (false, false);
    let mut taken = 0;
    while started.elapsed() < span {
        listen(&mut workers, Duration::from_millis(50)).await;
        if !killed && started.elapsed() > span / 3 {
            workers.remove(0).kill().await;
            workers.push(Worker::spawn(&bed, "1", &ledger));
            killed = true;
        } else if !restarted && started.elapsed() > span / 2 {
            restart(&bed).await;
            restarted = true;
        }
        taken = bed.taken().await;
        let allowed = most.floor() + started.elapsed().as_secs_f64() * each + 1.0;
        assert!(taken as f64 <= allowed, "{taken} taken, {allowed} allowed");
    }
    // Of what the rate allows at least half is used, whatever happened meanwhile.
    assert!(taken as f64 >= (span.as_secs_f64() * each / 2.0).floor().max(1.0), "{taken} taken");
    bed.control(&[("rate", ""), ("burst", "")]).await;
    let deadline = Instant::now() + PATIENCE;
    while bed.held_anywhere().await > 0 {
        assert!(Instant::now() < deadline, "the queue is emptied");
        listen(&mut workers, Duration::from_millis(50)).await;
    }
    futures::future::join_all(workers.into_iter().map(Worker::drain)).await;
    let lost = ledger.lost(COUNT);
    Figures::case(format!("rate {rate}, burst {burst}"))
        .sent(COUNT.into())
        .lost(lost.len() as u64)
        .twice(ledger.handed_out_more_than_once().len() as u64)
        .note(format!("{taken} taken in {:.1} s; one consumer killed, the server once", span.as_secs_f64()))
        .publish();
    assert_eq!(lost, [0; 0]);
}

#[tokio::test]
async fn a_rate_outlives_consumers_and_the_server() {
    rate_is_kept("rate-whole", "20", "5", Duration::from_secs(6)).await;
}

#[tokio::test]
async fn a_rate_below_one_a_second_outlives_consumers_and_the_server() {
    rate_is_kept("rate-fraction", "0.5", "1.5", Duration::from_secs(8)).await;
}
