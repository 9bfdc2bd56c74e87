//! Writes with an acknowledgement: what it proves, and what must not be taken for one.
#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use support::{brisk, lpush};
use valkey_connection::{
    Acknowledged, Acknowledgement, Call, Command, Connection, ConnectionSettings, DedicatedConnection,
    DurabilityRefusal, ErrorKind, Mode, Script, SyncPolicy,
};
use valkey_testkit::{Cut, CutOutcome, FaultProxy, Target, TestCluster, TestServer, unique_name};

static COUNT: Script = Script::new("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])");

const WITHIN: Duration = Duration::from_secs(1);

fn synced(policy: SyncPolicy) -> Acknowledgement {
    Acknowledgement::Synced { policy, within: WITHIN }
}

fn one_replica(within: Duration) -> Acknowledgement {
    Acknowledgement::Replicas { count: NonZeroU32::MIN, within }
}

async fn persistent(policy: &str) -> TestServer {
    TestServer::builder().append_only(true).config("appendfsync", policy).start().await.unwrap()
}

/// Redis has `WAITAOF` from 7.2 on; says so where the rest of a test needs it.
async fn can_wait_for_the_disk(server: &TestServer) -> bool {
    let can = !server.cli(&["COMMAND", "INFO", "WAITAOF"]).await.unwrap().trim().is_empty();
    if !can {
        valkey_testkit::skipped("the server has no WAITAOF");
        let mut connection = dedicated(&server.url()).await;
        let refusal = connection.examine_sync("trial", WITHIN).await.unwrap().unwrap_err();
        assert!(matches!(&refusal, DurabilityRefusal::Unsupported { version: Some(_) }), "{refusal}");
    }
    can
}

async fn dedicated(url: &str) -> DedicatedConnection {
    Connection::connect(&brisk(url)).await.unwrap().dedicated().await.unwrap()
}

async fn push(connection: &mut DedicatedConnection, key: &str, wanted: Acknowledgement) -> Acknowledged {
    connection.run_acknowledged(vec![lpush(key, "x").into()], wanted).await.pop().unwrap()
}

#[tokio::test]
async fn a_group_is_answered_call_by_call_and_acknowledged_as_one() {
    let server = persistent("always").await;
    if !can_wait_for_the_disk(&server).await {
        return;
    }
    let mut connection = dedicated(&server.url()).await;
    server.cli(&["SET", "squatter", "x"]).await.unwrap();
    let calls: Vec<Call> = vec![
        lpush("q", "a").into(),
        lpush("squatter", "b").into(),
        COUNT.call().key("n").arg(5_u32).into(),
        COUNT.call().key("n").arg(2_u32).into(),
    ];
    let answers = connection.run_acknowledged(calls, synced(SyncPolicy::Always)).await;
    assert_eq!(answers[0].reply.as_ref().unwrap().as_int().unwrap(), 1);
    assert_eq!(answers[1].reply.as_ref().unwrap_err().kind(), ErrorKind::WrongType);
    assert_eq!(answers[2].reply.as_ref().unwrap().as_int().unwrap(), 5);
    assert_eq!(answers[3].reply.as_ref().unwrap().as_int().unwrap(), 7);
    assert!(answers.iter().all(|answer| answer.confirmed.is_ok()), "{answers:?}");
    // The script is known now; and a flushed one is run again, in full, with a confirmation of its own.
    for flush in [false, true] {
        if flush {
            server.cli(&["SCRIPT", "FLUSH"]).await.unwrap();
        }
        let calls = vec![COUNT.call().key("n").arg(1_u32).into()];
        let answer = connection.run_acknowledged(calls, synced(SyncPolicy::Always)).await.pop().unwrap();
        assert!(answer.reply.is_ok() && answer.confirmed.is_ok(), "{answer:?}");
    }
    assert_eq!(server.cli(&["GET", "n"]).await.unwrap(), "9");
    assert_eq!(connection.sockets(), 1);
}

