//! Dead letters: list, show, replay, purge.

use bytes::Bytes;
use valkey_admin::{DeadFilter, DeadPage, DeadQuery, DeadSelection, Error, Execution, Place, ReplayTo};
use valkey_connection::Command;
use valkey_envelope::{DeadReason, Lane};
use valkey_testkit::unique_name;

use crate::support::{Bench, GARBAGE};

fn ids(page: &DeadPage) -> Vec<&str> {
    page.letters.iter().map(|letter| letter.id.as_str()).collect()
}

fn reason(reason: &str) -> DeadFilter {
    DeadFilter { reason: Some(DeadReason::from(reason)), ..DeadFilter::default() }
}

#[tokio::test]
async fn pages_hold_every_letter_once_also_of_one_instant() {
    let bench = Bench::new().await;
    for i in 0..20 {
        bench.bury(&format!("id-{i:02}"), 1_000 + i / 8, "rejected", Lane::Normal, "x").await;
    }
    for oldest_first in [true, false] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = DeadQuery { count: 3, after, oldest_first, ..DeadQuery::default() };
            let page = bench.admin.dead_letters(&bench.queue, &query).await.unwrap();
            all.extend(ids(&page).into_iter().map(str::to_owned));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<String> = (0..20).map(|i| format!("id-{i:02}")).collect();
        if !oldest_first {
            expected.reverse();
        }
        assert_eq!(all, expected);
    }
}

#[tokio::test]
async fn letters_tell_their_story() {
    let bench = Bench::new().await;
    bench.bury("1-1-c", 5_000, "max_attempts", Lane::High, GARBAGE).await;
    bench.bury("2-1-c", 6_000, "moon_phase", Lane::Normal, "").await;
    let query = DeadQuery { preview_bytes: 4, ..DeadQuery::default() };
    let page = bench.admin.dead_letters(&bench.queue, &query).await.unwrap();
    assert_eq!(ids(&page), ["2-1-c", "1-1-c"]);
    let letter = &page.letters[1];
    let meta = letter.meta.as_ref().unwrap();
    assert_eq!((&meta.reason, meta.attempts, meta.lane), (&DeadReason::MaxAttempts, 3, Some(Lane::High)));
    assert_eq!(
        (letter.died_ms, letter.length, &letter.bytes[..]),
        (5_000, Some(GARBAGE.len() as u64), &GARBAGE[..4])
    );
    assert_eq!(page.letters[0].meta.as_ref().unwrap().reason.as_str(), "moon_phase");
    assert_eq!(bench.admin.dead_letter(&bench.queue, "1-1-c").await.unwrap().bytes, GARBAGE);
    let missing = bench.admin.dead_letter(&bench.queue, "nope").await.unwrap_err();
    assert!(matches!(&missing, Error::NoDeadLetter { id, .. } if id == "nope"), "{missing}");
}

#[tokio::test]
async fn filters_choose_by_reason_and_time_over_many_pages() {
    let bench = Bench::new().await;
    for i in 0..600u64 {
        let why = if i % 100 == 0 { "expired" } else { "rejected" };
        bench.bury(&format!("id-{i:03}"), 1_000 + i, why, Lane::Normal, "x").await;
    }
    let query = DeadQuery { filter: reason("expired"), count: 4, oldest_first: true, ..DeadQuery::default() };
    let page = bench.admin.dead_letters(&bench.queue, &query).await.unwrap();
    assert_eq!(ids(&page), ["id-000", "id-100", "id-200", "id-300"]);
    let rest = DeadQuery { after: page.next.clone(), ..query };
    assert_eq!(ids(&bench.admin.dead_letters(&bench.queue, &rest).await.unwrap()), ["id-400", "id-500"]);
    let between = DeadFilter { since_ms: Some(1_150), until_ms: Some(1_399), ..reason("expired") };
    let query = DeadQuery { filter: between, ..DeadQuery::default() };
    assert_eq!(ids(&bench.admin.dead_letters(&bench.queue, &query).await.unwrap()), ["id-300", "id-200"]);
}

#[tokio::test]
async fn replay_puts_each_back_once_into_its_lane_oldest_first() {
    let bench = Bench::new().await;
    bench.bury("a", 1_000, "rejected", Lane::Normal, "first").await;
    bench.bury("b", 1_001, "rejected", Lane::Normal, GARBAGE).await;
    bench.bury("c", 1_002, "expired", Lane::High, "urgent").await;
    let all = &DeadSelection::All;
    let dry =
        bench.admin.replay(&bench.queue, all, &ReplayTo::Source, Execution::DryRun, |_| ()).await.unwrap();
    assert_eq!((dry.done(), bench.int("ZCARD", bench.keys.dead()).await), (3, 3));

    let (one, two) = tokio::join!(
        bench.admin.replay(&bench.queue, all, &ReplayTo::Source, Execution::Run, |_| ()),
        bench.admin.replay(&bench.queue, all, &ReplayTo::Source, Execution::Run, |_| ()),
    );
    assert_eq!(one.unwrap().done() + two.unwrap().done(), 3);
    assert_eq!(bench.popped(bench.keys.public()).await, [&b"first"[..], GARBAGE]);
    assert_eq!(bench.popped(bench.keys.lane(Lane::High)).await, ["urgent"]);
    assert_eq!(bench.int("ZCARD", bench.keys.dead()).await, 0);
    assert_eq!(bench.int("HLEN", bench.keys.dead_body()).await, 0);
}

