//! Many queues, and queues with very many messages: what a verb costs is counted by the server itself.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use valkey_admin::{DeadQuery, PeekQuery, Place};
use valkey_connection::{Command, Reply};
use valkey_envelope::{DeadBody, DeadMeta, DeadReason, QueueName};
use valkey_testkit::{Figures, TestServer};

use crate::support::{Bench, encoded};

/// What no command of ours may be: it looks at all there is.
const FORBIDDEN: [&str; 6] = ["keys", "lrem", "lpos", "smembers", "hvals", "sort"];

/// `VALKIT_LONG=1` takes the full size.
fn long(short: usize, long: usize) -> usize {
    if valkey_testkit::is_long() { long } else { short }
}

/// The calls of each command since the last reset, those that this test makes left out.
async fn calls(bench: &Bench) -> BTreeMap<String, u64> {
    let text = bench.run(Command::new("INFO").arg("commandstats")).await.into_string().unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let counts =
        lines.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap()));
    counts
        .filter(|(name, _): &(String, u64)| {
            !["info", "ping", "slowlog|reset", "slowlog|len"].contains(&name.as_str())
                && !name.starts_with("config")
        })
        .collect()
}

/// Runs a verb and tells how many commands it took, those of its scripts included.
async fn cost<T>(bench: &Bench, what: &str, verb: impl Future<Output = T>) -> (T, u64) {
    bench.run(Command::new("CONFIG").arg("RESETSTAT")).await;
    bench.run(Command::new("SLOWLOG").arg("RESET")).await;
    let begin = Instant::now();
    let result = verb.await;
    let took = begin.elapsed();
    let calls = calls(bench).await;
    let sum = calls.values().sum();
    for forbidden in FORBIDDEN {
        assert!(!calls.contains_key(forbidden), "{what}: {calls:?}");
    }
    let slow = bench.run(Command::new("SLOWLOG").arg("LEN")).await.as_int().unwrap();
    eprintln!("{what}: {sum} commands in {took:?}, {slow} of them above 10 ms: {calls:?}");
    Figures::case(what).note(format!("{sum} commands, {slow} of them above 10 ms, in {took:.1?}")).publish();
    (result, sum)
}

/// Looking takes nothing away.
fn kept(case: &str, messages: u64, left: u64) {
    Figures::case(case).sent(messages).lost(messages.saturating_sub(left)).publish();
    assert_eq!(left, messages, "{case}");
}

async fn fill(bench: &Bench, count: usize, command: impl Fn(usize) -> Command) {
    for from in (0..count).step_by(1_000) {
        let commands = (from..count.min(from + 1_000)).map(&command).collect();
        for reply in bench.connection.execute_all(commands).await {
            assert!(matches!(reply, Ok(Reply::Int(_))), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_queues_are_listed_and_examined_with_few_commands_for_each() {
    let server = TestServer::start().await.unwrap();
    let bench = Bench::on(&server).await;
    let count = 10_000;
    let raw = encoded("one");
    fill(&bench, count, |nth| Command::new("LPUSH").key(format!("queue:many-{nth}")).arg(raw.clone())).await;
    let (catalog, walked) = cost(&bench, "10,000 queues: find", bench.admin.queues(|_| ())).await;
    let catalog = catalog.unwrap();
    let strangers: Vec<_> =
        catalog.queues.iter().filter(|queue| !queue.as_str().starts_with("many-")).collect();
    assert_eq!((catalog.queues.len(), strangers), (count, vec![]));
    // A page of 1,000 keys, and some more for the one that is half full.
    assert!(walked <= 2 * 10 + 2, "{walked} commands");
    let queues: Vec<QueueName> = catalog.queues.into_iter().collect();
    let (stats, asked) = cost(&bench, "10,000 queues: ls", bench.admin.stats_all(&queues)).await;
    assert!(
        stats.len() == count && stats.iter().all(|one| one.as_ref().is_ok_and(|one| one.ready.public == 1))
    );
    // One script for each, with what it calls inside.
    assert!(asked <= 16 * count as u64, "{asked} commands");
    let (diagnosis, asked) = cost(&bench, "10,000 queues: doctor", bench.admin.doctor(&[])).await;
    assert_eq!(diagnosis.unwrap().queues.len(), count);
    assert!(asked <= 17 * count as u64, "{asked} commands");
    let left = bench.run(Command::new("DBSIZE")).await.as_int().unwrap().unsigned_abs();
    kept("10,000 queues: all looks", count as u64, left);
}

#[tokio::test]
async fn a_long_queue_and_many_dead_letters_cost_no_more_than_short_ones() {
    let server = TestServer::start().await.unwrap();
    let (waiting, dead) = (long(100_000, 1_000_000), long(10_000, 100_000));
    let mut costs = Vec::new();
    for (waiting, dead) in [(200, 100), (waiting, dead)] {
        let bench = Bench::on(&server).await;
        let keys = &bench.keys;
        let raw = encoded("one");
        let many: Vec<Bytes> = vec![raw.clone(); 100];
        fill(&bench, waiting / 100, |_| Command::new("LPUSH").key(keys.public()).args(many.clone())).await;
        let body = DeadBody { meta: DeadMeta::new(DeadReason::from("rejected")), raw }.encode();
        fill(&bench, dead, |nth| {
            Command::new("ZADD").key(keys.dead()).arg(1_000 + nth as u64).arg(format!("{nth}-1-c"))
        })
        .await;
        fill(&bench, dead, |nth| {
            Command::new("HSET").key(keys.dead_body()).arg(format!("{nth}-1-c")).arg(body.clone())
        })
        .await;
        let name = |verb: &str| format!("{waiting} waiting, {dead} dead: {verb}");
        let mut these = Vec::new();

        let (stats, calls) = cost(&bench, &name("show"), bench.admin.stats(&bench.queue)).await;
        let stats = stats.unwrap();
        assert_eq!((stats.ready.public, stats.dead), (waiting as u64, dead as u64));
        these.push(calls);
        for skip in [0, waiting as u64 / 2, waiting as u64 - 60] {
            let query = PeekQuery { place: Place::Public, skip, count: 50, max_bytes: 1_000 };
            let (page, calls) = cost(&bench, &name("peek"), bench.admin.peek(&bench.queue, &query)).await;
            assert_eq!(page.unwrap().items.len(), 50);
            these.push(calls);
        }
        for oldest_first in [true, false] {
            let query = DeadQuery { count: 50, oldest_first, ..DeadQuery::default() };
            let (page, calls) =
                cost(&bench, &name("dead ls"), bench.admin.dead_letters(&bench.queue, &query)).await;
            assert_eq!(page.unwrap().letters.len(), 50);
            these.push(calls);
        }
        let only = std::slice::from_ref(&bench.queue);
        let (diagnosis, _) = cost(&bench, &name("doctor"), bench.admin.doctor(only)).await;
        assert!(!diagnosis.unwrap().findings.is_empty());
        let left = bench.int("LLEN", keys.public()).await + bench.int("HLEN", keys.dead_body()).await;
        kept(&name("all looks"), (waiting + dead) as u64, left.unsigned_abs());
        costs.push(these);
    }
    // One command more is the clock's: a call may be made again in another minute.
    for (short, long) in costs[0].iter().zip(&costs[1]) {
        assert!(long <= &(short + 4), "commands by verb, few and many messages: {costs:?}");
    }
}
