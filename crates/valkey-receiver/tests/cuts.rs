//! The connection cut at each byte of each command on the hot path, and before each byte of its reply: nothing is lost,
//! nothing comes twice, and no lease has to run out for it.
#![allow(clippy::unwrap_used)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/rig.rs"]
mod rig;
mod support;

use std::time::Duration;

use futures::future::join_all;
use valkey_connection::{Command, ErrorKind};
use valkey_envelope::{Envelope, Frame, InFlight, Lane};
use valkey_receiver::{Delivery, ReceiveError};
use valkey_testkit::Cut;

use rig::{Rig, at_each_byte, holding, outcome};
use support::{soon, until};

/// Each point costs a reconnect, which is mostly waiting: so several work through them side by side.
const WORKERS: usize = 6;

/// How `take.lua` is told how many messages are wanted; no other command contains it.
fn want(count: usize) -> String {
    let want = count.to_string();
    format!("\r\n${}\r\n{want}\r\n$7\r\n1048576\r\n", want.len())
}

/// How a script is told the key of what its consumer has in flight right after another key: which one, tells scripts
/// apart.
fn inflight_after(rig: &Rig, key: &str) -> String {
    let inflight = rig.bed.keys.inflight("");
    format!("{key}\r\n${}\r\n{inflight}", inflight.len() + 32)
}

/// Splits the points over workers; each gets a queue of its own.
async fn share(work: impl AsyncFn(u64) -> usize) -> usize {
    join_all((0..WORKERS as u64).map(|first| work(first))).await.into_iter().sum()
}

/// If fewer places were cut than a command is long, the test tests something else.
fn enough(points: usize, least: usize) {
    eprintln!("cut at {points} places");
    assert!(points > least, "{points}");
}

/// Cuts takes that settle `room` messages and claim as many.
async fn cut_takes(room: usize, at: (u64, usize)) -> usize {
    let rig = Rig::new("cut-take").await;
    let receiver = rig.builder(holding(room)).start().await.unwrap();
    rig.push(room).await;
    let mut held = rig.fetch(&receiver, room).await;
    let points = at_each_byte(&rig.proxy, &want(room), at, async |_| {
        rig.push(room).await;
        rig.ack(std::mem::take(&mut held)).await;
        held = rig.fetch(&receiver, room).await;
    })
    .await;
    rig.ack(held).await;
    let report = soon("the end", receiver.drain()).await.unwrap();
    assert_eq!((report.acked, report.uncertain), (u64::from(rig.sent()), 0), "{report}");
    rig.balances().await;
    points
}

#[tokio::test]
async fn a_take_that_settles_two_and_claims_two() {
    let points = share(async |first| cut_takes(2, (first, WORKERS)).await).await;
    enough(points, 900);
}

#[tokio::test]
async fn a_take_of_a_full_batch() {
    let (requests, replies) = tokio::join!(cut_takes(64, (0, 149)), cut_takes(64, (71, 331)));
    enough(requests + replies, 40);
}

/// After a reply that was lost, the receiver voids what may still be on its way and reads what it holds: those are cut
/// too.
async fn cut_recoveries(command: &str, first: u64) -> usize {
    let rig = Rig::new("cut-survey").await;
    let receiver = rig.builder(holding(2)).start().await.unwrap();
    rig.push(2).await;
    let mut held = rig.fetch(&receiver, 2).await;
    let points = at_each_byte(&rig.proxy, command, (first, WORKERS), async |_| {
        rig.push(2).await;
        let mut take =
            rig.proxy.arm(Cut::reply_before(0).of_command(inflight_after(&rig, rig.bed.keys.woken())));
        rig.ack(std::mem::take(&mut held)).await;
        held = rig.fetch(&receiver, 2).await;
        outcome(&mut take).await;
    })
    .await;
    rig.ack(held).await;
    assert!(soon("the end", receiver.drain()).await.unwrap().is_clean());
    rig.balances().await;
    points
}

#[tokio::test]
async fn the_take_that_voids_earlier_ones() {
    let points = share(async |first| cut_recoveries(&want(0), first).await).await;
    enough(points, 600);
}

#[tokio::test]
async fn the_survey_of_what_is_held() {
    // First the names, then the messages that it does not know.
    let names = share(async |first| cut_recoveries("HKEYS", first).await).await;
    let messages = share(async |first| cut_recoveries("HMGET", first).await).await;
    enough(names, 100);
    enough(messages, 250);
}

#[tokio::test]
async fn a_park() {
    let rig = Rig::alone("cut-park").await;
    let receiver = rig.builder(holding(2)).start().await.unwrap();
    let parked = async || {
        let clients = rig.bed.ask(Command::new("INFO").arg("clients")).await.into_string().unwrap();
        clients.contains("blocked_clients:1").then_some(())
    };
    let pass = async || {
        rig.push(2).await;
        rig.fetch(&receiver, 2).await
    };
    // While it holds these it has no room, and does not park.
    let mut held = pass().await;
    let points = at_each_byte(&rig.proxy, "BLMOVE", (0, 1), async |cut| {
        rig.ack(std::mem::take(&mut held)).await;
        until("a park or its cut", async || parked().await.or(cut.outcome().map(drop))).await;
        held = pass().await;
        rig.ack(std::mem::take(&mut held)).await;
        until("the next park", parked).await;
        held = pass().await;
    })
    .await;
    rig.ack(held).await;
    assert!(soon("the end", receiver.drain()).await.unwrap().is_clean());
    rig.balances().await;
    enough(points, 150);
}

