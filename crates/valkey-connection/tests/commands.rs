//! Commands and scripts on the shared connection, against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{llen, lpush, shared};
use valkey_connection::{
    Command, Connection, ConnectionSettings, ConnectionState, ErrorKind, Reply, Script, Status,
};
use valkey_testkit::{TestServer, unique_name};

static ADD: Script = Script::new("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])");
static PUSH: Script = Script::new("push", "return redis.call('LPUSH', KEYS[1], ARGV[1])");
static BROKEN: Script = Script::new("broken", "return nothing.here");
static NESTED: Script = Script::new("nested", "return {1, redis.error_reply('READONLY not really')}");

#[tokio::test]
async fn replies_keep_their_type_and_their_bytes() {
    let connection = shared().await;
    let key = unique_name("types");
    let raw = [0_u8, 159, 146, 150, b'\r', b'\n'];
    connection.execute(Command::new("SET").key(key.as_str()).arg(&raw)).await.unwrap();
    let got = connection.execute(Command::new("GET").key(key.as_str())).await.unwrap();
    assert_eq!(got.into_bytes().unwrap().as_ref(), raw);

    let hash = unique_name("hash");
    connection.execute(Command::new("HSET").key(hash.as_str()).args(["a", "1", "b", "2"])).await.unwrap();
    let mut pairs = connection
        .execute(Command::new("HGETALL").key(hash.as_str()))
        .await
        .unwrap()
        .into_pairs()
        .unwrap()
        .into_iter()
        .map(|(key, value)| (key.into_string().unwrap(), value.as_int().unwrap()))
        .collect::<Vec<_>>();
    pairs.sort();
    assert_eq!(pairs, [("a".to_owned(), 1), ("b".to_owned(), 2)]);

    let zset = unique_name("zset");
    connection.execute(Command::new("ZADD").key(zset.as_str()).arg(1.5).arg("m")).await.unwrap();
    let score = connection.execute(Command::new("ZSCORE").key(zset.as_str()).arg("m")).await.unwrap();
    assert_eq!(score, Reply::Double(1.5));
    let missing = connection.execute(Command::new("GET").key(unique_name("none"))).await.unwrap();
    assert!(missing.is_nil());
    let policy = connection.execute(Command::new("CONFIG GET").arg("maxmemory-policy")).await.unwrap();
    assert_eq!(policy.into_pairs().unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_runs_in_order_with_a_result_each() {
    let connection = shared().await;
    let (list, text) = (unique_name("list"), unique_name("text"));
    connection.execute(Command::new("SET").key(text.as_str()).arg("x")).await.unwrap();
    let mut commands: Vec<_> =
        (0..1000_u32).map(|number| Command::new("RPUSH").key(list.as_str()).arg(number)).collect();
    commands.insert(500, lpush(&text, "refused"));
    let results = connection.execute_all(commands).await;
    assert_eq!(results.len(), 1001);
    assert_eq!(results[500].as_ref().unwrap_err().kind(), ErrorKind::WrongType);
    let lengths: Vec<_> = results.into_iter().flatten().map(|reply| reply.as_int().unwrap()).collect();
    assert_eq!(lengths, (1..=1000).collect::<Vec<_>>());
    let stored = connection.execute(Command::new("LRANGE").key(list).args(["0", "-1"])).await.unwrap();
    let stored: Vec<_> = stored.into_array().unwrap().iter().map(|item| item.as_int().unwrap()).collect();
    assert_eq!(stored, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_with_a_command_that_may_not_be_there_runs_the_others() {
    let connection = shared().await;
    let list = unique_name("list");
    let results =
        connection.execute_all(vec![lpush(&list, "a"), Command::new("BRPOP").key("x").arg(0_u32)]).await;
    assert_eq!(results[0], Ok(Reply::Int(1)));
    let refused = results[1].as_ref().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.is_not_sent());
}

#[tokio::test]
async fn refusals_name_command_server_and_remedy_but_no_payload() {
    let connection = shared().await;
    let key = unique_name("text");
    connection.execute(Command::new("SET").key(key.as_str()).arg("x")).await.unwrap();
    let error = connection.execute(lpush(&key, "hunter2")).await.unwrap_err();
    let text = error.to_string();
    let server = TestServer::shared().await.address();
    assert!(text.starts_with(&format!("LPUSH on valkey://{server}: WRONGTYPE")), "{text}");
    assert!(text.contains("TYPE)"), "{text}");
    assert!(!error.outcome_unknown() && !error.is_not_sent() && !error.is_transient());
    assert!(error.server_message().unwrap().starts_with("WRONGTYPE"));

    let error = connection.execute(Command::new("LPUSHH").key(key).arg("hunter2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_forgotten_script_is_sent_once_more() {
    // Its own server: SCRIPT FLUSH is for everybody on it.
    let server = TestServer::start().await.unwrap();
    let connection =
        Connection::connect(&ConnectionSettings::from_url(&server.url()).unwrap()).await.unwrap();
    for expected in [5, 10] {
        let reply = connection.invoke(ADD.call().key("n").arg(5_u32)).await.unwrap();
        assert_eq!(reply.as_int().unwrap(), expected);
    }
    connection.execute(Command::new("SCRIPT FLUSH")).await.unwrap();
    assert_eq!(connection.invoke(ADD.call().key("n").arg(5_u32)).await.unwrap().as_int().unwrap(), 15);

    // In a batch: all of them, in order, none twice.
    connection.execute(Command::new("SCRIPT FLUSH")).await.unwrap();
    let results = connection.invoke_all((0..50).map(|_| ADD.call().key("m").arg(1_u32)).collect()).await;
    let counts: Vec<_> = results.into_iter().map(|result| result.unwrap().as_int().unwrap()).collect();
    assert_eq!(counts, (1..=50).collect::<Vec<_>>());
    let known = connection.execute(Command::new("SCRIPT EXISTS").arg(ADD.sha())).await.unwrap();
    assert_eq!(known, Reply::Array(vec![Reply::Int(1)]));

    // And on a dedicated connection.
    connection.execute(Command::new("SCRIPT FLUSH")).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    assert_eq!(dedicated.invoke(ADD.call().key("m").arg(1_u32)).await.unwrap().as_int().unwrap(), 51);
}

#[tokio::test]
async fn errors_of_scripts_keep_their_class_and_name_the_script() {
    let connection = shared().await;
    let key = unique_name("text");
    connection.execute(Command::new("SET").key(key.as_str()).arg("x")).await.unwrap();
    let error = connection.invoke(PUSH.call().key(key).arg("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(error.operation(), "push");
    let error = connection.invoke(BROKEN.call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Script, "{error}");
    assert!(error.to_string().starts_with("broken on valkey://"), "{error}");
    let error = connection.invoke(NESTED.call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RoleChange, "{error}");
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = TestServer::builder().config("maxmemory", "2mb").start().await.unwrap();
    let connection =
        Connection::connect(&ConnectionSettings::from_url(&server.url()).unwrap()).await.unwrap();
    let chunk = "x".repeat(100_000);
    let error = loop {
        if let Err(error) = connection.execute(lpush("q", &chunk)).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.is_transient() && !error.outcome_unknown());
    let error = connection.invoke(PUSH.call().key("q").arg(chunk)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    assert!(!error.outcome_unknown(), "a full server refuses a script its first write, or none: {error}");
}

/// A server undoes nothing of a script. Each of these writes, and then comes to grief.
#[tokio::test]
async fn a_script_that_fails_after_a_write_is_not_taken_for_one_that_did_nothing() {
    let server = TestServer::builder()
        .acl_user("app", "secret", "~ok* resetchannels +@all -sadd")
        .start()
        .await
        .unwrap();
    let connection =
        Connection::connect(&ConnectionSettings::from_url(&server.url()).unwrap()).await.unwrap();
    let run = async |mishap: &str| {
        let source = format!("redis.call('INCR', KEYS[1]) {mishap}").leak();
        let call = Script::new("mishap", source).call().key("ok");
        connection.invoke(call).await.unwrap_err()
    };
    let mut runs = 0;
    for (mishap, kind) in [
        ("redis.call('LPUSH', KEYS[1], 'x')", ErrorKind::WrongType),
        ("redis.call('SADD', 'ok-too', 'x')", ErrorKind::Denied),
        ("redis.call('GET', 'forbidden')", ErrorKind::Denied),
        ("redis.call('SPUBLISH', 'forbidden', 'x')", ErrorKind::Denied),
        ("redis.call('GET')", ErrorKind::Script),
        ("redis.call('NONE')", ErrorKind::Script),
        ("redis.call('EVAL', 'return 1', 0)", ErrorKind::Script),
        ("redis.call(nil)", ErrorKind::Script),
        ("return nothing.here", ErrorKind::Script),
        ("return #KEYS[2]", ErrorKind::Script),
        ("local function deep() return 1 + deep() end return deep()", ErrorKind::Script),
        ("error('my own words')", ErrorKind::Script),
        ("error({ err = 'MINE my own words' })", ErrorKind::Script),
    ] {
        let error = run(mishap).await;
        runs += 1;
        assert_eq!(connection.execute(Command::new("GET").key("ok")).await.unwrap().as_int().unwrap(), runs);
        assert_eq!(error.kind(), kind, "{mishap}: {error}");
        assert!(
            error.stopped_midway() && error.outcome_unknown() && !error.is_not_sent(),
            "{mishap}: {error}"
        );
        assert!(error.to_string().contains("stays done"), "{error}");
    }
    // What it returns is its own word, be it after a write.
    let error = run("return redis.error_reply('MINE my own words')").await;
    assert!(!error.stopped_midway() && !error.outcome_unknown(), "{error}");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    // A server that accepts no writes ends a script at its first one.
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    let error = run("").await;
    assert_eq!(error.kind(), ErrorKind::StoreUnsafe, "{error}");
    assert!(!error.outcome_unknown() && error.is_transient(), "{error}");
    assert_eq!(server.cli(&["GET", "ok"]).await.unwrap(), (runs + 1).to_string());
}

#[tokio::test]
async fn nothing_there_is_a_quick_and_typed_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = ConnectionSettings::from_url(&format!("valkey://app:hunter2@{address}")).unwrap();
    let error = Connection::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.is_not_sent() && error.is_transient());
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = ConnectionSettings::from_url(&format!("valkey://{}", silent.local_addr().unwrap()))
        .unwrap()
        .dial_timeout(Duration::from_millis(300));
    let started = std::time::Instant::now();
    let error = Connection::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn wrong_settings_are_refused_before_anything_is_sent() {
    let settings = ConnectionSettings::default().pool_size(0).read_timeout(Duration::ZERO);
    let error = Connection::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("pool_size") && error.to_string().contains("read_timeout"), "{error}");
}

#[tokio::test]
async fn primaries_of_a_single_server_is_that_server() {
    let connection = shared().await;
    let nodes = connection.primaries().await.unwrap();
    assert_eq!(nodes.len(), 1);
    assert!(nodes[0].name().contains(&TestServer::shared().await.address()));
    let size = connection.execute_on(&nodes[0], Command::new("DBSIZE")).await.unwrap();
    assert!(size.as_int().is_ok());
}

#[tokio::test]
async fn health_tells_what_happened() {
    let connection = shared().await;
    connection.ping().await.unwrap();
    support::until(Duration::from_secs(5), "the whole pool is connected", || {
        connection.health().status == Status::Healthy
    })
    .await;
    let health = connection.health();
    assert_eq!(health.connection, ConnectionState::Connected);
    assert_eq!(health.breaker.as_str(), "closed");
    assert!(health.last_success.is_some());
    assert_eq!((health.pool.total, health.pool.stale), (2, 0));
    assert!(health.pool.hits >= 1);
}

#[tokio::test]
async fn after_close_every_clone_says_closed() {
    let connection = shared().await;
    let clone = connection.clone();
    let mut dedicated = connection.dedicated().await.unwrap();
    connection.close().await;
    let error = clone.execute(llen("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.is_not_sent() && !error.is_transient());
    assert_eq!(clone.dedicated().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(dedicated.execute(llen("x")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.health().connection, ConnectionState::Closed);
}

#[tokio::test]
async fn the_last_clone_takes_the_sockets_with_it() {
    let server = TestServer::start().await.unwrap();
    let connection =
        Connection::connect(&ConnectionSettings::from_url(&server.url()).unwrap()).await.unwrap();
    support::until(Duration::from_secs(5), "both connections are up", || {
        connection.health().status == Status::Healthy
    })
    .await;
    drop(connection);
    let started = std::time::Instant::now();
    loop {
        // One line per client; the one asking is the last.
        let clients = server.cli(&["CLIENT", "LIST"]).await.unwrap();
        if clients.lines().filter(|line| !line.trim().is_empty()).count() == 1 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "still connected: {clients}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_unix_socket_works() {
    let directory = std::env::temp_dir().join(unique_name("valkit-socket"));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("valkey.sock");
    let server = TestServer::builder().config("unixsocket", path.display().to_string()).start().await;
    // In a container the socket is in the container's file system; there is nothing to test from outside.
    if let Ok(_server) = server
        && path.exists()
    {
        let url = format!("unix://{}", path.display());
        let connection = Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap();
        assert_eq!(connection.execute(lpush("q", "x")).await.unwrap().as_int().unwrap(), 1);
        let error = connection.execute(Command::new("GET").key("q")).await.unwrap_err();
        assert!(error.to_string().contains(&url), "{error}");
    }
    let _ = std::fs::remove_dir_all(directory);
}
