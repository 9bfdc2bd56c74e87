//! Numbers in the control hash that no tool of ours would write: somebody's hand, or a clock that stepped back.
#![allow(clippy::unwrap_used)]

#[path = "support/hand.rs"]
mod hand;
mod support;

use valkey_connection::Command;
use valkey_envelope::Lane;

use hand::{Hand, push, server_ms};
use support::Bed;
use support::books::{Balance, Books};

async fn control(bed: &Bed, fields: &[(&str, &str)]) {
    let pairs = fields.iter().flat_map(|(name, value)| [*name, *value]);
    bed.ask(Command::new("HSET").key(bed.keys.control()).args(pairs)).await;
}

/// Nothing is lost, nothing comes twice.
async fn balances(books: &Books, bed: &Bed) {
    let balance = books.publish(bed).await;
    assert_eq!(balance, Balance { lost: 0, twice: 0, ..balance });
}

#[tokio::test]
async fn a_bound_with_a_fraction_is_cut_and_costs_no_message() {
    let bed = Bed::new("fraction").await;
    let hand = Hand::join(&bed).await;
    push(&bed, bed.keys.lane(Lane::High), ["h1", "h2"]).await;
    push(&bed, bed.keys.public(), ["n1", "n2"]).await;
    // Two are popped from one lane; half a message is then wanted from the next.
    control(&bed, &[("max_in_flight", "2.5"), ("n:gone", "nan")]).await;
    let books = Books::of(["h1", "h2", "n1", "n2"]);
    let taken = hand.take(1, 64).await;
    books.handed_all(taken.raws());
    assert_eq!((taken.items, taken.hold.as_str()), (vec!["h1".into(), "h2".into()], "full"));
    balances(&books, &bed).await;
}

#[tokio::test]
async fn no_rate_asks_to_look_again_at_once_or_never() {
    for (rate, burst) in
        [("1e-300", "1"), ("1e-21", "nan"), ("5e-324", "1e300"), ("1", "inf"), ("0.001", "-5")]
    {
        let bed = Bed::new("rates").await;
        let hand = Hand::join(&bed).await;
        push(&bed, bed.keys.public(), vec!["x"; 3]).await;
        control(&bed, &[("rate", rate), ("burst", burst)]).await;
        let books = Books::of(["x"; 3]);
        let first = hand.take(1, 1).await;
        assert_eq!(first.items.len(), 1, "rate {rate}, burst {burst}");
        let second = hand.take(2, 64).await;
        books.handed_all(first.raws().into_iter().chain(second.raws()));
        balances(&books, &bed).await;
        match second.hold.as_str() {
            "rate" => {
                assert!((1..=3_600_000).contains(&second.hold_ms), "rate {rate}: {} ms", second.hold_ms);
            }
            hold => assert_eq!((hold, second.items.len()), ("", 2), "rate {rate}, burst {burst}"),
        }
    }
}

#[tokio::test]
async fn an_arrival_time_from_before_the_clock_stepped_back_is_pulled_back() {
    for tat in ["9e15", "1e300", "inf", "nan"] {
        let bed = Bed::new("tat").await;
        let hand = Hand::join(&bed).await;
        push(&bed, bed.keys.public(), vec!["x"; 30]).await;
        control(&bed, &[("rate", "0.1"), ("burst", "3"), ("tat", tat)]).await;
        let books = Books::of(["x"; 30]);
        let taken = hand.take(1, 64).await;
        books.handed_all(taken.raws());
        balances(&books, &bed).await;
        assert!(taken.items.len() <= 3, "tat {tat}: the burst bounds it all the same");
        assert_eq!(taken.hold, "rate");
        // Never more than a full bucket away: one every ten seconds.
        assert!((1..=10_000).contains(&taken.hold_ms), "tat {tat}: {} ms", taken.hold_ms);
    }
}

#[tokio::test]
async fn a_lease_that_is_no_length_gives_nobody_an_endless_one() {
    const HOUR_MS: i64 = 3_600_000;
    for lease in ["nan", "inf", "1e300", "-1", "soon"] {
        let bed = Bed::new("lease").await;
        let dead = Hand::join(&bed).await;
        push(&bed, bed.keys.public(), ["a"]).await;
        let (books, taken) = (Books::of(["a"]), dead.take(1, 64).await);
        books.handed_all(taken.raws());
        assert_eq!(taken.items, ["a"]);
        // As after a restart of the server: whoever comes first gives everybody the longest lease.
        control(&bed, &[("lease", lease), ("run_id", "another")]).await;
        let joined = Hand::new(&bed);
        assert_eq!(joined.try_join().await.unwrap(), "joined", "lease {lease}");
        let most = server_ms(&bed).await + HOUR_MS;
        assert!(dead.deadline_ms().await.unwrap() <= most, "lease {lease}, by a join");

        control(&bed, &[("lease", lease), ("run_id", "a third")]).await;
        dead.set_deadline(1).await;
        assert_eq!(dead.reap(64).await.0, "spared", "lease {lease}");
        assert!(dead.deadline_ms().await.unwrap() <= most + HOUR_MS, "lease {lease}, by a reap");

        // As after a step back of the clock.
        control(&bed, &[("lease", lease)]).await;
        let far = server_ms(&bed).await + 3 * HOUR_MS;
        dead.set_deadline(far).await;
        assert_eq!(joined.take(1, 0).await.expired, dead.cid, "lease {lease}");
        dead.reap(64).await;
        assert!(dead.deadline_ms().await.unwrap() < far, "lease {lease}");
        balances(&books, &bed).await;
    }
}