async fn cut_joins(first: u64) -> usize {
    let rig = Rig::new("cut-join").await;
    let _ = rig.builder(holding(2)).start().await.unwrap().drain().await.unwrap();
    let join = format!("{}\r\n$32\r\n", rig.bed.keys.control());
    let points = at_each_byte(&rig.proxy, &join, (first, WORKERS), async |_| {
        match soon("the start", rig.builder(holding(2)).start()).await {
            Ok(receiver) => drop(receiver.drain().await.unwrap()),
            Err(ReceiveError::Join { source, .. }) => {
                assert_eq!(source.kind(), ErrorKind::Disconnected, "{source}");
            }
            Err(other) => panic!("{other}"),
        }
    })
    .await;
    // Consumers that joined and never heard of it hold nothing; once their lease is over they are forgotten.
    for cid in rig.bed.consumers().await {
        rig.bed.ask(Command::new("ZADD").key(rig.bed.keys.consumers()).arg("1").arg(cid)).await;
    }
    let receiver = rig.builder(holding(2)).start().await.unwrap();
    rig.push(2).await;
    rig.ack(rig.fetch(&receiver, 2).await).await;
    until("the others to go", async || (rig.bed.consumers().await.len() == 1).then_some(())).await;
    assert!(soon("the end", receiver.drain()).await.unwrap().is_clean());
    assert_eq!(rig.ledger.most_crashes(), 0);
    rig.balances().await;
    points
}

#[tokio::test]
async fn a_join() {
    let points = share(cut_joins).await;
    enough(points, 500);
}

async fn cut_releases(first: u64) -> usize {
    let rig = Rig::new("cut-release").await;
    let release = inflight_after(&rig, rig.bed.keys.lane(Lane::Low));
    let settings = holding(2).drain_timeout(Duration::ZERO);
    rig.push(2).await;
    let order = rig.bed.waiting().await;
    let cycle = async || {
        let receiver = rig.builder(settings.clone()).start().await.unwrap();
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(soon("a message", receiver.recv()).await.unwrap());
        }
        assert_eq!(held.iter().map(Delivery::crashes).sum::<u32>(), 0);
        let report = soon("the end", receiver.drain()).await.unwrap();
        assert_eq!(report.aborted, 2, "{report}");
        assert_eq!(rig.bed.waiting().await, order, "back at its head, in their order");
        assert_eq!(rig.bed.consumers().await, [""; 0]);
    };
    cycle().await;
    let points = at_each_byte(&rig.proxy, &release, (first, WORKERS), async |_| cycle().await).await;
    let receiver = rig.builder(settings.clone()).start().await.unwrap();
    rig.ack(rig.fetch(&receiver, 2).await).await;
    let _ = soon("the end", receiver.drain()).await.unwrap();
    rig.balances().await;
    points
}

#[tokio::test]
async fn a_release() {
    let points = share(cut_releases).await;
    enough(points, 400);
}

async fn cut_reaps(first: u64) -> usize {
    let rig = Rig::new("cut-reap").await;
    let keys = &rig.bed.keys;
    // Parks often, so that it looks often.
    let settings = holding(2).blocking_timeout(Duration::from_millis(20));
    let receiver = rig.builder(settings).start().await.unwrap();
    let cycle = async |dead: &str| {
        let inflight = keys.inflight(dead);
        let mut commands = Vec::new();
        let numbers = rig.numbers(2);
        let mut fields = Command::new("HSET").key(inflight.as_str()).arg("#").arg("1");
        for (place, number) in numbers.enumerate() {
            let raw = Envelope::new(&number).unwrap().encode().unwrap();
            let value = InFlight { claimed_ms: 1, frame: Frame::fresh(Lane::Normal, raw) }.encode();
            fields = fields.arg(format!("1-{}", place + 1)).arg(value);
        }
        commands.push(fields);
        commands.push(Command::new("ZADD").key(keys.consumers()).arg("1").arg(dead));
        for reply in rig.bed.connection.execute_all(commands).await {
            reply.unwrap();
        }
        let held = rig.fetch(&receiver, 2).await;
        assert!(held.iter().all(|delivery| delivery.crashes() == 1));
        rig.ack(held).await;
        until("the end of the dead one", async || (rig.bed.consumers().await.len() == 1).then_some(())).await;
    };
    let dead = format!("{first:032x}");
    cycle(&dead).await;
    let reap = keys.inflight(&dead);
    let points = at_each_byte(&rig.proxy, &reap, (first, WORKERS), async |_| cycle(&dead).await).await;
    let _ = soon("the end", receiver.drain()).await.unwrap();
    rig.balances().await;
    points
}

#[tokio::test]
async fn a_reap() {
    let points = share(cut_reaps).await;
    enough(points, 400);
}
