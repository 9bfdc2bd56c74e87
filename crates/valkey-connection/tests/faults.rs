//! What a network does on a bad day. Each test is a situation in which the driver by itself hangs, repeats or loses;
//! ours has to fail fast and to heal. The names E1 to F3 are those of docs/adr/0002-fred-behind-one-crate.md.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{brisk, llen, lpush, until, until_ok};
use valkey_connection::{Command, Connection, ConnectionState, ErrorKind, Status};
use valkey_testkit::{Cut, CutOutcome, FaultProxy, Target, TestServer, unique_name};

/// No call may take longer than its timeout and this much.
const PROMPT: Duration = Duration::from_secs(1);

struct Setup {
    server: &'static TestServer,
    proxy: FaultProxy,
    connection: Connection,
    key: String,
}

async fn setup() -> Setup {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let connection = Connection::connect(&brisk(&format!("valkey://{}", proxy.address()))).await.unwrap();
    Setup { server, proxy, connection, key: unique_name("fault") }
}

/// Two proxies in a row: what is connected by now goes through the second and can be stalled for good, while new
/// connections go straight to the server.
struct Blackhole {
    front: FaultProxy,
    hole: FaultProxy,
    server: &'static TestServer,
    connection: Connection,
    key: String,
}

impl Blackhole {
    async fn new() -> Self {
        let server = TestServer::shared().await;
        let hole = FaultProxy::start(&server.address()).await.unwrap();
        let front = FaultProxy::start(&hole.address()).await.unwrap();
        // The kernel would free a stuck writer after `write_timeout`: here the watchdog has to do it alone.
        let settings = brisk(&format!("valkey://{}", front.address())).write_timeout(Duration::from_mins(5));
        let connection = Connection::connect(&settings).await.unwrap();
        Self { front, hole, server, connection, key: unique_name("hole") }
    }

    /// From now on nothing comes through on the connections there are.
    fn open(&self) {
        self.hole.stall();
        self.front.set_upstream(&self.server.address());
    }
}

impl Setup {
    async fn length(&self) -> i64 {
        self.server.cli(&["LLEN", &self.key]).await.unwrap().trim().parse().unwrap()
    }
}

#[tokio::test]
async fn e1_a_closed_connection_fails_fast_and_heals() {
    let Setup { proxy, connection, key, .. } = &setup().await;
    connection.execute(lpush(key, "before")).await.unwrap();
    proxy.drop_connections();
    let (_, took) = until_ok(Duration::from_secs(5), || async {
        let started = Instant::now();
        let result = connection.execute(lpush(key, "after")).await;
        assert!(started.elapsed() < Duration::from_millis(500) + PROMPT);
        result
    })
    .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn e1b_a_server_that_was_away_long_is_found_again() {
    let Setup { proxy, connection, key, .. } = &setup().await;
    proxy.refuse(true).await.unwrap();
    proxy.drop_connections();
    let away_since = Instant::now();
    let mut not_sent = 0;
    while away_since.elapsed() < Duration::from_secs(4) {
        let started = Instant::now();
        let error = connection.execute(lpush(key, "x")).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(500) + PROMPT);
        assert!(error.is_transient(), "{error:?}");
        not_sent += usize::from(error.is_not_sent());
    }
    assert!(not_sent >= 3, "a call that found no connection can be sure that it sent nothing");
    assert_eq!(connection.health().connection, ConnectionState::Reconnecting);
    assert_eq!(connection.health().status, Status::Unhealthy);
    proxy.heal().await.unwrap();
    until_ok(Duration::from_secs(8), || connection.execute(llen(key))).await;
    until(PROMPT, "healthy again", || connection.health().status == Status::Healthy).await;
}

#[tokio::test]
async fn e1c_a_server_that_is_away_at_the_start_is_found_when_it_comes() {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    proxy.refuse(true).await.unwrap();
    // Long enough for the pauses to have grown, had nobody bounded them.
    let settings = brisk(&format!("valkey://{}", proxy.address())).longest_pause(Duration::from_millis(500));
    let connection = Connection::connect_later(&settings).unwrap();
    let key = unique_name("later");
    let away_since = Instant::now();
    while away_since.elapsed() < Duration::from_secs(4) {
        let error = connection.execute(lpush(&key, "x")).await.unwrap_err();
        assert!(error.is_not_sent(), "{error:?}");
    }
    proxy.heal().await.unwrap();
    let (_, took) = until_ok(Duration::from_secs(8), || connection.execute(llen(&key))).await;
    assert!(took < Duration::from_millis(600) + PROMPT, "{took:?}");
}

