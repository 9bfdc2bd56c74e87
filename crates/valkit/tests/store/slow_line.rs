//! Lines that are slow, half-open or dead, before senders and receivers at once.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use valkey_testkit::{FaultProxy, Figures, TestServer};

use crate::bed::{Bed, brisk, patient};
use crate::crew::{Crew, Plan};

/// What may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twice {
    Nothing,
    /// What was held, each time that a lease was lost.
    Held,
}

struct Course<'a> {
    name: &'a str,
    long: Duration,
    lease: Duration,
    twice: Twice,
    /// Commands of two receivers meanwhile, at most.
    most: u64,
}

/// Lets all work over lines that `spoil` has spoilt, then over healed ones, and shows the books.
async fn survive(bed: Bed, course: Course<'_>, spoil: impl AsyncFn(&FaultProxy)) {
    let Course { name, long, lease, twice, most } = course;
    let plan = Plan { lease, ..Plan::default() };
    let crew = Crew::start(&bed, &plan).await;
    crew.until_handled(100).await;
    spoil(&bed.sending).await;
    spoil(&bed.receiving).await;
    let before = bed.receiving.traffic();
    sleep(long).await;
    let after = bed.receiving.traffic();
    let (asked, dialled) = (after.requests - before.requests, after.connections - before.connections);
    bed.open().await;
    let healed = Instant::now();
    crew.until_handled(50).await;
    let recovery = healed.elapsed();
    crew.until_confirmed(50).await;
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;
    let (lost, doubled) = (bed.lost(&books).await, books.twice().len());
    let (sent, failed) = (books.confirmed().len(), books.reasons());
    eprintln!(
        "{name}: sent {sent}, failed {failed:?}, twice {doubled}, {asked} commands, {dialled} dialled, recovery {recovery:?}; {report}"
    );
    Figures::case(name)
        .sent(sent as u64)
        .unknown(books.failures("unknown"))
        .lost(lost.len() as u64)
        .twice(doubled as u64)
        .recovery(recovery)
        .note(format!("{asked} commands of two receivers in {long:?}"))
        .publish();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(books.crashes(), 0, "nobody crashed");
    assert!(books.open().is_empty(), "each was sent in the end: {:?}", books.open());
    assert_eq!(bed.remembered().await.len(), sent, "each was accepted once");
    assert!(asked <= most && dialled <= 100, "{asked} commands over {dialled} connections in {long:?}");
    match twice {
        Twice::Nothing => assert_eq!((doubled, report.uncertain), (0, 0), "{report}"),
        Twice::Held => {
            assert!(doubled <= 2 * plan.receivers * 3 * plan.handlers, "{doubled} is more than was held");
        }
    }
}

async fn bed() -> Bed {
    Bed::new("slow", TestServer::builder()).await.connecting(brisk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_second_on_top_of_each_round_trip_only_slows_things_down() {
    let bed = bed().await.connecting(patient);
    let (long, lease) = (Duration::from_secs(5), Duration::from_secs(15));
    let course = Course { name: "+500 ms", long, lease, twice: Twice::Nothing, most: 300 };
    survive(bed, course, async |proxy| proxy.delay(Duration::from_millis(250))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_bytes_a_second_lose_nothing() {
    let (long, lease) = (Duration::from_secs(6), Duration::from_secs(3));
    let course = Course { name: "50 B/s", long, lease, twice: Twice::Held, most: 200 };
    survive(bed().await, course, async |proxy| proxy.throttle(NonZeroU32::new(50).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_line_loses_nothing_and_doubles_nothing_in_the_queue() {
    let (long, lease) = (Duration::from_secs(4), Duration::from_secs(2));
    let course = Course { name: "no replies", long, lease, twice: Twice::Held, most: 300 };
    survive(bed().await, course, async |proxy| proxy.stall_replies()).await;
    let course = Course { name: "no requests", long, lease, twice: Twice::Held, most: 300 };
    survive(bed().await, course, async |proxy| proxy.stall_requests()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_beyond_the_lease_loses_nothing() {
    let (long, lease) = (Duration::from_secs(4), Duration::from_secs(2));
    let course = Course { name: "black hole", long, lease, twice: Twice::Held, most: 300 };
    survive(bed().await, course, async |proxy| proxy.black_hole()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_beyond_the_lease_takes_each_message_once() {
    let bed = bed().await;
    let crew = Crew::start(&bed, &Plan { lease: Duration::from_secs(2), ..Plan::default() }).await;
    crew.until_handled(100).await;
    bed.server.pause().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    bed.server.resume().await.unwrap();
    let awake = Instant::now();
    crew.until_handled(50).await;
    let recovery = awake.elapsed();
    crew.until_confirmed(50).await;
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;
    let (sent, lost) = (books.confirmed().len(), bed.lost(&books).await);
    Figures::new()
        .sent(sent as u64)
        .unknown(books.failures("unknown"))
        .lost(lost.len() as u64)
        .twice(books.twice().len() as u64)
        .recovery(recovery)
        .publish();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(bed.remembered().await.len(), sent, "each was accepted once");
    assert!(books.open().is_empty() && books.crashes() == 0, "{report}");
}
