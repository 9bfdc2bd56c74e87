//! A server at its `maxmemory` under fifty producers: they are told, consumers drain it, and everybody goes on.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use valkey_sender::OnFull;
use valkey_testkit::{Figures, TestServer};

use crate::bed::Bed;
use crate::books::Books;
use crate::crew::{Crew, Plan};

const MEGABYTE: u64 = 1 << 20;

fn plan(on_full: OnFull) -> Plan {
    Plan {
        senders: 5,
        tasks: 10,
        pace: Duration::ZERO,
        payload: 8_000,
        on_full,
        handlers: 8,
        work: Duration::from_millis(60),
        lease: Duration::from_secs(15),
        ..Plan::default()
    }
}

/// Fills a server up, lets it be full for a while, and sees the producers end what they began.
async fn fill(on_full: OnFull) -> (Books, Duration, u64) {
    let bed = Bed::new("full", TestServer::builder()).await;
    let limit = bed.info("memory", "used_memory").await + 3 * MEGABYTE;
    bed.set("maxmemory", &limit.to_string()).await;
    let crew = Crew::start(&bed, &plan(on_full)).await;
    sleep(Duration::from_secs(2)).await;
    let refused = bed.info("stats", "total_error_replies").await;
    let handled = crew.books.finished().len();
    sleep(Duration::from_secs(2)).await;
    let (more, used) =
        (bed.info("stats", "total_error_replies").await, bed.info("memory", "used_memory").await);
    assert!(
        more > refused,
        "it is full, and stays it: {refused} and {more} refused, {used} bytes of {limit}"
    );
    assert!(crew.books.finished().len() > handled + 50, "consumers drain a full server");
    // Each producer ends what it began: there is room as soon as the consumers have made some.
    let eased = Instant::now();
    crew.hold_sending().await;
    let recovery = eased.elapsed();
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;
    let (lost, twice) = (bed.lost(&books).await, books.twice().len());
    let refusals = books.reasons().values().sum();
    Figures::case(format!("{on_full:?}"))
        .sent(books.confirmed().len() as u64)
        .rejected(refusals)
        .lost(lost.len() as u64)
        .twice(twice as u64)
        .recovery(recovery)
        .note("50 producers")
        .publish();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!((twice, report.uncertain), (0, 0), "{report}");
    assert!(books.open().is_empty(), "each was sent in the end: {:?}", books.open());
    let (keys, dead) = (bed.contents().await.len(), report.dead);
    assert_eq!((keys, dead), (0, 0));
    (books, recovery, refusals)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_producers_are_told_that_the_server_is_full_and_all_recovers_by_itself() {
    let (books, recovery, refusals) = fill(OnFull::Error).await;
    assert!(books.failures("oom") > 0 && books.failures("oom") == refusals, "{:?}", books.reasons());
    let said = books.text("oom");
    assert!(said.contains("maxmemory") && said.contains("drain the queues"), "{said}");
    eprintln!("full: {} sent, {refusals} refused, room after {recovery:?}", books.confirmed().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_that_block_wait_until_a_full_server_has_room() {
    let (books, recovery, refusals) = fill(OnFull::Block { timeout: None }).await;
    assert_eq!(refusals, 0, "{:?}", books.reasons());
    eprintln!("full: {} sent, none refused, room after {recovery:?}", books.confirmed().len());
}
