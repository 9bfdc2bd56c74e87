//! Three primaries; where it says so, with a replica each.

use std::time::{Duration, Instant};

use valkey_connection::{ConnectionSettings, Mode};
use valkey_envelope::QueueName;
use valkey_testkit::{TestCluster, TestServer, unique_name};

use crate::load::{Asked, Load};
use crate::support::until;

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
async fn load_on(cluster: &'static TestCluster, node: usize, name: &str) -> Load {
    let queue: QueueName = loop {
        let queue: QueueName = unique_name(name).parse().unwrap();
        let slot = cluster.slot_of(queue.keys().public()).await.unwrap();
        if cluster.owner_of(slot).await.unwrap() == node {
            break queue;
        }
    };
    let load = Load::start_on(&cluster.nodes()[node], &settings(cluster), queue, Asked::Fast).await;
    load.traffic(50).await;
    load
}

#[tokio::test]
async fn a_primary_is_replaced_by_its_replica_under_load() {
    let node = TestServer::builder().append_only(true);
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    let cluster: &'static TestCluster = Box::leak(Box::new(cluster));
    // One is killed and restarted, then another stands still and wakes up.
    for (node, case) in [(0, "killed"), (1, "paused")] {
        let (hit, bystander) = tokio::join!(load_on(cluster, node, case), load_on(cluster, 2, "bystander"));
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
        books.publish(case, books.recovery(fault, gone));
        beside.publish(&format!("{case}, a queue beside it"), beside.recovery(fault, gone));
        assert_eq!(beside.lost.len(), 0);
        for (began, _) in &books.lost {
            assert!(*began < gone && gone - *began < LAG, "lost outside of the gap of replication");
        }
    }
}

#[tokio::test]
async fn a_planned_takeover_loses_nothing() {
    let node = TestServer::builder().append_only(true);
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    let cluster: &'static TestCluster = Box::leak(Box::new(cluster));
    let load = load_on(cluster, 0, "planned").await;
    let slot = cluster.slot_of(load.bed.keys.public()).await.unwrap();
    let replica = cluster.replicas_of(0).await.unwrap()[0];
    let asked = Instant::now();
    // The primary holds its clients until the replica has everything.
    cluster.nodes()[replica].cli(&["CLUSTER", "FAILOVER"]).await.unwrap();
    until("the takeover", async || (cluster.owner_of(slot).await.ok()? == replica).then_some(())).await;
    load.traffic(100).await;
    let books = load.finish().await;
    books.publish("planned", books.recovery(asked, asked));
    assert_eq!(books.lost.len(), 0);
}

#[tokio::test]
async fn a_primary_without_a_replica_comes_back_to_what_it_held() {
    let node = TestServer::builder().append_only(true).config("cluster-require-full-coverage", "no");
    let cluster: &'static TestCluster = Box::leak(Box::new(TestCluster::start_with(3, node).await.unwrap()));
    let (hit, bystander) = tokio::join!(load_on(cluster, 0, "alone"), load_on(cluster, 1, "bystander"));
    let fault = Instant::now();
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
    eprintln!("beside it {went_on} messages in the outage");
    books.publish("its queue", books.recovery(back, back));
    beside.publish("a queue beside it", beside.recovery(fault, gone));
    assert_eq!((books.lost.len(), beside.lost.len()), (0, 0));
}
