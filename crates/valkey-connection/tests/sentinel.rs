//! A primary with two replicas, and three Sentinels over them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{llen, lpush, until_ok};
use valkey_connection::{Bell, Command, Connection, ConnectionSettings, ErrorKind, Mode};
use valkey_testkit::{Figures, TestReplication, TestServer};

/// How long we may take after the new primary is one, and the Sentinels agree.
const SLACK: Duration = Duration::from_secs(3);
/// How long the Sentinels may take on a busy machine.
const ELECTION: Duration = Duration::from_secs(40);

fn settings(sentinels: &[String]) -> ConnectionSettings {
    ConnectionSettings::default()
        .address(sentinels.join(",").parse().unwrap())
        .mode(Mode::Sentinel)
        .sentinel_service(Some("valkit".into()))
        .read_timeout(Duration::from_secs(1))
}

async fn start(server: valkey_testkit::TestServerBuilder) -> TestReplication {
    TestReplication::builder().replicas(2).sentinels(3).server(server).start().await.unwrap()
}

async fn run_id(connection: &Connection) -> Result<String, valkey_connection::Error> {
    let info = connection.execute(Command::new("INFO").arg("server")).await?.into_string()?;
    Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned())
}

/// Lets the primary go, and looks where calls, a park and a bell end up. All of them were there before.
async fn follow(
    servers: &TestReplication,
    connection: &Connection,
    name: &'static str,
    happens: impl AsyncFnOnce(&TestServer),
) {
    let old = servers.primary().await.unwrap();
    let former = run_id(connection).await.unwrap();
    let (from, to, bell) = (format!("{{{name}}}:from"), format!("{{{name}}}:to"), format!("{{{name}}}:bell"));
    let mut dedicated = connection.dedicated().await.unwrap();
    let mut listener = connection.listen(bell.as_str()).await.unwrap();
    let parked = tokio::spawn({
        let (from, to) = (from.clone(), to.clone());
        async move {
            loop {
                match dedicated.blocking_move(&from, &to, Duration::from_secs(1)).await {
                    Ok(Some(moved)) => break moved,
                    Ok(None) => {}
                    Err(error) => {
                        assert!(error.is_transient(), "{error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;

    let started = Instant::now();
    happens(&servers.servers()[old]).await;
    let elsewhere = async {
        loop {
            let answer = run_id(connection).await;
            if let Ok(permit) = connection.breaker().acquire() {
                permit.record(&answer);
            }
            match answer {
                Ok(now) if now != former => break,
                Ok(_) => {}
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (_, waited) = until_ok(SLACK, || connection.execute(lpush(&from, "x"))).await;
        (Instant::now(), waited)
    };
    let agreed = async {
        let new = servers.wait_for_new_primary(old, ELECTION).await.unwrap();
        (new, Instant::now())
    };
    let ((new, promoted), written) = tokio::join!(agreed, async {
        tokio::time::timeout(ELECTION + SLACK, elsewhere).await.expect("calls never reach the new primary").0
    });
    let late = written.saturating_duration_since(promoted);
    assert!(late < SLACK, "{name}: {late:?} after everybody knew");

    connection
        .breaker()
        .acquire()
        .expect("what the old primary did is not held against the new one")
        .success();

    // A park follows as well, and a subscription.
    let moved = tokio::time::timeout(2 * SLACK, parked).await.expect("the park never follows").unwrap();
    assert_eq!(&moved[..], b"x");
    assert_eq!(servers.servers()[new].cli(&["LLEN", &to]).await.unwrap(), "1", "on the new primary");
    let ringing = async {
        loop {
            until_ok(SLACK, || connection.execute(Command::new("SPUBLISH").key(bell.as_str()).arg(""))).await;
            if let Ok(Bell::Rang) = tokio::time::timeout(Duration::from_millis(50), listener.recv()).await {
                break;
            }
        }
    };
    tokio::time::timeout(2 * SLACK, ringing).await.expect("the bell never rings again");
    eprintln!("{name}: written {:?} after the fault, {late:?} after all knew", written - started);
    Figures::case(name).recovery(written - started).publish();
}

#[tokio::test]
async fn a_failover_is_followed_by_calls_parks_and_bells() {
    let servers = start(TestServer::builder()).await;
    let connection = Connection::connect(&settings(&servers.sentinel_addresses())).await.unwrap();
    let paused = servers.primary().await.unwrap();
    follow(&servers, &connection, "paused", async |primary| primary.pause().await.unwrap()).await;
    // It comes back, still believing, and we are not misled.
    let before = run_id(&connection).await.unwrap();
    servers.servers()[paused].resume().await.unwrap();
    for _ in 0..20 {
        assert_eq!(run_id(&connection).await.unwrap(), before);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    follow(&servers, &connection, "killed", async |primary| primary.kill().await.unwrap()).await;
}

#[tokio::test]
async fn a_primary_that_only_its_clients_reach_is_left_when_another_is_named() {
    // Replicas and Sentinels come in as the operator, clients as `app`.
    let server = TestServer::builder().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let servers = start(server).await;
    let settings = settings(&servers.sentinel_addresses());
    let settings = settings.username(Some("app".into())).password(Some("pw".into()));
    let connection = Connection::connect(&settings).await.unwrap();
    let direct = ConnectionSettings::from_url(&servers.servers()[0].url()).unwrap();
    let direct = Connection::connect(&direct).await.unwrap();
    connection.execute(lpush("q", "0")).await.unwrap();
    servers.wait_synced().await.unwrap();

    // From now on the primary is alone with its clients.
    let users = direct.execute(Command::new("ACL USERS")).await.unwrap().into_array().unwrap();
    for user in users.into_iter().map(|user| user.into_string().unwrap()) {
        if user != "app" && user != "default" {
            direct.execute(Command::new("ACL DELUSER").arg(user)).await.unwrap();
        }
    }
    let started = Instant::now();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn({
        let connection = connection.clone();
        async move {
            let (mut sent, mut unknown, mut stopped) = (0, 0, stopped);
            while stopped.try_recv().is_err() {
                match connection.execute(lpush("q", "x")).await {
                    Ok(_) => sent += 1,
                    Err(error) => unknown += u64::from(error.outcome_unknown()),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (sent, unknown)
        }
    });
    let new = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    let known = Instant::now();
    tokio::time::sleep(SLACK).await;
    let length =
        async |connection: &Connection| connection.execute(llen("q")).await.unwrap().as_int().unwrap();
    let on_old = length(&direct).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send(()).unwrap();
    let (sent, unknown) = writer.await.unwrap();
    assert_eq!(length(&direct).await, on_old, "nothing goes to a primary that is known to be none");
    let on_new: i64 = servers.servers()[new].cli(&["LLEN", "q"]).await.unwrap().parse().unwrap();
    assert!(on_new > 1, "writes go to the new primary");
    let found = u64::try_from(on_old - 1 + on_new - 1).unwrap();
    assert!(
        (sent..=sent + unknown).contains(&found),
        "{found} of {sent}, {unknown} unknown: each on one of the two"
    );
    let lost = u64::try_from(on_old - 1).unwrap();
    eprintln!("{lost} of {sent} written to the old primary in {:?}", known - started);
    Figures::new()
        .sent(sent)
        .unknown(unknown)
        .lost(lost)
        .recovery(known - started)
        .note("no WAIT, no min-replicas")
        .publish();
}

#[tokio::test]
async fn sentinels_that_are_silent_or_gone_do_not_matter() {
    let server = TestServer::builder().tls().password("s3cret");
    let servers = start(server).await;
    let settings = settings(&servers.sentinel_addresses())
        .password(Some("s3cret".into()))
        .tls_enabled(true)
        .tls_ca_file(servers.servers()[0].tls_ca_path().map(Into::into));
    // The first one asked says nothing and closes nothing.
    servers.sentinels()[0].pause().await.unwrap();
    let started = Instant::now();
    let connection = Connection::connect(&settings).await.unwrap();
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    connection.execute(lpush("q", "x")).await.unwrap();
    servers.sentinels()[0].resume().await.unwrap();
    follow(&servers, &connection, "planned", async |_| servers.failover().await.unwrap()).await;

    // All gone: who is connected notices nothing, and who comes is told.
    for sentinel in servers.sentinels() {
        sentinel.kill().await.unwrap();
    }
    connection.execute(lpush("q", "x")).await.unwrap();
    let error = Connection::connect(&settings).await.unwrap_err();
    assert_eq!((error.kind(), error.is_not_sent()), (ErrorKind::Disconnected, true), "{error}");
    let text = error.to_string();
    assert!(text.contains("Sentinel") && text.contains("refused") && !text.contains("s3cret"), "{text}");
    // The primary alone comes back meanwhile, but nobody says that it still is one.
    let primary = servers.primary().await.unwrap();
    servers.servers()[primary].restart().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(connection.execute(llen("q")).await.unwrap_err().is_not_sent());
    servers.sentinels()[1].restart().await.unwrap();
    until_ok(Duration::from_secs(15), || connection.execute(llen("q"))).await;
}

#[tokio::test]
async fn what_is_wrong_about_sentinels_is_named_with_its_remedy() {
    let servers = TestReplication::builder().replicas(0).sentinels(1).start().await.unwrap();
    let good = settings(&servers.sentinel_addresses());
    let refusal = async |settings: &ConnectionSettings| {
        let error = Connection::connect(settings).await.unwrap_err();
        assert!(error.is_not_sent(), "{error}");
        (error.kind(), error.to_string())
    };
    let (kind, text) = refusal(&good.clone().sentinel_service(Some("orders".into()))).await;
    assert_eq!(kind, ErrorKind::Configuration, "{text}");
    assert!(text.contains("`orders`") && text.contains("sentinel_service"), "{text}");

    let (kind, text) = refusal(&settings(&servers.addresses())).await;
    assert_eq!(kind, ErrorKind::Configuration, "{text}");
    assert!(text.contains("no Sentinel: give the addresses"), "{text}");

    let sentinel = &servers.sentinels()[0];
    sentinel.cli(&["ACL", "SETUSER", "watcher", "on", ">right", "+@all", "&*"]).await.unwrap();
    let watcher = good.clone().sentinel_username(Some("watcher".into()));
    let (kind, text) = refusal(&watcher.clone().sentinel_password(Some("canary".into()))).await;
    assert_eq!(kind, ErrorKind::Auth, "{text}");
    assert!(text.contains("sentinel_password") && !text.contains("canary"), "{text}");

    let connection = Connection::connect(&watcher.sentinel_password(Some("right".into()))).await.unwrap();
    connection.execute(lpush("q", "x")).await.unwrap();
    let clients = sentinel.cli(&["CLIENT", "LIST"]).await.unwrap();
    assert!(clients.contains("user=watcher"), "{clients}");
}

#[tokio::test]
async fn the_rights_that_the_settings_ask_for_are_enough_and_needed() {
    let servers = TestReplication::builder().replicas(0).sentinels(1).start().await.unwrap();
    let sentinel = &servers.sentinels()[0];
    let rights = ["+sentinel|master", "+sentinel|get-master-addr-by-name", "+subscribe", "&+switch-master"];
    for lacking in [None, Some(0), Some(1), Some(2), Some(3)] {
        let name = format!("watcher-{lacking:?}").replace(['(', ')'], "");
        let given = rights.into_iter().enumerate().filter(|(at, _)| Some(*at) != lacking);
        let mut user = vec!["ACL", "SETUSER", &name, "reset", "on", ">right"];
        user.extend(given.map(|(_, right)| right));
        sentinel.cli(&user).await.unwrap();
        let settings = settings(&servers.sentinel_addresses())
            .sentinel_username(Some(name.clone()))
            .sentinel_password(Some("right".into()));
        let connection = Connection::connect(&settings).await;
        let clients = sentinel.cli(&["CLIENT", "LIST"]).await.unwrap();
        let listens = clients
            .lines()
            .any(|client| client.contains(&format!("user={name} ")) && client.contains(" sub=1 "));
        // Who may only not listen asks.
        assert_eq!(connection.is_ok(), !matches!(lacking, Some(0 | 1)), "{lacking:?}");
        assert_eq!(listens, lacking.is_none(), "{lacking:?}: {clients}");
    }
}