#[tokio::test]
async fn without_a_replica_nothing_is_confirmed_and_the_next_call_works() {
    let server = TestServer::start().await.unwrap();
    let mut connection = dedicated(&server.url()).await;
    let within = Duration::from_millis(300);
    for round in 1..=2 {
        let started = Instant::now();
        let answer = push(&mut connection, "q", one_replica(within)).await;
        assert!(started.elapsed() < within + Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(answer.reply.unwrap().as_int().unwrap(), round, "the primary has it");
        let error = answer.confirmed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unconfirmed);
        assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
    }
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_does_not_hold_up_the_next() {
    let server = TestServer::start().await.unwrap();
    let mut connection = dedicated(&server.url()).await;
    let dropped = push(&mut connection, "q", one_replica(Duration::from_secs(20)));
    assert!(tokio::time::timeout(Duration::from_millis(200), dropped).await.is_err());
    let started = Instant::now();
    connection.execute(Command::new("PING")).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(connection.sockets(), 2);
}

#[tokio::test]
async fn a_policy_that_was_changed_meanwhile_takes_the_word_back() {
    let server = persistent("always").await;
    if !can_wait_for_the_disk(&server).await {
        return;
    }
    let mut connection = dedicated(&server.url()).await;
    assert_eq!(connection.examine_sync("trial", WITHIN).await.unwrap(), Ok(SyncPolicy::Always));
    assert!(push(&mut connection, "q", synced(SyncPolicy::Always)).await.confirmed.is_ok());
    server.cli(&["CONFIG", "SET", "appendfsync", "everysec"]).await.unwrap();
    let answer = push(&mut connection, "q", synced(SyncPolicy::Always)).await;
    let error = answer.confirmed.unwrap_err();
    assert!(error.to_string().contains("changed to `everysec`"), "{error}");
    server.cli(&["CONFIG", "SET", "appendonly", "no"]).await.unwrap();
    let answer = push(&mut connection, "q", synced(SyncPolicy::Always)).await;
    assert!(answer.reply.is_ok() && answer.confirmed.is_err(), "{answer:?}");
}

#[tokio::test]
async fn each_server_is_examined_and_told_apart() {
    let server = persistent("always").await;
    if !can_wait_for_the_disk(&server).await {
        return;
    }
    let mut connection = dedicated(&server.url()).await;
    assert_eq!(connection.examine_sync("trial", WITHIN).await.unwrap(), Ok(SyncPolicy::Always));
    let refusal = connection.examine_replicas("trial", NonZeroU32::MIN, WITHIN).await.unwrap().unwrap_err();
    let wanted = NonZeroU32::MIN;
    assert_eq!(refusal, DurabilityRefusal::TooFewReplicas { connected: 0, wanted });
    // What it promises and what it does are two things: each engine we know fails this.
    server.cli(&["CONFIG", "SET", "appendfsync", "everysec"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let refusal = connection.examine_sync("trial", WITHIN * 2).await.unwrap().unwrap_err();
    assert!(matches!(refusal, DurabilityRefusal::AnswersEarly { writes: 4, .. }), "{refusal}");
    server.cli(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
    assert_eq!(connection.examine_sync("trial", WITHIN).await.unwrap(), Err(DurabilityRefusal::NeverSynced));
    server.cli(&["CONFIG", "SET", "appendonly", "no"]).await.unwrap();
    assert_eq!(
        connection.examine_sync("trial", WITHIN).await.unwrap(),
        Err(DurabilityRefusal::NoAppendOnlyFile)
    );
    assert_eq!(server.cli(&["EXISTS", "trial"]).await.unwrap(), "0", "the trial leaves nothing behind");
}

#[tokio::test]
async fn a_user_who_may_not_ask_is_refused_with_the_remedy() {
    let server = TestServer::builder()
        .append_only(true)
        .config("appendfsync", "always")
        .acl_user("app", "pw", "~* &* +@all -@admin -@dangerous")
        .start()
        .await
        .unwrap();
    if !server.cli(&["COMMAND", "INFO", "WAITAOF"]).await.unwrap().contains("waitaof") {
        valkey_testkit::skipped("the server has no WAITAOF");
        return;
    }
    let mut connection = dedicated(&server.url()).await;
    let refusal = connection.examine_sync("trial", WITHIN).await.unwrap().unwrap_err();
    assert!(matches!(refusal, DurabilityRefusal::NotTold { .. }), "{refusal}");
    assert!(refusal.to_string().contains("+config|get"), "{refusal}");
    server.cli(&["ACL", "SETUSER", "app", "+config|get"]).await.unwrap();
    assert_eq!(connection.examine_sync("trial", WITHIN).await.unwrap(), Ok(SyncPolicy::Always));
    // Not allowed to prove whose writes were acknowledged: an error before the first message, not a doubt after it.
    server.cli(&["ACL", "SETUSER", "app", "-client|getname"]).await.unwrap();
    let error = connection.examine_sync("trial", WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("GETNAME"), "{error}");
}

/// A primary whose one replica stands still: it had everything until now, and gets nothing more. A socket that has
/// written nothing is told at once that the replica has all of it.
async fn with_a_stale_replica() -> (TestServer, TestServer) {
    let (primary, replica) = replicated().await;
    replica.pause().await.unwrap();
    assert_eq!(primary.cli(&["WAIT", "1", "50"]).await.unwrap(), "1", "the trap is set");
    (primary, replica)
}

async fn replicated() -> (TestServer, TestServer) {
    let (primary, replica) = (TestServer::start().await.unwrap(), TestServer::start().await.unwrap());
    let address = primary.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    replica.cli(&["REPLICAOF", host, port]).await.unwrap();
    let started = Instant::now();
    while primary.cli(&["WAIT", "1", "100"]).await.unwrap() != "1" {
        assert!(started.elapsed() < Duration::from_secs(20), "the replica does not come");
    }
    (primary, replica)
}

/// Nothing that is written from now on reaches the replica, so whatever is confirmed is a lie.
#[tokio::test]
async fn a_pipeline_cut_at_any_byte_is_never_taken_for_acknowledged() {
    let (primary, _replica) = with_a_stale_replica().await;
    let address = primary.address();
    // Each byte of small writes; and places in large ones, which do not leave in one go.
    let all = [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (100_000, 9_973)];
    let workers: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(worker, (size, step))| {
            let address = address.clone();
            let (first, step) = if size == 1 { (worker, step * (all.len() - 1)) } else { (0, step) };
            tokio::spawn(async move {
                let proxy = FaultProxy::start(&address).await.unwrap();
                let mut connection = dedicated(&format!("valkey://{}", proxy.address())).await;
                let payload = "x".repeat(size);
                let mut cuts = 0;
                for cut in [Cut::request_after as fn(u64) -> Cut, Cut::reply_before] {
                    let mut at = first;
                    // Until all goes through uncut: there is no such byte.
                    while let Some(was_cut) = cut_at(&proxy, &mut connection, cut(at as u64), &payload).await
                    {
                        if was_cut {
                            cuts += 1;
                            at += step;
                        }
                    }
                }
                cuts
            })
        })
        .collect();
    let mut cuts = 0;
    for worker in workers {
        cuts += worker.await.unwrap();
    }
    assert!(cuts > 250, "cut at {cuts} places");
}

async fn cut_at(
    proxy: &FaultProxy,
    connection: &mut DedicatedConnection,
    cut: Cut,
    payload: &str,
) -> Option<bool> {
    let key = unique_name("cut");
    whole(connection).await;
    let armed = proxy.arm(cut.on(Target::Current));
    let calls = (0..3).map(|_| lpush(&key, payload).into()).collect();
    let answers = connection.run_acknowledged(calls, one_replica(Duration::from_millis(1))).await;
    let outcome = armed.outcome().unwrap_or(CutOutcome::Missed);
    armed.disarm();
    assert!(answers.iter().all(|answer| answer.confirmed.is_err()), "a lie: {outcome:?} {answers:?}");
    match outcome {
        CutOutcome::Cut { .. } => Some(true),
        _ if answers.iter().all(|answer| answer.reply.is_ok()) => None,
        // The cut before this one was still felt. Once more, then.
        _ => Some(false),
    }
}

/// Waits until the connection answers again.
async fn whole(connection: &mut DedicatedConnection) {
    let started = Instant::now();
    while connection.execute(Command::new("PING")).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the connection does not heal");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A failover behind an address: the new server would gladly answer for writes that it never saw.
#[tokio::test]
async fn another_server_cannot_answer_for_the_one_that_was_written_to() {
    let (alone, (primary, _replica)) = (TestServer::start().await.unwrap(), replicated().await);
    let proxy = FaultProxy::start(&alone.address()).await.unwrap();
    let mut connection = dedicated(&format!("valkey://{}", proxy.address())).await;
    for cut in [Cut::reply_before(0).of_command("WAIT"), Cut::request_after(0).of_command("WAIT")] {
        for _ in 0..5 {
            proxy.set_upstream(&alone.address());
            proxy.drop_connections();
            whole(&mut connection).await;
            proxy.set_upstream(&primary.address());
            let armed = proxy.arm(cut.clone().on(Target::Any));
            let answer = push(&mut connection, "q", one_replica(Duration::from_millis(200))).await;
            armed.disarm();
            assert!(answer.confirmed.is_err(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn in_a_cluster_the_node_of_the_slot_is_asked_also_when_the_slot_has_moved() {
    let cluster = TestCluster::start(3).await.unwrap();
    let settings = ConnectionSettings::default()
        .address(cluster.urls().join(",").parse().unwrap())
        .mode(Mode::Cluster)
        .read_timeout(Duration::from_secs(2));
    let connection = Connection::connect(&settings).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    for key in ["a", "b", "c", "d"] {
        let answer = push(&mut dedicated, key, one_replica(Duration::from_millis(50))).await;
        assert_eq!(answer.reply.unwrap().as_int().unwrap(), 1);
        // There are no replicas. That it was asked at all shows in the count.
        assert!(answer.confirmed.unwrap_err().to_string().contains("0 of 1"));
    }
    if !can_wait_for_the_disk(&cluster.nodes()[0]).await {
        return;
    }
    for node in connection.primaries().await.unwrap() {
        for (name, value) in [("appendonly", "yes"), ("appendfsync", "always")] {
            let command = Command::new("CONFIG SET").args([name, value]);
            connection.execute_on(&node, command).await.unwrap();
        }
    }
    for key in ["a", "b", "c", "d"] {
        assert_eq!(
            dedicated.examine_sync(&format!("{{{key}}}:trial"), WITHIN).await.unwrap(),
            Ok(SyncPolicy::Always)
        );
        let answer = push(&mut dedicated, key, synced(SyncPolicy::Always)).await;
        assert!(answer.confirmed.is_ok(), "{answer:?}");
    }
    // A slot that moves sends its keys away, here or there, and none of them twice.
    let slot = cluster.slot_of("a").await.unwrap();
    let to = (cluster.owner_of(slot).await.unwrap() + 1) % 3;
    let migration = cluster.begin_slot_migration(slot, to).await.unwrap();
    let push_all = async |dedicated: &mut DedicatedConnection| {
        for key in ["a", "{a}:new"] {
            let answer = push(dedicated, key, synced(SyncPolicy::Always)).await;
            assert!(answer.reply.is_ok() && answer.confirmed.is_ok(), "{key}: {answer:?}");
        }
    };
    push_all(&mut dedicated).await;
    migration.move_keys(1).await.unwrap();
    push_all(&mut dedicated).await;
    migration.finish().await.unwrap();
    push_all(&mut dedicated).await;
    for (key, length) in [("a", 5), ("{a}:new", 3)] {
        assert_eq!(connection.execute(support::llen(key)).await.unwrap().as_int().unwrap(), length, "{key}");
    }
}
