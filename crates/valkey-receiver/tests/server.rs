//! What happens to the server happens to nobody else: consumers go on by themselves, nothing is lost, and nobody is
//! blamed for a crash.
#![allow(clippy::unwrap_used)]

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/rig.rs"]
mod rig;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_receiver::{Receiver, ReceiverSettings, SettleError};
use valkey_testkit::{Figures, TestServer, TestServerBuilder};

use fleet::{Fleet, Sender};
use rig::{Rig, bed_on, holding};
use support::books::Books;
use support::{Bed, soon, until};

const LEASE: Duration = Duration::from_secs(2);

/// `VALKIT_LONG=1` tests as long as outages are, instead of as long as they need to be.
fn long(short: u64, long: u64) -> Duration {
    Duration::from_secs(if valkey_testkit::is_long() { long } else { short })
}

fn brisk(server: &TestServer) -> ConnectionSettings {
    let settings = ConnectionSettings::from_url(&server.url()).unwrap().pool_size(1);
    settings.probe_interval(Duration::from_millis(300)).probe_timeout(Duration::from_millis(500))
}

fn settings() -> ReceiverSettings {
    ReceiverSettings::default().lease(LEASE)
}

/// Runs three consumers and a sender through what `happens`, and shows the books.
async fn survive(bed: &Bed, work: Duration, happens: impl AsyncFnOnce(&Sender)) {
    let connection = brisk(bed.server);
    let fleet = Fleet::start(bed, &connection, 3, &settings(), work).await;
    let sender =
        Sender::start(bed, Connection::connect(&connection).await.unwrap(), Duration::from_millis(2));
    let names: BTreeSet<String> = bed.consumers().await.into_iter().collect();
    happens(&sender).await;
    let (over, before) = (Instant::now(), (sender.confirmed(), fleet.ledger.finished()));
    until("the sender to go on", async || (sender.confirmed() > before.0).then_some(())).await;
    until("the receivers to go on", async || (fleet.ledger.finished() > before.1).then_some(())).await;
    let recovery = over.elapsed();
    until("more work", async || (sender.confirmed() > before.0 + 50).then_some(())).await;
    let sent = sender.stop().await;
    until("an empty queue", async || (bed.try_held_anywhere().await? == 0).then_some(())).await;
    let kept_their_names = bed.consumers().await.into_iter().collect::<BTreeSet<_>>() == names;
    assert!(fleet.is_whole(), "no receiver has given up");
    let ledger = fleet.ledger.clone();
    let report = fleet.drain().await;
    let figures = sent.figures(Figures::new(), &ledger).recovery(recovery);
    let kept = if kept_their_names { "all leases kept" } else { "leases lost" };
    figures.note(format!("recovery from the end of the fault; {kept}; {}", sent.unknown())).publish();
    assert_eq!(sent.lost(&ledger), [0; 0]);
    assert_eq!(ledger.most_crashes(), 0, "nobody crashed");
    assert_eq!(bed.dead().await, []);
    bed.until_clean().await;
    let twice = ledger.handed_out_more_than_once();
    assert!(!kept_their_names || twice.is_empty(), "nobody lost its lease, and twice came {twice:?}");
    eprintln!("confirmed {}, {}, crashes 0, twice {twice:?}; {report}", sent.confirmed(), sent.unknown());
}

/// It keeps what it answered when it is killed, however slow the disk is: where it syncs once a second, it holds back what
/// comes during a sync.
fn keeping() -> TestServerBuilder {
    TestServer::builder().append_only(true).config("appendfsync", "no")
}

async fn durable(name: &str) -> Bed {
    bed_on(keeping().start().await.unwrap(), name).await
}