#[tokio::test]
async fn e2_a_lost_reply_is_an_unknown_outcome_and_never_repeated() {
    let setup = setup().await;
    let mut cut = setup.proxy.arm(Cut::reply_before(0).of_command("LPUSH").on(Target::Any));
    let error = setup.connection.execute(lpush(&setup.key, "once")).await.unwrap_err();
    assert!(matches!(cut.wait().await, CutOutcome::Cut { .. }));
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.outcome_unknown() && !error.is_not_sent());
    until_ok(Duration::from_secs(5), || setup.connection.execute(llen(&setup.key))).await;
    assert_eq!(setup.length().await, 1, "executed once, and not again");
}

#[tokio::test]
async fn e2_a_request_cut_in_the_middle_is_an_unknown_outcome_too() {
    let setup = setup().await;
    let mut cut = setup.proxy.arm(Cut::request_after(9).of_command("LPUSH").on(Target::Any));
    let error = setup.connection.execute(lpush(&setup.key, "never")).await.unwrap_err();
    assert!(matches!(cut.wait().await, CutOutcome::Cut { .. }));
    assert!(error.outcome_unknown(), "{error:?}");
    until_ok(Duration::from_secs(5), || setup.connection.execute(llen(&setup.key))).await;
    assert_eq!(setup.length().await, 0);
}

#[tokio::test]
async fn e2_a_batch_cut_in_the_middle_tells_what_was_answered() {
    let setup = setup().await;
    let mut cut = setup.proxy.arm(Cut::reply_before(0).of_command("INCR").on(Target::Any));
    let mut batch: Vec<_> = (0..5).map(|_| lpush(&setup.key, "x")).collect();
    batch.push(Command::new("INCR").key(format!("{}:n", setup.key)));
    let results = setup.connection.execute_all(batch).await;
    assert!(matches!(cut.wait().await, CutOutcome::Cut { .. }));
    let answered = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(answered, 5, "{results:?}");
    assert!(results[5].as_ref().unwrap_err().outcome_unknown());
}

#[tokio::test]
async fn e3_a_stalled_connection_is_replaced_although_writes_go_on() {
    let blackhole = Blackhole::new().await;
    let Blackhole { connection, key, front, .. } = &blackhole;
    connection.execute(lpush(key, "before")).await.unwrap();
    blackhole.open();
    // A write every 50 ms keeps the driver from ever noticing.
    let opened = Instant::now();
    let (_, took) = until_ok(Duration::from_secs(10), || async {
        let attempt = connection.execute(lpush(key, "x").timeout(Duration::from_millis(50)));
        let started = Instant::now();
        let result = attempt.await;
        assert!(started.elapsed() < PROMPT, "{:?}", opened.elapsed());
        result
    })
    .await;
    // 3 misses of 300 ms each, plus the connect; generous for a busy machine.
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(front.connections().len() >= 2, "it was replaced, not revived");
    // F3: the very first commands on the fresh client work.
    for _ in 0..100 {
        connection.execute(lpush(key, "after")).await.unwrap();
    }
}

#[tokio::test]
async fn e3_an_idle_stalled_connection_is_found_before_anybody_needs_it() {
    let blackhole = Blackhole::new().await;
    blackhole.open();
    until(Duration::from_secs(6), "the watchdog replaces it", || blackhole.front.connections().len() >= 2)
        .await;
    until_ok(Duration::from_secs(2), || blackhole.connection.execute(llen(&blackhole.key))).await;
}

