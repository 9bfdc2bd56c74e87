//! Giving a queue back to plain consumers.

use bytes::Bytes;
use valkey_admin::{Admin, Error, Execution, Place};
use valkey_connection::Command;
use valkey_envelope::{Envelope, Frame, Lane};
use valkey_testkit::TestServer;

use crate::support::{Bench, GARBAGE, foreign};

fn framed(attempts: u32, raw: impl Into<Bytes>) -> Bytes {
    Frame { crashes: 1, attempts, lane: Lane::Normal, raw: raw.into() }.encode()
}

#[tokio::test]
async fn everything_reaches_the_public_list_in_order() {
    let bench = Bench::new().await;
    let (keys, now) = (&bench.keys, bench.now().await);
    for i in [1, 2] {
        bench.push(keys.public(), format!("public {i}")).await;
        bench.push(keys.lane(Lane::High), format!("high {i}")).await;
        bench.push(keys.lane(Lane::Low), format!("low {i}")).await;
        bench.push(keys.woken(), format!("woken {i}")).await;
        bench.push(keys.redo(), framed(1, format!("redo {i}"))).await;
        bench.delay(&format!("{i}-1-c"), now + 1_000 * i, 1, format!("delayed {i}")).await;
        bench.claim("late", &format!("9-{i}"), 0, format!("held {i}")).await;
    }
    bench.claim("late", "10-1", 0, "held 3").await;
    bench.register("late", now - 1).await;

    let dry =
        bench.admin.hand_back(&bench.queue, &Admin::HAND_BACK, Execution::DryRun, |_| ()).await.unwrap();
    assert_eq!(dry.done(), 13);
    assert_eq!(bench.int("LLEN", keys.public()).await, 2);

    let mut seen = 0;
    let tally = bench
        .admin
        .hand_back(&bench.queue, &Admin::HAND_BACK, Execution::Run, |done| seen = done)
        .await
        .unwrap();
    assert_eq!((tally.done(), seen), (13, 13));
    let order = bench.popped(keys.public()).await;
    let expected = [
        "held 1",
        "held 2",
        "held 3",
        "redo 1",
        "redo 2",
        "woken 1",
        "woken 2",
        "high 1",
        "high 2",
        "public 1",
        "public 2",
        "low 1",
        "low 2",
        "delayed 1",
        "delayed 2",
    ];
    assert_eq!(order, expected);
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    assert_eq!((stats.ready.total(), stats.delayed, stats.in_flight, stats.consumer_count), (15, 0, 0, 0));
}

#[tokio::test]
async fn failed_attempts_are_counted_into_retries_and_nothing_else_changes() {
    let bench = Bench::new().await;
    bench.push(bench.keys.redo(), framed(2, foreign("a", 1))).await;
    bench.push(bench.keys.redo(), framed(0, foreign("b", 1))).await;
    bench.push(bench.keys.redo(), framed(5, GARBAGE)).await;
    bench.push(bench.keys.redo(), framed(5, "")).await;
    bench.push(bench.keys.redo(), GARBAGE).await;
    let tally = bench.admin.hand_back(&bench.queue, &[Place::Redo], Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.counts[&Place::Redo], 5);
    let order = bench.popped(bench.keys.public()).await;
    let expected: [Bytes; 5] = [
        foreign("a", 3).into(),
        foreign("b", 1).into(),
        Bytes::from_static(GARBAGE),
        Bytes::new(),
        Bytes::from_static(GARBAGE),
    ];
    assert_eq!(order, expected);
    assert_eq!(Envelope::decode(&order[0]).unwrap().retries(), 3);
}

#[tokio::test]
async fn a_living_consumer_keeps_what_it_holds() {
    let bench = Bench::new().await;
    let now = bench.now().await;
    bench.register("live", now + 60_000).await;
    bench.claim("live", "1-1", 0, "held").await;
    let tally =
        bench.admin.hand_back(&bench.queue, &[Place::InFlight], Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.done(), 0);
    assert_eq!(bench.admin.stats(&bench.queue).await.unwrap().in_flight, 1);
}

#[tokio::test]
async fn what_an_unregistered_consumer_left_comes_back() {
    let bench = Bench::new().await;
    for i in 1..=150 {
        bench.claim("stray", &format!("3-{i}"), 0, format!("{i}")).await;
    }
    let tally =
        bench.admin.hand_back(&bench.queue, &[Place::InFlight], Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.counts[&Place::InFlight], 150);
    let order = bench.popped(bench.keys.public()).await;
    assert!(order.iter().enumerate().all(|(i, raw)| *raw == (i + 1).to_string()), "{order:?}");
    assert_eq!(bench.int("EXISTS", &bench.keys.inflight("stray")).await, 0);
}

#[tokio::test]
async fn who_may_not_look_for_keys_still_gets_the_rest_back() {
    let server = TestServer::builder().acl_user("few", "pw", "~* &* +@all -scan").start().await.unwrap();
    let bench = Bench::on(&server).await;
    bench.register("late", 1).await;
    bench.claim("late", "1-1", 0, "registered").await;
    bench.claim("stray", "1-1", 0, "unregistered").await;
    let tally = bench.admin.hand_back(&bench.queue, &Admin::HAND_BACK, Execution::Run, |_| ()).await.unwrap();
    assert_eq!((tally.done(), tally.failed.is_none()), (1, true));
    assert_eq!(bench.popped(bench.keys.public()).await, ["registered"]);
}

#[tokio::test]
async fn many_and_large_ones_move_in_slices() {
    let bench = Bench::new().await;
    for i in 0..200 {
        bench.delay(&format!("{i}-1-c"), 1_000 + i, 0, format!("{i}")).await;
    }
    for i in 0..5 {
        let large = [format!("{i}").into_bytes(), vec![b'x'; 700_000]].concat();
        bench.push(bench.keys.redo(), framed(0, large)).await;
    }
    let tally = bench
        .admin
        .hand_back(&bench.queue, &[Place::Delayed, Place::Redo], Execution::Run, |_| ())
        .await
        .unwrap();
    assert_eq!((tally.counts[&Place::Delayed], tally.counts[&Place::Redo]), (200, 5));
    let order = bench.popped(bench.keys.public()).await;
    let heads: Vec<String> =
        order.iter().map(|raw| String::from_utf8_lossy(&raw[..raw.len().min(3)]).into_owned()).collect();
    assert_eq!(heads[..5], ["0xx", "1xx", "2xx", "3xx", "4xx"]);
    assert!(heads[5..].iter().enumerate().all(|(i, head)| *head == i.to_string()), "{heads:?}");
}

#[tokio::test]
async fn an_expiry_on_the_list_does_not_outlive_a_hand_back() {
    let bench = Bench::new().await;
    bench.push(bench.keys.public(), "x").await;
    bench.run(Command::new("EXPIRE").key(bench.keys.public()).arg(100u32)).await;
    bench.push(bench.keys.woken(), "y").await;
    let _ = bench.admin.hand_back(&bench.queue, &[Place::Woken], Execution::Run, |_| ()).await.unwrap();
    assert_eq!(bench.int("TTL", bench.keys.public()).await, -1);
}

#[tokio::test]
async fn places_that_make_no_sense_are_refused() {
    let bench = Bench::new().await;
    for place in [Place::Public, Place::Dead] {
        let refused =
            bench.admin.hand_back(&bench.queue, &[place], Execution::Run, |_| ()).await.unwrap_err();
        assert!(matches!(refused, Error::NotApplicable { verb: "hand-back", .. }), "{refused}");
    }
}
