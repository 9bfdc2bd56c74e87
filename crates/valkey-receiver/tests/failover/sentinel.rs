//! One primary, two replicas, three Sentinels.

use std::time::{Duration, Instant};

use futures::future::join_all;
use valkey_connection::{Command, Connection, ConnectionSettings, Mode};
use valkey_testkit::{TestReplication, TestServer, TestServerBuilder};

use crate::load::{Asked, Load};

/// How long the Sentinels may take on a busy machine.
const ELECTION: Duration = Duration::from_secs(40);
/// How long the news of another primary may take to reach a client on a busy machine.
const NEWS: Duration = Duration::from_secs(1);
/// How far a replica may be behind on loopback under this load.
const LAG: Duration = Duration::from_secs(1);

async fn servers() -> &'static TestReplication {
    servers_like(TestServer::builder().append_only(true)).await
}

async fn servers_like(server: TestServerBuilder) -> &'static TestReplication {
    let servers = TestReplication::builder().replicas(2).sentinels(3).server(server).start().await.unwrap();
    Box::leak(Box::new(servers))
}

fn settings(servers: &TestReplication) -> ConnectionSettings {
    ConnectionSettings::default()
        .address(servers.sentinel_addresses().join(",").parse().unwrap())
        .mode(Mode::Sentinel)
        .sentinel_service(Some(servers.service().to_owned()))
        .read_timeout(Duration::from_secs(1))
}

async fn start(servers: &'static TestReplication, name: &str, asked: Asked) -> Load {
    let load = Load::start(&servers.servers()[0], &settings(servers), name, asked).await;
    load.traffic(100).await;
    load
}

const MODES: [(&str, Asked); 3] =
    [("fast", Asked::Fast), ("replicated(1)", Asked::Replicated(1)), ("replicated(2)", Asked::Replicated(2))];

#[tokio::test]
async fn a_killed_primary_is_replaced_under_load_and_its_return_changes_nothing() {
    let servers = servers().await;
    let loads = join_all(MODES.map(|(_, asked)| start(servers, "killed", asked))).await;
    let fault = Instant::now();
    servers.servers()[0].kill().await.unwrap();
    let gone = Instant::now();
    let new = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    join_all(loads.iter().map(|load| load.traffic(50))).await;
    // It takes itself for a primary until the Sentinels tell it otherwise.
    servers.servers()[0].restart().await.unwrap();
    servers.wait_synced().await.unwrap();
    join_all(loads.iter().map(|load| load.traffic(50))).await;
    assert_eq!(servers.primary().await.unwrap(), new);
    for (load, (mode, _)) in loads.into_iter().zip(MODES) {
        let books = load.finish().await;
        books.publish(mode, books.recovery(fault, gone));
        for (began, _) in &books.lost {
            assert_eq!(
                mode, "fast",
                "nothing is lost that a replica has confirmed, for the better one is promoted"
            );
            assert!(*began < gone && gone - *began < LAG, "lost outside of the gap of replication");
        }
    }
}

#[tokio::test]
async fn a_primary_that_is_cut_off_with_its_clients_takes_only_unconfirmed_messages_with_it() {
    // Replicas and Sentinels come in as the operator, clients as `app`: without the operator the primary is alone.
    let server = TestServer::builder().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let servers = servers_like(server).await;
    let settings = settings(servers).username(Some("app".into())).password(Some("pw".into()));
    let loads =
        join_all(MODES.map(|(_, asked)| Load::start(&servers.servers()[0], &settings, "cut-off", asked)))
            .await;
    join_all(loads.iter().map(|load| load.traffic(50))).await;
    // What is handled before it is lost is not missed.
    loads.iter().for_each(Load::pause);
    let direct = ConnectionSettings::from_url(&servers.servers()[0].url()).unwrap();
    let direct = Connection::connect(&direct).await.unwrap();
    let users = direct.execute(Command::new("ACL USERS")).await.unwrap().into_array().unwrap();
    let fault = Instant::now();
    for user in users.into_iter().map(|user| user.into_string().unwrap()) {
        if user != "app" && user != "default" {
            direct.execute(Command::new("ACL DELUSER").arg(user)).await.unwrap();
        }
    }
    servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    let promoted = Instant::now();
    loads.iter().for_each(Load::resume);
    join_all(loads.iter().map(|load| load.traffic(50))).await;
    for (load, (mode, _)) in loads.into_iter().zip(MODES) {
        let books = load.finish().await;
        books.publish(mode, books.recovery(fault, promoted));
        for (began, ended) in &books.lost {
            assert_eq!(mode, "fast", "nothing is lost that a replica has confirmed");
            assert!(*ended + LAG > fault && *began < promoted + NEWS, "lost although another was named");
        }
        assert_eq!(mode == "fast", !books.lost.is_empty(), "{mode}: the old primary went on answering");
    }
}

#[tokio::test]
async fn a_primary_that_stands_still_is_replaced_and_wakes_up_as_a_replica() {
    let servers = servers().await;
    let load = start(servers, "frozen", Asked::Fast).await;
    let fault = Instant::now();
    servers.servers()[0].pause().await.unwrap();
    let gone = Instant::now();
    let new = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    load.traffic(50).await;
    // What was written into its sockets meanwhile is carried out now, answered to nobody, and undone.
    servers.servers()[0].resume().await.unwrap();
    servers.wait_synced().await.unwrap();
    load.traffic(100).await;
    assert_eq!(servers.primary().await.unwrap(), new);
    let books = load.finish().await;
    books.publish("fast", books.recovery(fault, gone));
    for (began, _) in &books.lost {
        assert!(*began < gone && gone - *began < LAG, "lost outside of the gap of replication");
    }
}

#[tokio::test]
async fn two_failovers_in_a_row_one_planned_one_not() {
    let servers = servers().await;
    let load = start(servers, "twice", Asked::Fast).await;
    let planned = Instant::now();
    servers.failover().await.unwrap();
    let second = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    let promoted = Instant::now();
    load.traffic(50).await;
    let killed = Instant::now();
    servers.servers()[second].kill().await.unwrap();
    let gone = Instant::now();
    servers.wait_for_new_primary(second, ELECTION).await.unwrap();
    load.traffic(100).await;
    let books = load.finish().await;
    eprintln!("planned: recovery {:?}", books.recovery(planned, promoted));
    books.publish("fast", books.recovery(killed, gone));
    // The old primary goes on answering until it is told: a planned failover is no safe one.
    for (began, ended) in &books.lost {
        let in_first = *ended > planned && *began < promoted;
        let in_second = *began < gone && gone - *began < LAG;
        assert!(in_first || in_second, "lost outside of both gaps");
    }
}