#[tokio::test]
async fn e4_a_blocking_call_on_a_stalled_connection_ends_and_the_next_one_works() {
    let blackhole = Blackhole::new().await;
    let (from, to) = (format!("{{{}}}:from", blackhole.key), format!("{{{}}}:to", blackhole.key));
    let mut dedicated = blackhole.connection.dedicated().await.unwrap();
    assert_eq!(dedicated.blocking_move(&from, &to, Duration::from_millis(50)).await.unwrap(), None);
    blackhole.open();
    let started = Instant::now();
    let error = dedicated.blocking_move(&from, &to, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.outcome_unknown());
    assert!(started.elapsed() < Duration::from_secs(1) + PROMPT, "{:?}", started.elapsed());

    blackhole.server.cli(&["LPUSH", &from, "m"]).await.unwrap();
    let started = Instant::now();
    let moved = dedicated.blocking_move(&from, &to, Duration::from_millis(500)).await.unwrap();
    assert_eq!(moved.as_deref(), Some(&b"m"[..]));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn e5_a_dropped_blocking_move_loses_nothing_and_blocks_nobody() {
    let server = TestServer::shared().await;
    let connection = Connection::connect(&brisk(&server.url())).await.unwrap();
    let key = unique_name("dropped");
    let (from, to) = (format!("{{{key}}}:from"), format!("{{{key}}}:to"));
    let mut dedicated = connection.dedicated().await.unwrap();
    let mut waiting = 0;
    for round in 1..=20_i64 {
        let dropped = tokio::time::timeout(
            Duration::from_millis(20),
            dedicated.blocking_move(&from, &to, Duration::from_secs(5)),
        )
        .await;
        // What the round before left there has nothing to wait for.
        assert!(dropped.is_err() || waiting > 0);
        connection.execute(lpush(&from, "m")).await.unwrap();
        // The next call does not wait for the five seconds of the one that was dropped.
        let started = Instant::now();
        waiting = dedicated.execute(llen(&from)).await.unwrap().as_int().unwrap();
        assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
        let moved = connection.execute(llen(&to)).await.unwrap().as_int().unwrap();
        assert_eq!(waiting + moved, round, "in one list or the other, never in none");
    }
}

#[tokio::test]
async fn e6_commands_that_time_out_say_that_they_may_still_run() {
    let setup = setup().await;
    setup.proxy.stall();
    let attempts = (0..10).map(|_| setup.connection.execute(lpush(&setup.key, "x")));
    let started = Instant::now();
    for result in futures::future::join_all(attempts).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.outcome_unknown());
    }
    assert!(started.elapsed() < Duration::from_millis(500) + PROMPT, "{:?}", started.elapsed());
    setup.proxy.heal().await.unwrap();
    until_ok(Duration::from_secs(8), || setup.connection.execute(llen(&setup.key))).await;
    assert!(setup.length().await <= 10, "late, but never twice");
}

#[tokio::test]
async fn e6_a_blocked_dedicated_connection_stops_nobody_else() {
    let server = TestServer::shared().await;
    let connection = Connection::connect(&brisk(&server.url())).await.unwrap();
    let key = unique_name("blocked");
    let mut dedicated = connection.dedicated().await.unwrap();
    let unblocker = dedicated.unblocker();
    let (from, to) = (format!("{{{key}}}:from"), format!("{{{key}}}:to"));
    let started = Instant::now();
    let parked =
        tokio::spawn(async move { dedicated.blocking_move(&from, &to, Duration::from_secs(20)).await });
    for _ in 0..100 {
        connection.execute(lpush(&key, "x")).await.unwrap();
    }
    until_ok(Duration::from_secs(5), || async {
        let done = unblocker.unblock().await.unwrap();
        if done { Ok(()) } else { connection.execute(Command::new("GET").key(&key)).await.map(drop) }
    })
    .await;
    assert_eq!(parked.await.unwrap().unwrap(), None, "as if its time were up");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!unblocker.unblock().await.unwrap(), "nothing waits any more");
}

#[tokio::test]
async fn f2_a_peer_that_stops_reading_cannot_hang_a_writer() {
    let blackhole = Blackhole::new().await;
    let Blackhole { connection, key, .. } = &blackhole;
    connection.execute(lpush(key, "before")).await.unwrap();
    blackhole.open();
    let big = "x".repeat(1 << 20);
    let started = Instant::now();
    let results = futures::future::join_all((0..12).map(|_| connection.execute(lpush(key, &big)))).await;
    assert!(started.elapsed() < Duration::from_millis(500) + PROMPT, "{:?}", started.elapsed());
    for result in results {
        assert!(result.unwrap_err().is_transient());
    }
    until_ok(Duration::from_secs(10), || connection.execute(llen(key))).await;
}

