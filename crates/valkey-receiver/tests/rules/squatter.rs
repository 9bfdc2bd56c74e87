//! A script error rolls nothing back, so what can fail is read first: a foreign type on any key leaves no trace.

use valkey_connection::{Command, Error, ErrorKind};
use valkey_envelope::Lane;

use crate::hand::{Hand, Settling, dump, push};
use crate::support::Bed;
use crate::support::books::{Balance, Books};

/// A queue with something in every place, and a consumer that holds four messages.
async fn full(bed: &Bed) -> Hand<'_> {
    let hand = Hand::join(bed).await;
    push(bed, bed.keys.public(), ["n1", "n2", "n3", "n4", "n5"]).await;
    assert_eq!(hand.take(1, 4).await.items.len(), 4);
    for key in [bed.keys.lane(Lane::High), bed.keys.lane(Lane::Low), bed.keys.woken()] {
        push(bed, key, ["x"]).await;
    }
    push(bed, bed.keys.redo(), ["0|1|n|x"]).await;
    bed.ask(Command::new("ZADD").key(bed.keys.delayed()).arg(1).arg("id|0|1|n|x")).await;
    bed.ask(Command::new("ZADD").key(bed.keys.dead()).arg(1).arg("id")).await;
    bed.ask(Command::new("HSET").key(bed.keys.dead_body()).args(["id", "2|{}x"])).await;
    hand
}

/// Puts a squatter on each of `keys` in turn and expects `call` to name it and to change nothing.
async fn each(what: &str, keys: &[&str], call: impl AsyncFn(&Hand<'_>) -> Result<(), Error>) {
    let mut sum = Balance { sent: 0, lost: 0, twice: 0 };
    for (number, _) in keys.iter().enumerate() {
        let bed = Bed::new("squat").await;
        let hand = full(&bed).await;
        let inflight = hand.inflight();
        let key = match keys[number] {
            "inflight" => inflight.as_str(),
            "public" => bed.keys.public(),
            "high" => bed.keys.lane(Lane::High),
            "low" => bed.keys.lane(Lane::Low),
            "woken" => bed.keys.woken(),
            "consumers" => bed.keys.consumers(),
            "redo" => bed.keys.redo(),
            "delayed" => bed.keys.delayed(),
            "dead" => bed.keys.dead(),
            "dead_body" => bed.keys.dead_body(),
            "control" => bed.keys.control(),
            other => panic!("{other}"),
        };
        for squatter in [Command::new("SET").key(key), Command::new("SADD").key(key)] {
            bed.ask(Command::new("DEL").key(key)).await;
            bed.ask(squatter.arg("squat")).await;
            // What the squatter has driven out is not the script's doing.
            let there = bed.census().await.into_iter().flat_map(|(raw, count)| vec![raw; count as usize]);
            let books = Books::of(there);
            let before = dump(&bed).await;
            let error = call(&hand).await.expect_err(key);
            assert_eq!(error.kind(), ErrorKind::WrongType, "{what} on {key}: {error}");
            assert!(error.to_string().contains(key), "{what} on {key} does not name it: {error}");
            let balance = books.balance(&[&bed]).await;
            sum = Balance { sent: sum.sent + balance.sent, lost: sum.lost + balance.lost, ..sum };
            assert_eq!(dump(&bed).await, before, "{what} left a trace beside {key}");
        }
    }
    sum.figures().publish();
    assert_eq!(sum.lost, 0);
}

const PLACES: [&str; 11] = [
    "public",
    "high",
    "low",
    "woken",
    "inflight",
    "consumers",
    "redo",
    "delayed",
    "dead",
    "dead_body",
    "control",
];

#[tokio::test]
async fn a_take_leaves_no_trace_beside_a_squatter() {
    each("take", &PLACES, async |hand| {
        let settling = Settling {
            acks: &["1-1"],
            retries: &[("1-2", 0, true)],
            deads: &[("1-3", "{}")],
            backs: &["1-4"],
        };
        hand.try_take(2, 64, &settling).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_join_leaves_no_trace_beside_a_squatter() {
    each("join", &PLACES, async |hand| hand.try_join().await.map(drop)).await;
}

#[tokio::test]
async fn a_reap_leaves_no_trace_beside_a_squatter() {
    let places = ["inflight", "consumers", "redo", "dead", "dead_body", "control"];
    each("reap", &places, async |hand| hand.try_reap(256).await.map(drop)).await;
}

#[tokio::test]
async fn a_release_leaves_no_trace_beside_a_squatter() {
    let places = ["public", "high", "low", "inflight", "consumers", "redo", "control"];
    each("release", &places, async |hand| hand.try_release(256).await.map(drop)).await;
}

#[tokio::test]
async fn squatters_on_the_counters_stop_nothing() {
    let bed = Bed::new("squat-stats").await;
    let hand = full(&bed).await;
    let stats = bed.keys.stats(1);
    bed.ask(Command::new("DEL").key(stats.as_str())).await;
    bed.ask(Command::new("SET").key(stats.as_str()).arg("squat")).await;
    assert_eq!(hand.take(2, 64).await.items.len(), 6);
    hand.set_deadline(1).await;
    assert_eq!(hand.reap(256).await, ("reaped".to_owned(), 10, 0, 0));
}

#[tokio::test]
async fn malformed_calls_leave_no_trace() {
    let bed = Bed::new("malformed").await;
    let hand = full(&bed).await;
    let before = dump(&bed).await;
    assert!(hand.try_take(2, 513, &Settling::default()).await.is_err(), "more than it may pop");
    let too_many = vec!["1-1"; 513];
    let settling = Settling { acks: &too_many, ..Settling::default() };
    assert!(hand.try_take(2, 1, &settling).await.is_err(), "more than it may unpack");
    assert!(hand.try_reap(257).await.is_err());
    assert!(hand.try_release(257).await.is_err());
    assert_eq!(dump(&bed).await, before);
}
