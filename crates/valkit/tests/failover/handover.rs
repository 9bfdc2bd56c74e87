//! A takeover that the servers arrange among themselves (`FAILOVER`), with nobody to tell their clients.

use std::time::{Duration, Instant};

use valkey_connection::ConnectionSettings;
use valkey_sender::{Certainty, Durability};
use valkey_testkit::{FaultProxy, TestReplication, TestServer, eventually};

use crate::ledger::SILENCE;
use crate::load::Load;

/// How long its clients are left with the former primary.
const LEFT: Duration = Duration::from_secs(2);
/// How long a primary waits for a replica that does not follow. Its clients wait with it, and would give up after three
/// seconds.
const TIMEOUT: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_primary_that_hands_over_loses_nothing_and_its_clients_go_where_their_address_leads() {
    let server = TestServer::builder().append_only(true);
    let servers = TestReplication::builder().server(server).start().await.unwrap();
    let [old, new] = [0, 1].map(|number| servers.addresses()[number].clone());
    // A name, or a balancer, that somebody has to turn.
    let address = FaultProxy::start(&old).await.unwrap();
    let settings = ConnectionSettings::from_url(&format!("valkey://{}", address.address())).unwrap();
    let start = async |name: &str| {
        let one = Durability::Replicated(1.try_into().unwrap());
        let loads =
            [Load::start(&settings, name, Durability::Fast).await, Load::start(&settings, name, one).await];
        for load in &loads {
            load.traffic(50).await;
        }
        loads
    };

    // The replica does not follow: after a while the primary gives it up, and lets its clients go on.
    let loads = start("given-up").await;
    servers.link(1).black_hole();
    let asked = Instant::now();
    let timeout = TIMEOUT.as_millis().to_string();
    servers.servers()[0].cli(&["FAILOVER", "TIMEOUT", &timeout]).await.unwrap();
    eventually("the end of the attempt", async || {
        let info = servers.servers()[0].cli(&["INFO", "replication"]).await.ok()?;
        info.contains("master_failover_state:no-failover").then_some(())
    })
    .await;
    assert_eq!(servers.primary().await.unwrap(), 0);
    servers.link(1).heal().await.unwrap();
    servers.wait_synced().await.unwrap();
    for load in loads {
        load.traffic(50).await;
        let mode = load.durability;
        let books = load.finish().await;
        books.publish(&format!("given up, {mode}"), Some(books.silence(asked)), SILENCE);
        assert_eq!(books.lost.len(), 0);
        if mode == Durability::Fast {
            assert!(books.longest() > TIMEOUT / 2, "nobody was held: {:?}", books.longest());
            assert_eq!(books.reasons().len(), 0, "{:?}", books.reasons());
        }
    }

    // It follows.
    let loads = start("handed-over").await;
    let asked = Instant::now();
    servers.hand_over(1).await.unwrap();
    let done = Instant::now();
    tokio::time::sleep(LEFT).await;
    let turned = Instant::now();
    address.set_upstream(&new);
    address.drop_connections();
    for load in &loads {
        load.traffic(50).await;
    }
    for load in loads {
        let mode = load.durability;
        let books = load.finish().await;
        let note = format!(
            "handed over in {:.1?}; recovery from the moment the address leads to the new primary",
            done - asked
        );
        books.publish(&format!("handed over, {mode}"), books.recovery(turned, turned), &note);
        assert_eq!(books.lost.len(), 0);
        // Whoever stays with a replica is refused, and knows that nothing was sent.
        let count = |certainty| books.count_in(done, turned, certainty);
        assert_eq!((count(Certainty::Confirmed), count(Certainty::Unknown)), (0, 0), "{mode}");
        assert!(count(Certainty::Rejected) > 0, "{mode}");
    }
}
