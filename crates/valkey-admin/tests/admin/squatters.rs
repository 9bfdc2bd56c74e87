//! Somebody else's value on each of our keys in turn: nothing is changed, and the key is named.

use valkey_admin::{DeadQuery, DeadSelection, Error, Execution, PeekQuery, Place, ReplayTo};
use valkey_connection::{Command, ErrorKind};
use valkey_envelope::Lane;
use valkey_testkit::Figures;

use crate::support::Bench;

async fn squat(bench: &Bench, key: &str) {
    bench.run(Command::new("SET").key(key).arg("squatter")).await;
}

fn names<T>(result: Result<T, Error>, key: &str) {
    match result {
        Err(Error::Connection(error)) => {
            assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
            assert!(error.to_string().contains(key), "{error} does not name {key}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{key} was not noticed"),
    }
}

#[tokio::test]
async fn stats_tell_every_squatter_and_count_the_rest() {
    let bench = Bench::new().await;
    let keys = &bench.keys;
    let all = [
        keys.public(),
        keys.lane(Lane::High),
        keys.lane(Lane::Low),
        keys.woken(),
        keys.redo(),
        keys.delayed(),
        keys.dead(),
        keys.dead_body(),
        keys.consumers(),
        keys.control(),
    ];
    for key in all {
        squat(&bench, key).await;
        let stats = bench.admin.stats(&bench.queue).await.unwrap();
        assert_eq!(stats.squatters.len(), 1);
        assert_eq!((stats.squatters[0].key.as_str(), stats.squatters[0].found.as_str()), (key, "string"));
        bench.run(Command::new("DEL").key(key)).await;
    }
    bench.register("c", bench.now().await + 60_000).await;
    squat(&bench, &keys.inflight("c")).await;
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    assert_eq!(stats.squatters[0].key, keys.inflight("c"));
}

#[tokio::test]
async fn verbs_name_the_key_and_leave_it() {
    let bench = Bench::new().await;
    let (admin, queue, keys) = (&bench.admin, &bench.queue, &bench.keys);
    bench.bury("a", 1_000, "rejected", Lane::Normal, "x").await;
    bench.push(keys.woken(), "w").await;
    bench.push(keys.redo(), "0|0|n|r").await;

    squat(&bench, keys.control()).await;
    names(admin.pause(queue).await, keys.control());

    for key in [keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low)] {
        squat(&bench, key).await;
        names(admin.replay(queue, &DeadSelection::All, &ReplayTo::Source, Execution::Run, |_| ()).await, key);
        assert_eq!(bench.int("ZCARD", keys.dead()).await, 1);
        bench.run(Command::new("DEL").key(key)).await;
    }
    squat(&bench, keys.public()).await;
    for place in [Place::Woken, Place::Redo] {
        names(admin.hand_back(queue, &[place], Execution::Run, |_| ()).await, keys.public());
    }
    let (woken, redo) = (bench.int("LLEN", keys.woken()).await, bench.int("LLEN", keys.redo()).await);
    let dead = bench.int("HLEN", keys.dead_body()).await;
    Figures::new().sent(3).lost(3_u64.saturating_sub((woken + redo + dead).unsigned_abs())).publish();
    assert_eq!((woken, redo, dead), (1, 1, 1));
    let peek = PeekQuery { place: Place::Public, skip: 0, count: 1, max_bytes: 1 };
    names(admin.peek(queue, &peek).await, keys.public());

    bench.run(Command::new("DEL").key(keys.dead_body())).await;
    squat(&bench, keys.dead_body()).await;
    names(admin.dead_letters(queue, &DeadQuery::default()).await, keys.dead_body());
    names(admin.purge_dead(queue, &DeadSelection::All, Execution::Run, |_| ()).await, keys.dead_body());
    assert_eq!(bench.int("ZCARD", keys.dead()).await, 1);
}
