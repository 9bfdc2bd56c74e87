//! What a cluster should be like, and how its nodes come together.

use std::time::Duration;

use futures::future::try_join_all;

use super::{SLOTS, TestCluster};
use crate::poll::{self, field};
use crate::{TestServer, TestServerBuilder, TestkitError};

/// Meeting, agreeing on epochs and telling each other takes some seconds on a small machine.
const FORMATION: Duration = Duration::from_mins(1);

/// A cluster to be. Made by [`TestCluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder starts nothing until `start`"]
pub struct TestClusterBuilder {
    primaries: usize,
    replicas: usize,
    node: TestServerBuilder,
}

impl Default for TestClusterBuilder {
    fn default() -> Self {
        Self { primaries: 3, replicas: 0, node: TestServer::builder() }
    }
}

impl TestClusterBuilder {
    /// How many primaries; 3 if not said. A replica takes over by the vote of more than half of them, so that takes
    /// three.
    pub fn primaries(mut self, primaries: usize) -> Self {
        self.primaries = primaries;
        self
    }

    /// How many replicas each primary has; none if not said.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// What all nodes are like: configuration, append-only file, TLS, users.
    pub fn node(mut self, node: TestServerBuilder) -> Self {
        self.node = node;
        self
    }

    /// Starts them and waits until all primaries can be written to, every replica has its primary's data, and every
    /// node knows of all that.
    ///
    /// # Errors
    /// As [`TestServerBuilder::start`]; [`TestkitError::Timeout`] when the nodes do not come together in a minute;
    /// [`TestkitError::Invalid`] without a primary.
    ///
    /// # Cancel safety
    /// Nodes that were started are ended when it is no longer awaited.
    pub async fn start(self) -> Result<TestCluster, TestkitError> {
        if self.primaries == 0 {
            return Err(TestkitError::Invalid("a cluster needs a primary".to_owned()));
        }
        let node = self.node.cluster()?;
        let starting = (0..self.primaries * (1 + self.replicas)).map(|_| node.clone().start());
        let cluster = TestCluster { nodes: try_join_all(starting).await? };
        cluster.join(self.primaries).await?;
        Ok(cluster)
    }
}

impl TestCluster {
    async fn join(&self, primaries: usize) -> Result<(), TestkitError> {
        for (number, node) in self.nodes[..primaries].iter().enumerate() {
            let (first, last) = (number * SLOTS / primaries, (number + 1) * SLOTS / primaries - 1);
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
            // Else the nodes find out by collisions which of them is the newer one.
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await?;
        }
        for other in &self.nodes[1..] {
            let (host, port) = other.host_and_port();
            self.nodes[0].cli(&["CLUSTER", "MEET", &host, &port, &other.bus_port()]).await?;
        }
        self.wait_until_ok(FORMATION).await?;
        for (number, replica) in self.nodes.iter().enumerate().skip(primaries) {
            let primary = self.nodes[number % primaries].cli(&["CLUSTER", "MYID"]).await?;
            // A node counts as known before its name is.
            poll::wait(FORMATION, "a replica to know its primary", async || {
                let answer = replica.cli(&["CLUSTER", "REPLICATE", &primary]).await;
                answer.map(drop).map_err(|error| error.to_string())
            })
            .await?;
        }
        poll::wait(FORMATION, "all nodes to be known by name and up to date", || self.is_formed(primaries))
            .await
    }

    /// A replica that never finished its first synchronisation does not take over, and one of which the others do
    /// not know gets no vote.
    async fn is_formed(&self, primaries: usize) -> Result<(), String> {
        for (number, node) in self.nodes.iter().enumerate() {
            let ask = async |command: &[&str]| node.cli(command).await.map_err(|error| error.to_string());
            let nodes = ask(&["CLUSTER", "NODES"]).await?;
            if nodes.contains("handshake") {
                return Err(format!("{} does not know all names yet", node.address()));
            }
            let known = nodes.lines().filter(|line| line.contains("slave")).count();
            if known != self.nodes.len() - primaries {
                return Err(format!("{} knows {known} replicas", node.address()));
            }
            let info = ask(&["INFO", "replication"]).await?;
            if number >= primaries && field(&info, "master_link_status") != "up" {
                return Err(format!("{} has no link to its primary", node.address()));
            }
        }
        Ok(())
    }
}