#[tokio::test]
async fn restarts_under_load() {
    let bed = durable("restart").await;
    survive(&bed, Duration::from_millis(5), async |_| {
        for _ in 0..3 {
            sleep(Duration::from_millis(300)).await;
            bed.server.restart().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn kills_under_load() {
    let bed = durable("sigkill").await;
    survive(&bed, Duration::from_millis(5), async |_| {
        for _ in 0..3 {
            sleep(Duration::from_millis(300)).await;
            bed.server.kill().await.unwrap();
            bed.server.restart().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn forgotten_scripts() {
    let bed = bed_on(TestServer::start().await.unwrap(), "script-flush").await;
    survive(&bed, Duration::from_millis(5), async |_| {
        for _ in 0..20 {
            sleep(Duration::from_millis(25)).await;
            bed.server.cli(&["SCRIPT", "FLUSH"]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_for_longer_than_the_lease_again_and_again() {
    let bed = durable("away").await;
    survive(&bed, Duration::from_millis(50), async |sender| {
        for _ in 0..3 {
            let before = sender.confirmed();
            until("some work", async || (sender.confirmed() > before + 100).then_some(())).await;
            bed.server.kill().await.unwrap();
            sleep(long(5, 30)).await;
            bed.server.restart().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_loads_for_longer_than_the_lease() {
    // A millisecond for each command in its file.
    let server = keeping().config("key-load-delay", "1000");
    let bed = bed_on(server.start().await.unwrap(), "loading").await;
    survive(&bed, Duration::from_millis(5), async |sender| {
        until("some work", async || (sender.confirmed() > 400).then_some(())).await;
        bed.server.kill().await.unwrap();
        let started = Instant::now();
        let loading = until("a server that loads", async || {
            let answer = bed.server.cli(&["PING"]).await;
            answer.err().map(|error| error.to_string()).filter(|text| text.contains("LOADING"))
        });
        let (loading, restarted) = tokio::join!(loading, bed.server.restart());
        restarted.unwrap();
        assert!(started.elapsed() > LEASE, "{loading}, for {:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stands_still_for_longer_than_the_lease() {
    let bed = durable("frozen").await;
    survive(&bed, Duration::from_millis(50), async |sender| {
        for _ in 0..3 {
            let before = sender.confirmed();
            until("some work", async || (sender.confirmed() > before + 100).then_some(())).await;
            bed.server.pause().await.unwrap();
            sleep(long(4, 30)).await;
            bed.server.resume().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_settled_stays_settled_where_the_default_user_is_off() {
    let server = TestServer::builder().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let bed = bed_on(server.append_only(true).start().await.unwrap(), "hardened").await;
    let books = Books::of(bed.push_numbers(40).await);
    let connection = Connection::connect(&brisk(bed.server)).await.unwrap();
    let receiver = Receiver::builder(&connection).queue(bed.queue.clone());
    let receiver = receiver.settings(holding(20).lease(LEASE)).start().await.unwrap();
    for _ in 0..20 {
        let delivery = books.next(&receiver).await;
        books.ack(delivery).await;
    }
    bed.server.restart().await.unwrap();
    let restarted = Instant::now();
    let mut recovery = None;
    let rest = async {
        while bed.try_held_anywhere().await != Some(0) {
            let next = tokio::time::timeout(Duration::from_millis(50), receiver.recv());
            if let Ok(Some(delivery)) = next.await {
                recovery.get_or_insert(restarted.elapsed());
                books.handed(delivery.raw());
                books.ack(delivery).await;
            }
        }
    };
    soon("the rest", rest).await;
    let report = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.balance(&[&bed]).await;
    balance.figures().recovery(recovery.unwrap()).publish();
    assert_eq!((balance.lost, balance.twice), (0, 0));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.acked, 40, "{report}");
    bed.until_clean().await;
}

#[tokio::test]
async fn a_settle_that_the_server_has_forgotten_is_delivered_again_although_its_consumer_lives() {
    let bed = bed_on(TestServer::start().await.unwrap(), "rolled-back").await;
    let books = Books::of(bed.push_numbers(2).await);
    let receiver = bed.receiver(holding(5)).await;
    let first = books.next(&receiver).await;
    let second = books.next(&receiver).await;
    let [consumer] = <[_; 1]>::try_from(bed.consumers().await).unwrap();
    let inflight = bed.keys.inflight(&consumer);
    let [one, two] = <[_; 2]>::try_from(bed.held_by(&consumer).await).unwrap();
    let settled =
        bed.ask(Command::new("HGET").key(inflight.as_str()).arg(one.as_str())).await.into_bytes().unwrap();
    books.ack(first).await;
    // As after a restart with an older state: the settled one is in flight again, and the other one was not taken yet.
    bed.ask(Command::new("HSET").key(inflight.as_str()).arg(one.as_str()).arg(settled.clone())).await;
    bed.ask(Command::new("HDEL").key(inflight.as_str()).arg(two)).await;
    // It is handled, whatever becomes of its ack.
    books.finished(second.raw());
    assert_eq!(soon("the settle", second.ack()).await, Err(SettleError::Uncertain));
    // Also to one that has nothing to do.
    for _ in 0..2 {
        let again = books.next(&receiver).await;
        assert_eq!((again.message().payload_as::<u32>().unwrap(), again.crashes()), (1, 0));
        books.ack(again).await;
        bed.ask(Command::new("HSET").key(inflight.as_str()).arg(one.as_str()).arg(settled.clone())).await;
    }
    let again = books.next(&receiver).await;
    books.ack(again).await;
    // A field of somebody else's does not keep it reading.
    bed.ask(Command::new("HSET").key(inflight.as_str()).arg("stranger").arg("x")).await;
    books.sent(bed.push_numbers(1).await);
    let new = books.next(&receiver).await;
    books.ack(new).await;
    bed.ask(Command::new("CONFIG").arg("RESETSTAT")).await;
    sleep(Duration::from_secs(3)).await;
    let stats = bed.server.cli(&["INFO", "commandstats"]).await.unwrap();
    let surveys = stats.lines().find(|line| line.starts_with("cmdstat_hkeys:")).unwrap_or_default();
    assert!(surveys.is_empty() || surveys.contains("calls=1,"), "{surveys}");
    let report = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "whose settle was undone");
    assert_eq!((report.acked, report.uncertain), (5, 1), "{report}");
}

#[tokio::test]
async fn a_flushed_server_leaves_settles_uncertain_and_receivers_at_work() {
    let bed = bed_on(TestServer::start().await.unwrap(), "flushall").await;
    let books = Books::of(bed.push_numbers(30).await);
    let receiver = bed.receiver(holding(5)).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(books.next(&receiver).await);
    }
    bed.server.cli(&["FLUSHALL"]).await.unwrap();
    for delivery in held {
        // It is handled, whatever becomes of its ack.
        books.finished(delivery.raw());
        assert_eq!(soon("the settle", delivery.ack()).await, Err(SettleError::Uncertain));
    }
    books.sent(bed.push_numbers(3).await);
    for number in 1..=3_u32 {
        let delivery = books.next(&receiver).await;
        assert_eq!(delivery.message().payload_as::<u32>().unwrap(), number);
        books.ack(delivery).await;
    }
    let report = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.balance(&[&bed]).await;
    balance.figures().note("FLUSHALL removes what waits").publish();
    assert_eq!((balance.lost, balance.twice), (25, 0));
    assert_eq!((report.acked, report.uncertain), (3, 5), "{report}");
    bed.until_clean().await;
}

#[tokio::test]
async fn whoever_comes_back_first_does_not_bury_the_others() {
    let (early, late) = (Rig::new("comes-back").await, Rig::new("comes-back").await);
    let join = async |rig: &Rig| {
        let receiver = Receiver::builder(&rig.through).queue(early.bed.queue.clone());
        receiver.settings(holding(2).lease(LEASE)).start().await.unwrap()
    };
    early.push(4).await;
    let first = join(&early).await;
    let _held = early.fetch(&first, 2).await;
    let second = join(&late).await;
    let held = early.fetch(&second, 2).await;

    // The network is away for both, and the one that comes back first finds the other one's lease expired.
    early.proxy.stall();
    late.proxy.stall();
    early.proxy.drop_connections();
    late.proxy.drop_connections();
    sleep(LEASE + LEASE / 2).await;
    early.proxy.heal().await.unwrap();
    let again = early.fetch(&first, 2).await;
    sleep(LEASE / 4).await;
    assert!(again.iter().all(|delivery| delivery.crashes() == 0));
    late.proxy.heal().await.unwrap();
    let also_again = early.fetch(&second, 2).await;
    assert!(also_again.iter().all(|delivery| delivery.crashes() == 0), "{also_again:?}");
    assert!(held[0].lease_lost().is_cancelled());
    early.ack(again).await;
    early.ack(also_again).await;
    let lost = early.ledger.lost(early.sent());
    let twice = early.ledger.handed_out_twice().len();
    Figures::new().sent(early.sent().into()).lost(lost.len() as u64).twice(twice as u64).publish();
    assert_eq!(lost, [0; 0]);
    let _ = (soon("the end", first.drain()).await.unwrap(), soon("the end", second.drain()).await.unwrap());
    early.bed.until_clean().await;
}
