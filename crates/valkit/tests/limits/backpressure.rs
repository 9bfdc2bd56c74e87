//! Fifty bounded producers, of each policy, against consumers that are slower: the queue is never longer than it may be,
//! also while its limit changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use valkey_admin::{Change, LimitsChange};
use valkey_connection::Script;
use valkey_envelope::{Envelope, Lane};
use valkey_sender::{OnFull, Receipt, SendError};
use valkey_testkit::Figures;

use crate::bench::{Bench, Effects};
use crate::scale;

const PRODUCERS: usize = 50;
const CONNECTIONS: usize = 10;
const EACH: usize = 60;

/// KEYS: five lists, the delayed ones. What waits, at one instant.
static LOOK: Script = Script::new(
    "look",
    "local waiting = redis.call('ZCARD', KEYS[6])
     for i = 1, 5 do waiting = waiting + redis.call('LLEN', KEYS[i]) end
     return waiting",
);

#[derive(Clone, Copy, Debug, Default)]
struct Books {
    accepted: usize,
    full: usize,
    shed: usize,
}

/// What the observer saw.
#[derive(Debug, Default)]
struct Seen {
    looks: u64,
    highest: i64,
    /// Waiting, where it should not have been so many: how many, and how many were allowed.
    over: Vec<(i64, i64)>,
}

/// The limits that were set, each written down before it is in force.
type Set = Arc<Mutex<Vec<i64>>>;

/// Looks all the time. A limit that was lowered removes nothing, but nothing is added until there is room; between two
/// looks each limit may have been in force that was set since shortly before the first.
async fn observe(bench: &Bench, set: Set, stop: Arc<AtomicBool>) -> Seen {
    let connection = bench.connect().await;
    let keys = &bench.keys;
    let mut seen = Seen::default();
    let (mut waited, mut known) = (0, 1);
    while !stop.load(Ordering::Relaxed) {
        let before = set.lock().unwrap().len();
        let call = LOOK
            .call()
            .keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), keys.woken(), keys.redo()])
            .key(keys.delayed());
        let waiting = connection.invoke(call).await.unwrap().as_int().unwrap();
        let limit = set.lock().unwrap()[known - 1..].iter().copied().max().unwrap();
        if waiting > limit.max(waited) {
            seen.over.push((waiting, limit.max(waited)));
        }
        seen.highest = seen.highest.max(waiting);
        seen.looks += 1;
        (waited, known) = (waiting, before.saturating_sub(1).max(1));
    }
    seen
}

