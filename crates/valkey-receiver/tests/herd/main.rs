//! Many consumers that end and start together, again and again, and a server that restarts under all of them: nothing is
//! lost, crashes are counted where there was one, nobody leaves anything behind, and nobody is crowded out.
#![allow(clippy::unwrap_used)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/fleet.rs"]
mod fleet;
#[path = "../support/ledger.rs"]
mod ledger;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/mod.rs"]
mod support;

mod restart;
mod together;

use std::time::Duration;

use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::QueueName;
use valkey_receiver::ReceiverSettings;
use valkey_testkit::{TestServer, TestServerBuilder, unique_name};

use support::{Bed, until};

const MEMBERS: usize = 32;
const LEASE: Duration = Duration::from_secs(6);
/// So long that all hands are full: together they finish no more than is sent.
const WORK: Duration = Duration::from_millis(50);

/// Whom everybody here comes in as: a client of something else, which had its server under this address before, is told
/// apart.
const USER: &str = "herd";

fn settings() -> ReceiverSettings {
    let settings = ReceiverSettings::default().lease(LEASE).prefetch(12.try_into().unwrap());
    settings.max_concurrent_messages(4.try_into().unwrap())
}

async fn server_ms(bed: &Bed) -> i64 {
    let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
    time[0].as_int().unwrap() * 1000 + time[1].as_int().unwrap() / 1000
}

/// A queue on a server of its own, with one connection to it.
async fn lonely_bed(server: TestServerBuilder, name: &str) -> Bed {
    let server = server.acl_user(USER, "pw", "~* &* +@all").start().await.unwrap();
    // Ended with the process.
    let server: &'static TestServer = Box::leak(Box::new(server));
    let settings = ConnectionSettings::from_url(&server.url()).unwrap().pool_size(1);
    let connection = Connection::connect(&settings).await.unwrap();
    let queue: QueueName = unique_name(name).parse().unwrap();
    let bed = Bed { server, connection, keys: queue.keys(), queue };
    until_alone(&bed).await;
    bed
}

/// Waits until nobody here has a connection but the bed.
async fn until_alone(bed: &Bed) {
    let ours = format!(" user={USER} ");
    until("the end of all other connections", async || {
        let clients = bed.ask(Command::new("CLIENT").arg("LIST")).await.into_string().unwrap();
        (clients.lines().filter(|client| client.contains(&ours)).count() == 1).then_some(())
    })
    .await;
}

/// Lets each consumer write down how many it holds: so wide a bound holds up nobody.
async fn bound_in_flight(bed: &Bed) {
    let bound = Command::new("HSET").key(bed.keys.control()).args(["max_in_flight", "1000000"]);
    bed.ask(bound).await;
}

/// Nothing is left that only one consumer knew: no name, no hash, no count.
async fn nothing_is_left(bed: &Bed) {
    bed.until_clean().await;
    let control = bed.ask(Command::new("HKEYS").key(bed.keys.control())).await.into_array().unwrap();
    let counts = control.into_iter().map(|field| field.into_string().unwrap());
    assert_eq!(counts.filter(|field| field.starts_with("n:")).collect::<Vec<_>>(), [""; 0]);
}

/// The consumers that are killed and drained.
#[test]
fn consumer_process() {
    let Some(part) = child::Part::given() else { return };
    together::play(part);
}
