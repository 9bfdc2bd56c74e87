//! One primary, two replicas, three Sentinels.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use valkey_connection::{Command, Connection, ConnectionSettings, Mode};
use valkey_sender::Durability;
use valkey_testkit::{TestReplication, TestReplicationBuilder, TestServer, TestServerBuilder, eventually};

use crate::ledger::{SILENCE, seconds_after};
use crate::load::{CONNECTIONS, Load};
use crate::news::{heard, listen};

/// How long the Sentinels may take on a busy machine.
const ELECTION: Duration = Duration::from_secs(40);
/// How long they may take to find out by themselves that the primary says it is a replica, and to make one: what they call
/// down otherwise, and two of their rounds of ten seconds.
const SUSPICION: Duration = Duration::from_secs(80);
/// How long the news may take to reach a connection once the Sentinels agree, as promised. The Sentinels push them; a
/// connection that had to ask would learn of them with its next probe, which is set further off here.
const NEWS: Duration = Duration::from_secs(3);
const NEXT_PROBE: Duration = Duration::from_mins(1);
/// How far a replica may be behind on loopback under this load.
const LAG: Duration = Duration::from_secs(1);

async fn servers() -> &'static TestReplication {
    start(builder(TestServer::builder().append_only(true))).await
}

fn builder(server: TestServerBuilder) -> TestReplicationBuilder {
    TestReplication::builder().replicas(2).sentinels(3).server(server)
}

async fn start(builder: TestReplicationBuilder) -> &'static TestReplication {
    Box::leak(Box::new(builder.start().await.unwrap()))
}

fn settings(servers: &TestReplication) -> ConnectionSettings {
    ConnectionSettings::default()
        .address(servers.sentinel_addresses().join(",").parse().unwrap())
        .mode(Mode::Sentinel)
        .sentinel_service(Some(servers.service().to_owned()))
        .read_timeout(Duration::from_secs(1))
}

fn replicated(count: u32) -> Durability {
    Durability::Replicated(count.try_into().unwrap())
}

/// A queue for each, with traffic.
async fn loads(
    settings: &ConnectionSettings,
    name: &str,
    durabilities: impl IntoIterator<Item = Durability>,
) -> Vec<Load> {
    let mut loads = Vec::new();
    for durability in durabilities {
        loads.push(Load::start(settings, name, durability).await);
    }
    traffic(&loads, 50).await;
    loads
}

async fn traffic(loads: &[Load], count: usize) {
    for load in loads {
        load.traffic(count).await;
    }
}

/// When the first and the last connection of so many loads was told that not `old` is the primary, but `new`. From then on
/// each has its links to the old one shut.
async fn told(servers: &TestReplication, (old, new): (usize, usize), loads: usize) -> (Instant, Instant) {
    eventually("the news at each connection", async || {
        let heard = heard(&servers.addresses()[old], &servers.addresses()[new]);
        (heard.len() >= loads * CONNECTIONS).then(|| (heard[0], heard[heard.len() - 1]))
    })
    .await
}

#[tokio::test]
async fn a_killed_primary_is_replaced_under_load_and_its_return_changes_nothing() {
    let servers = servers().await;
    let modes = [Durability::Fast, replicated(1), replicated(2)];
    let loads = loads(&settings(servers), "killed", modes).await;
    let fault = Instant::now();
    servers.servers()[0].kill().await.unwrap();
    let gone = Instant::now();
    let new = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    // With one replica only, nothing can be on two.
    traffic(&loads[..2], 50).await;
    // It takes itself for a primary until the Sentinels tell it otherwise.
    servers.servers()[0].restart().await.unwrap();
    servers.wait_synced().await.unwrap();
    let whole = Instant::now();
    traffic(&loads, 50).await;
    assert_eq!(servers.primary().await.unwrap(), new);
    for load in loads {
        let mode = load.durability;
        let books = load.finish().await;
        let (from, since) = if mode == replicated(2) { (whole, whole) } else { (fault, gone) };
        books.publish(&mode.to_string(), books.recovery(from, since), "");
        for sent in &books.lost {
            assert_eq!(
                mode,
                Durability::Fast,
                "nothing is lost that a replica has confirmed, for the better one is promoted"
            );
            assert!(sent.began < gone && gone - sent.began < LAG, "lost outside of the gap of replication");
        }
    }
}

#[tokio::test]
async fn a_primary_that_is_cut_off_with_its_clients_takes_only_unconfirmed_messages_with_it() {
    listen();
    // Replicas and Sentinels come in as the operator, clients as `app`: without the operator the primary is alone.
    let server = TestServer::builder().default_user_off().acl_user("app", "pw", "~* &* +@all");
    let servers = start(builder(server)).await;
    let settings = settings(servers).username(Some("app".into())).password(Some("pw".into()));
    let modes = [Durability::Fast, replicated(1), replicated(2)];
    let loads = loads(&settings.probe_interval(NEXT_PROBE), "cut-off", modes).await;
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
    let new = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    let promoted = Instant::now();
    let (first, told) = told(servers, (0, new), loads.len()).await;
    loads.iter().for_each(Load::resume);
    // With one replica only, nothing can be on two.
    traffic(&loads[..2], 50).await;
    for load in loads {
        let mode = load.durability;
        let books = load.finish().await;
        let mut note = format!(
            "its connections were told between {:.3} and {:.3} s after all Sentinels had agreed",
            seconds_after(first, promoted),
            seconds_after(told, promoted)
        );
        if let Some((began, ended)) = books.lateness(promoted) {
            let _ = write!(
                note,
                "; the last that is lost was begun at {began:.3} s and answered at {ended:.3} s"
            );
        }
        books.publish(&mode.to_string(), books.recovery(fault, promoted), &note);
        for sent in &books.lost {
            assert_eq!(mode, Durability::Fast, "nothing is lost that a replica has confirmed");
            assert!(sent.ended + LAG > fault, "lost before the fault");
            assert!(sent.began <= told, "lost although its connection was told");
        }
        assert_eq!(
            mode == Durability::Fast,
            !books.lost.is_empty(),
            "{mode}: the old primary went on answering"
        );
    }
    assert!(told < promoted + NEWS, "told {:.3} s late", seconds_after(told, promoted));
}

