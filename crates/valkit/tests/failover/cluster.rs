//! Three primaries; where it says so, with a replica each.

use std::time::{Duration, Instant};

use valkey_connection::{ConnectionSettings, Mode};
use valkey_envelope::QueueName;
use valkey_sender::Durability;
use valkey_testkit::{TestCluster, TestServer, eventually, unique_name};

use crate::ledger::SILENCE;
use crate::load::Load;

/// How long a takeover may take on a busy machine.
const TAKEOVER: Duration = Duration::from_secs(40);
/// How far a replica may be behind on loopback under this load.
const LAG: Duration = Duration::from_secs(1);

fn settings(cluster: &TestCluster) -> ConnectionSettings {
    ConnectionSettings::default()
        .address(cluster.addresses().join(",").parse().unwrap())
        .mode(Mode::Cluster)
        .read_timeout(Duration::from_secs(1))
}

/// A queue on this node, with traffic.
async fn load_on(cluster: &TestCluster, node: usize, name: &str, durability: Durability) -> Load {
    let queue: QueueName = loop {
        let queue: QueueName = unique_name(name).parse().unwrap();
        let slot = cluster.slot_of(queue.keys().public()).await.unwrap();
        if cluster.owner_of(slot).await.unwrap() == node {
            break queue;
        }
    };
    let load = Load::start_on(&settings(cluster), queue, durability).await;
    load.traffic(50).await;
    load
}

#[tokio::test]
async fn a_primary_is_replaced_by_its_replica_under_load() {
    let node = TestServer::builder().append_only(true);
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    // One is killed and restarted, then another stands still and wakes up.
    for (node, case) in [(0, "killed"), (1, "paused")] {
        let (hit, bystander) = tokio::join!(
            load_on(&cluster, node, case, Durability::Fast),
            load_on(&cluster, 2, "bystander", Durability::Fast)
        );
        let fault = Instant::now();
        match case {
            "killed" => cluster.nodes()[node].kill().await.unwrap(),
            _ => cluster.nodes()[node].pause().await.unwrap(),
        }
        let gone = Instant::now();
        hit.traffic(50).await;
        bystander.traffic(50).await;
        match case {
            "killed" => cluster.nodes()[node].restart().await.unwrap(),
            _ => cluster.nodes()[node].resume().await.unwrap(),
        }
        cluster.wait_until_writable(TAKEOVER).await.unwrap();
        hit.traffic(100).await;
        let (books, beside) = tokio::join!(hit.finish(), bystander.finish());
        books.publish(case, books.recovery(fault, gone), "");
        beside.publish(&format!("{case}, a queue beside it"), beside.recovery(fault, gone), "");
        assert_eq!(beside.lost.len(), 0);
        for sent in &books.lost {
            assert!(sent.began < gone && gone - sent.began < LAG, "lost outside of the gap of replication");
        }
    }
}

#[tokio::test]
async fn a_planned_takeover_loses_nothing() {
    let node = TestServer::builder().append_only(true);
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    let one = Durability::Replicated(1.try_into().unwrap());
    let (load, safe) =
        tokio::join!(load_on(&cluster, 0, "planned", Durability::Fast), load_on(&cluster, 0, "planned", one));
    let slot = cluster.slot_of(load.look.keys.public()).await.unwrap();
    let replica = cluster.replicas_of(0).await.unwrap()[0];
    let asked = Instant::now();
    // The primary holds its clients until the replica has everything.
    cluster.nodes()[replica].cli(&["CLUSTER", "FAILOVER"]).await.unwrap();
    eventually("the takeover", async || (cluster.owner_of(slot).await.ok()? == replica).then_some(())).await;
    load.traffic(100).await;
    safe.traffic(50).await;
    for load in [load, safe] {
        let mode = load.durability;
        let books = load.finish().await;
        books.publish(&mode.to_string(), Some(books.silence(asked)), SILENCE);
        assert_eq!(books.lost.len(), 0);
    }
}

#[tokio::test]
async fn a_primary_without_a_replica_comes_back_to_what_it_held() {
    let node = TestServer::builder().append_only(true).config("cluster-require-full-coverage", "no");
    let cluster = TestCluster::start_with(3, node).await.unwrap();
    let (hit, bystander) = tokio::join!(
        load_on(&cluster, 0, "alone", Durability::Fast),
        load_on(&cluster, 1, "bystander", Durability::Fast)
    );
    cluster.nodes()[0].kill().await.unwrap();
    let gone = Instant::now();
    // Longer than the cluster needs to call it dead.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let went_on = bystander.handled_since(gone);
    cluster.nodes()[0].restart().await.unwrap();
    let back = Instant::now();
    hit.traffic(50).await;
    bystander.traffic(50).await;
    let (books, beside) = tokio::join!(hit.finish(), bystander.finish());
    books.publish("its queue", books.recovery(back, back), "recovery from its return");
    let meanwhile = format!("recovery from its return; {went_on} messages in the outage");
    beside.publish("a queue beside it", beside.recovery(back, gone), &meanwhile);
    assert_eq!((books.lost.len(), beside.lost.len()), (0, 0));
}