#[tokio::test]
async fn a_full_send_queue_is_backpressure_and_nothing_was_sent() {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let settings = brisk(&format!("valkey://{}", proxy.address())).max_queued_commands(16);
    let connection = Connection::connect(&settings).await.unwrap();
    let key = unique_name("full");
    proxy.stall();
    let big = "x".repeat(1 << 20);
    let results = futures::future::join_all((0..200).map(|_| connection.execute(lpush(&key, &big)))).await;
    let refused = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .filter(|error| error.kind() == ErrorKind::Backpressure)
        .inspect(|error| assert!(error.is_not_sent() && error.is_transient()))
        .count();
    assert!(refused > 100, "{refused}");
}

#[tokio::test]
async fn a_server_killed_and_started_again_needs_no_restart_of_ours() {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    let connection = Connection::connect(&brisk(&server.url())).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    connection.execute(lpush("q", "kept")).await.unwrap();
    for _ in 0..2 {
        server.kill().await.unwrap();
        assert!(connection.execute(llen("q")).await.unwrap_err().is_transient());
        assert!(dedicated.execute(llen("q")).await.unwrap_err().is_transient());
        server.restart().await.unwrap();
        let (length, _) = until_ok(Duration::from_secs(8), || connection.execute(llen("q"))).await;
        assert_eq!(length.as_int().unwrap(), 1);
        let started = Instant::now();
        while dedicated.execute(llen("q")).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(8));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_node_that_became_a_replica_is_left() {
    let server = TestServer::start().await.unwrap();
    let other = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let connection = Connection::connect(&brisk(&format!("valkey://{}", proxy.address()))).await.unwrap();
    connection.execute(lpush("q", "x")).await.unwrap();
    // What a failover behind a name or a virtual address looks like.
    let address = other.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    server.cli(&["REPLICAOF", host, port]).await.unwrap();
    proxy.set_upstream(&address);
    let error = connection.execute(lpush("q", "y")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RoleChange, "{error}");
    assert!(!error.outcome_unknown(), "the answer says that nothing was done");
    until_ok(Duration::from_secs(5), || connection.execute(lpush("q", "z"))).await;
    assert_eq!(other.cli(&["LLEN", "q"]).await.unwrap(), "1");
}

#[tokio::test]
async fn a_dedicated_connection_lives_on_the_runtime_it_was_made_on() {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let connection = Connection::connect(&brisk(&format!("valkey://{}", proxy.address()))).await.unwrap();
    let key = unique_name("renewal");
    let (ready, is_ready) = std::sync::mpsc::channel();
    // What a consumer does to renew its leases whatever its handlers do.
    let renewals = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut dedicated = connection.dedicated().await.unwrap();
            dedicated.execute(Command::new("INCR").key(&key)).await.unwrap();
            ready.send(()).unwrap();
            let started = Instant::now();
            let mut renewed = 0;
            while started.elapsed() < Duration::from_secs(2) {
                // A lost connection is replaced on this runtime as well.
                if renewed == 5 {
                    proxy.drop_connections();
                }
                let asked = Instant::now();
                renewed += i32::from(dedicated.execute(Command::new("INCR").key(&key)).await.is_ok());
                assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            renewed
        })
    });
    // The handshake needs this runtime no more; from here on a handler hogs it.
    tokio::task::spawn_blocking(move || is_ready.recv()).await.unwrap().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(renewals.join().unwrap() > 15);
}

#[tokio::test]
async fn calls_with_less_time_than_a_dial_get_there_all_the_same() {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let settings = brisk(&format!("valkey://{}", proxy.address())).dial_timeout(Duration::from_secs(5));
    let connection = Connection::connect(&settings).await.unwrap();
    let key = unique_name("slow");
    let mut dedicated = connection.dedicated().await.unwrap();
    // A round trip of 120 ms; connecting takes several. With some of these limits the last part of it leaves a call too
    // little time for its own round trip: such a call used to cost the next one its connection, again and again.
    for limit in [250, 280, 310, 340].map(Duration::from_millis) {
        proxy.delay(Duration::from_millis(60));
        proxy.drop_connections();
        let started = Instant::now();
        loop {
            let asked = Instant::now();
            let result = dedicated.execute(llen(&key).timeout(limit)).await;
            assert!(asked.elapsed() < limit + PROMPT, "{:?}", asked.elapsed());
            match result {
                Ok(_) => break,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            assert!(
                started.elapsed() < Duration::from_secs(8),
                "every call of {limit:?} starts from the beginning"
            );
        }
    }
}