#[tokio::test]
async fn who_may_not_hear_of_another_primary_asks_for_it() {
    listen();
    let servers = start(TestReplication::builder().replicas(1).sentinels(1)).await;
    servers.sentinels()[0]
        .cli(&["ACL", "SETUSER", "deaf", "on", ">pw", "+@all", "resetchannels"])
        .await
        .unwrap();
    let settings =
        settings(servers).sentinel_username(Some("deaf".into())).sentinel_password(Some("pw".into()));
    let connection = Connection::connect(&settings).await.unwrap();
    servers.failover().await.unwrap();
    let new = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    let promoted = Instant::now();
    let (old, new) = (&servers.addresses()[0], &servers.addresses()[new]);
    let told = eventually("the news", async || heard(old, new).first().copied()).await;
    // By a fifth more or less, so that not all ask at the same time.
    let late = seconds_after(told, promoted);
    eprintln!("told {late:.3} s after the Sentinel knew");
    assert!(told < promoted + settings.probe_interval.mul_f64(1.2) + NEWS, "told {late:.3} s late");
    eventually("the new primary", async || connection.ping().await.ok()).await;
}

#[tokio::test]
async fn a_primary_that_stands_still_is_replaced_and_wakes_up_as_a_replica() {
    let servers = servers().await;
    let load = loads(&settings(servers), "frozen", [Durability::Fast]).await.remove(0);
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
    books.publish("fast", books.recovery(fault, gone), "");
    for sent in &books.lost {
        assert!(sent.began < gone && gone - sent.began < LAG, "lost outside of the gap of replication");
    }
}

#[tokio::test]
async fn two_failovers_in_a_row_one_planned_one_not() {
    listen();
    let servers = servers().await;
    let load = loads(&settings(servers), "twice", [Durability::Fast]).await.remove(0);
    let planned = Instant::now();
    servers.failover().await.unwrap();
    let second = servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    let promoted = Instant::now();
    load.traffic(50).await;
    let (_, told) = told(servers, (0, second), 1).await;
    let killed = Instant::now();
    servers.servers()[second].kill().await.unwrap();
    let gone = Instant::now();
    servers.wait_for_new_primary(second, ELECTION).await.unwrap();
    load.traffic(100).await;
    let books = load.finish().await;
    // The old primary goes on answering until it is left: a planned failover is no safe one.
    let in_first = |began: Instant, ended: Instant| ended > planned && began <= told;
    let in_second = |began: Instant| began < gone && gone - began < LAG;
    let first = books.lost.iter().filter(|sent| in_first(sent.began, sent.ended)).count();
    let note = format!(
        "{first} lost at the planned one, which took {:.1?}",
        books.recovery(planned, promoted).unwrap_or_default()
    );
    books.publish("fast", books.recovery(killed, gone), &note);
    for sent in &books.lost {
        assert!(in_first(sent.began, sent.ended) || in_second(sent.began), "lost outside of both gaps");
    }
}

#[tokio::test]
async fn a_coordinated_failover_loses_nothing() {
    let servers = start(builder(TestServer::builder().append_only(true).newest())).await;
    let version = servers.servers()[0].version().await.unwrap();
    if !version.is_valkey() || !version.at_least(9, 0, 0) {
        valkey_testkit::skipped(format_args!("{version} has no SENTINEL FAILOVER ... COORDINATED"));
        return;
    }
    let modes = [Durability::Fast, replicated(1), replicated(2)];
    let loads = loads(&settings(servers), "coordinated", modes).await;
    let asked = Instant::now();
    servers.failover_coordinated().await.unwrap();
    servers.wait_for_new_primary(0, ELECTION).await.unwrap();
    traffic(&loads, 50).await;
    for load in loads {
        let mode = load.durability;
        let books = load.finish().await;
        books.publish(&mode.to_string(), Some(books.silence(asked)), SILENCE);
        assert_eq!(books.lost.len(), 0, "the primary holds its clients until the replica has everything");
    }
}

#[tokio::test]
async fn a_takeover_behind_the_backs_of_the_sentinels_is_followed_once_they_have_found_out() {
    let servers = servers().await;
    let modes = [Durability::Fast, replicated(1)];
    let loads = loads(&settings(servers), "behind", modes).await;
    let asked = Instant::now();
    servers.hand_over(1).await.unwrap();
    let new = servers.wait_for_new_primary(0, SUSPICION).await.unwrap();
    let named = Instant::now();
    traffic(&loads, 50).await;
    for load in loads {
        let mode = load.durability;
        let books = load.finish().await;
        let note = format!("server {new} was named after {:.1?}; {SILENCE}", named - asked);
        books.publish(&mode.to_string(), Some(books.silence(asked)), &note);
        assert_eq!(books.lost.len(), 0, "{mode}");
    }
}