#[tokio::test]
async fn replay_of_ids_and_of_a_reason_leaves_the_others() {
    let bench = Bench::new().await;
    for (id, why) in [("a", "rejected"), ("b", "expired"), ("c", "rejected"), ("d", "crashed")] {
        bench.bury(id, 1_000, why, Lane::Normal, id.to_owned()).await;
    }
    let two = DeadSelection::Ids(vec!["a".into(), "gone".into(), "a".into()]);
    let tally =
        bench.admin.replay(&bench.queue, &two, &ReplayTo::Source, Execution::Run, |_| ()).await.unwrap();
    assert_eq!((tally.done(), tally.absent), (1, 1));
    let some = DeadSelection::Matching(reason("rejected"));
    let tally =
        bench.admin.replay(&bench.queue, &some, &ReplayTo::Source, Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.done(), 1);
    assert_eq!(bench.popped(bench.keys.public()).await, ["a", "c"]);
    let left = bench.admin.dead_letters(&bench.queue, &DeadQuery::default()).await.unwrap();
    assert_eq!(ids(&left), ["d", "b"]);
}

#[tokio::test]
async fn replay_to_another_queue() {
    let bench = Bench::new().await;
    bench.bury("a", 1_000, "rejected", Lane::Normal, GARBAGE).await;
    let other: valkey_envelope::QueueName = unique_name("other").parse().unwrap();
    let to = ReplayTo::Queue(other.clone());
    let tally =
        bench.admin.replay(&bench.queue, &DeadSelection::All, &to, Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.done(), 1);
    assert_eq!(bench.popped(other.keys().public()).await, [GARBAGE]);
    assert_eq!(bench.int("ZCARD", bench.keys.dead()).await, 0);
}

#[tokio::test]
async fn letters_that_cannot_be_read_stay_and_are_told() {
    let bench = Bench::new().await;
    bench.bury("good", 1_000, "rejected", Lane::Normal, "x").await;
    for (id, body) in [("broken", &b"no length"[..]), ("short", b"99|{}"), ("nonsense", b"2|[]raw")] {
        bench.run(Command::new("ZADD").key(bench.keys.dead()).arg(1_001u32).arg(id)).await;
        bench.run(Command::new("HSET").key(bench.keys.dead_body()).arg(id).arg(body)).await;
    }
    bench.run(Command::new("ZADD").key(bench.keys.dead()).arg(1_002u32).arg("bodiless")).await;
    let page = bench.admin.dead_letters(&bench.queue, &DeadQuery::default()).await.unwrap();
    assert_eq!(page.letters.len(), 5);
    let tally = bench
        .admin
        .replay(&bench.queue, &DeadSelection::All, &ReplayTo::Source, Execution::Run, |_| ())
        .await
        .unwrap();
    // A story that makes no sense is no reason to keep the message: its bytes are known.
    assert_eq!((tally.done(), tally.unreadable), (2, 3));
    assert_eq!(bench.popped(bench.keys.public()).await, ["x", "raw"]);
    assert_eq!(bench.int("ZCARD", bench.keys.dead()).await, 3);
}

#[tokio::test]
async fn purge_of_the_dead_takes_bodies_along() {
    let bench = Bench::new().await;
    for i in 0..700u64 {
        let why = if i < 10 { "expired" } else { "rejected" };
        bench.bury(&format!("id-{i}"), 1_000 + i, why, Lane::Normal, Bytes::from(vec![0; 10])).await;
    }
    let expired = DeadSelection::Matching(reason("expired"));
    let dry = bench.admin.purge_dead(&bench.queue, &expired, Execution::DryRun, |_| ()).await.unwrap();
    assert_eq!((dry.done(), bench.int("ZCARD", bench.keys.dead()).await), (10, 700));
    let tally = bench.admin.purge_dead(&bench.queue, &expired, Execution::Run, |_| ()).await.unwrap();
    assert_eq!((tally.done(), bench.int("HLEN", bench.keys.dead_body()).await), (10, 690));
    let some = DeadSelection::Ids(vec!["id-10".into(), "gone".into()]);
    let tally = bench.admin.purge_dead(&bench.queue, &some, Execution::Run, |_| ()).await.unwrap();
    assert_eq!((tally.done(), tally.absent), (1, 1));
    let tally =
        bench.admin.purge_dead(&bench.queue, &DeadSelection::All, Execution::Run, |_| ()).await.unwrap();
    assert_eq!(tally.counts[&Place::Dead], 689);
    assert_eq!(bench.int("EXISTS", bench.keys.dead_body()).await, 0);
}