/// One producer: singles and threes, now and later, in every lane.
async fn produce(sender: valkey_sender::Sender, producer: usize) -> Books {
    let mut books = Books::default();
    let mut number = 0;
    let message = |number: usize| {
        let lane = [Lane::Normal, Lane::High, Lane::Normal, Lane::Low][number % 4];
        let envelope = Envelope::new(&(producer * 100_000 + number)).unwrap().with_priority(lane);
        if number.is_multiple_of(7) {
            envelope.with_not_before(Timestamp::now() + Duration::from_millis(40))
        } else {
            envelope
        }
    };
    let each = EACH * scale();
    while number < each {
        let results = if number % 5 == 0 && number + 3 <= each {
            let three: Vec<_> = (number..number + 3).map(message).collect();
            number += 3;
            sender.send_all(three).await
        } else {
            number += 1;
            vec![sender.send(message(number - 1)).await]
        };
        for result in results {
            match result {
                Ok(Receipt::Sent { .. } | Receipt::Scheduled { .. }) => books.accepted += 1,
                Ok(Receipt::Shed { .. }) => books.shed += 1,
                Err(SendError::QueueFull { .. }) => {
                    books.full += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    books
}

/// Policies of the producers in turn; limits that are set one after the other under load.
async fn press(case: &'static str, policies: &[OnFull], limits: &[u64]) {
    let bench = Arc::new(Bench::new("pressed").await);
    bench.control("max_length", &limits[0].to_string()).await;
    let set: Set = Arc::new(Mutex::new(vec![limits[0].cast_signed()]));
    let stop = Arc::new(AtomicBool::new(false));
    let observer = {
        let (bench, set, stop) = (Arc::clone(&bench), Arc::clone(&set), Arc::clone(&stop));
        tokio::spawn(async move { observe(&bench, set, stop).await })
    };
    let effects = Effects::default();
    let mut crews = Vec::new();
    for _ in 0..2 {
        let rejects =
            |message: &valkey_receiver::Message| message.payload_as::<u64>().unwrap().is_multiple_of(97);
        crews.push(bench.crew(&effects, Duration::from_millis(8), rejects).await);
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(bench.connect().await);
    }
    let started = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let connection = connections[producer % CONNECTIONS].clone();
            let sender = valkey_sender::Sender::builder(connection, bench.queue.clone());
            let sender = sender.bounded().on_full(policies[producer % policies.len()]).build();
            tokio::spawn(produce(sender, producer))
        })
        .collect();
    let changing = {
        let (bench, limits) = (Arc::clone(&bench), limits.to_vec());
        tokio::spawn(async move {
            for limit in limits.into_iter().skip(1).cycle() {
                tokio::time::sleep(Duration::from_millis(150)).await;
                set.lock().unwrap().push(limit.cast_signed());
                let change = LimitsChange { max_length: Change::Set(limit), ..LimitsChange::default() };
                bench.admin.set_limits(&bench.queue, &change).await.unwrap();
            }
        })
    };
    let mut books = Books::default();
    for producer in producers {
        let one = tokio::time::timeout(Duration::from_mins(1), producer).await.expect("it ends").unwrap();
        books.accepted += one.accepted;
        books.full += one.full;
        books.shed += one.shed;
    }
    let took = started.elapsed();
    changing.abort();
    bench.until_empty().await;
    stop.store(true, Ordering::Relaxed);
    let seen = observer.await.unwrap();
    for crew in crews {
        crew.drain().await;
    }
    let (handled, doubled) = {
        let effects = effects.lock().unwrap();
        (effects.len(), effects.values().map(|times| u64::from(times - 1)).sum::<u64>())
    };
    let dead = usize::try_from(bench.dead().await).unwrap();
    Figures::case(case)
        .sent((PRODUCERS * EACH * scale()) as u64)
        .confirmed(books.accepted as u64)
        .rejected((books.full + books.shed) as u64)
        .lost(books.accepted.saturating_sub(handled + dead) as u64)
        .twice(doubled)
        .note(format!(
            "limits {limits:?}: at most {} waited in {} looks; {} full, {} shed, {dead} dead letters, {:.1} s",
            seen.highest,
            seen.looks,
            books.full,
            books.shed,
            took.as_secs_f64(),
        ))
        .publish();
    assert_eq!(seen.over, [], "waiting above what is allowed");
    assert!(seen.looks > 50 && seen.highest > 0, "{seen:?}");
    assert_eq!(
        books.accepted + books.full + books.shed,
        PRODUCERS * EACH * scale(),
        "each send has its answer"
    );
    assert_eq!((handled + dead, doubled), (books.accepted, 0), "what was accepted is done, once, or dead");
    assert!(dead > 0);
    let may = |policy: fn(&OnFull) -> bool| policies.iter().any(policy);
    assert_eq!(books.full > 0, may(|policy| matches!(policy, OnFull::Error)), "{books:?}");
    assert_eq!(books.shed > 0, may(|policy| matches!(policy, OnFull::Shed)), "{books:?}");
}

const BLOCK: OnFull = OnFull::Block { timeout: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_producers_that_fail_never_overfill_the_queue() {
    press("error", &[OnFull::Error], &[20]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_producers_that_shed_never_overfill_the_queue() {
    press("shed", &[OnFull::Shed], &[20]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_producers_that_wait_never_overfill_the_queue_and_all_get_their_turn() {
    press("block", &[BLOCK], &[20]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_changes_under_load_is_kept_by_producers_of_every_policy() {
    press("all policies, a limit that changes", &[OnFull::Error, OnFull::Shed, BLOCK], &[40, 5, 60, 1, 30])
        .await;
}
