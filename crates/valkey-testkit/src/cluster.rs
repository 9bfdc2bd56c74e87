//! A cluster for tests.

mod builder;
mod failover;
mod migration;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::{TestServer, TestServerBuilder, TestkitError, poll};

pub use builder::TestClusterBuilder;
pub use migration::SlotMigration;

const SLOTS: usize = 16_384;

/// Several primaries that share the 16,384 slots, with replicas that take over if asked for. Dropping it ends them
/// all.
///
/// ```no_run
/// # async fn f() -> Result<(), valkey_testkit::TestkitError> {
/// use valkey_testkit::TestCluster;
///
/// let cluster = TestCluster::start(3).await?;
/// cluster.cli(&["SET", "{q}x", "1"]).await?; // follows redirections
/// let slot = cluster.slot_of("{q}x").await?;
/// let to = (cluster.owner_of(slot).await? + 1) % 3;
/// cluster.migrate_slot(slot, to).await?;
///
/// let cluster = TestCluster::builder().primaries(3).replicas(1).start().await?;
/// cluster.nodes()[0].kill().await?;
/// cluster.wait_until_writable(std::time::Duration::from_secs(30)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TestCluster {
    nodes: Vec<TestServer>,
}

/// Making it.
impl TestCluster {
    /// A cluster of three primaries without replicas, unless told otherwise.
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder::default()
    }

    /// Starts a cluster of so many primaries, without replicas, and waits until all of them can be written to.
    ///
    /// # Errors
    /// As [`TestClusterBuilder::start`].
    ///
    /// # Cancel safety
    /// Nodes that were started are ended when it is no longer awaited.
    pub async fn start(primaries: usize) -> Result<Self, TestkitError> {
        Self::builder().primaries(primaries).start().await
    }

    /// Starts a cluster of nodes that are all like `node`: with TLS, users or an append-only file.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(primaries: usize, node: TestServerBuilder) -> Result<Self, TestkitError> {
        Self::builder().primaries(primaries).node(node).start().await
    }
}

/// Where it is.
impl TestCluster {
    /// Its nodes: the first primaries, then the first replicas, in the order of their primaries, all first ones before
    /// the second. Their numbers stay, their roles may change. Each can be killed, paused and restarted like any [`TestServer`].
    pub fn nodes(&self) -> &[TestServer] {
        &self.nodes
    }

    /// The URL of each node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(TestServer::url).collect()
    }

    /// The `host:port` of each node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(TestServer::address).collect()
    }
}

/// Certificates, with TLS only: one authority for all nodes.
impl TestCluster {
    /// The certificate of the authority that signed the nodes' own.
    pub fn tls_ca_path(&self) -> Option<&Path> {
        self.nodes[0].tls_ca_path()
    }

    /// A certificate that the nodes accept from clients.
    pub fn tls_client_certificate_path(&self) -> Option<&Path> {
        self.nodes[0].tls_client_certificate_path()
    }

    /// The key of that certificate.
    pub fn tls_client_key_path(&self) -> Option<&Path> {
        self.nodes[0].tls_client_key_path()
    }
}

/// Asking it.
impl TestCluster {
    /// Runs `valkey-cli -c` against a node that runs, which follows redirections to others. See [`TestServer::cli`].
    ///
    /// # Errors
    /// As [`TestServer::cli`].
    pub async fn cli(&self, arguments: &[&str]) -> Result<String, TestkitError> {
        self.any().cli(&[&["-c"], arguments].concat()).await
    }

    /// Like [`cli`](Self::cli) for any bytes. See [`TestServer::cli_raw`].
    ///
    /// # Errors
    /// As [`TestServer::cli_raw`].
    pub async fn cli_raw(
        &self,
        arguments: &[&str],
        stdin: impl Into<Bytes>,
    ) -> Result<Vec<u8>, TestkitError> {
        self.any().cli_raw(&[&["-c"], arguments].concat(), stdin).await
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// As [`TestServer::cli`].
    pub async fn slot_of(&self, key: &str) -> Result<u16, TestkitError> {
        let answer = self.any().cli(&["CLUSTER", "KEYSLOT", key]).await?;
        answer.parse().map_err(|_| TestkitError::Invalid(format!("CLUSTER KEYSLOT answered {answer:?}")))
    }

    /// Which of [`nodes`](Self::nodes) holds a slot now.
    ///
    /// # Errors
    /// As [`TestServer::cli`]; [`TestkitError::Invalid`] when none does that answers.
    pub async fn owner_of(&self, slot: u16) -> Result<usize, TestkitError> {
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.answers()) {
            // Each knows its own slots best; what it knows of others may be old.
            let nodes = node.cli(&["CLUSTER", "NODES"]).await?;
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            if own.split_whitespace().skip(8).any(|range| holds(range, slot)) {
                return Ok(number);
            }
        }
        Err(TestkitError::Invalid(format!("no running node holds slot {slot}")))
    }

    /// Waits until every node that runs says `cluster_state:ok` and knows all the others. Without a primary that
    /// has no replica this never comes.
    ///
    /// # Errors
    /// [`TestkitError::Timeout`] with what the nodes said last.
    pub async fn wait_until_ok(&self, limit: Duration) -> Result<(), TestkitError> {
        let all = format!("cluster_known_nodes:{}", self.nodes.len());
        self.wait_for(limit, "all nodes to say cluster_state:ok", |info| {
            info.contains("cluster_state:ok") && info.lines().any(|line| line.trim_end() == all)
        })
        .await
    }

    /// Waits until every node that runs says `cluster_state:fail`, as after the death of a primary: until then they
    /// still serve.
    ///
    /// # Errors
    /// [`TestkitError::Timeout`] with what the nodes said last.
    pub async fn wait_until_down(&self, limit: Duration) -> Result<(), TestkitError> {
        self.wait_for(limit, "all nodes to say cluster_state:fail", |info| {
            info.contains("cluster_state:fail")
        })
        .await
    }

    async fn wait_for(
        &self,
        limit: Duration,
        what: &str,
        until: impl Fn(&str) -> bool,
    ) -> Result<(), TestkitError> {
        poll::wait(limit, what, async || {
            for node in self.nodes.iter().filter(|node| node.answers()) {
                let info = node.cli(&["CLUSTER", "INFO"]).await.map_err(|error| error.to_string())?;
                if !until(&info) {
                    let last = info.lines().take(6).collect::<Vec<_>>();
                    return Err(format!("{} says {last:?}", node.address()));
                }
            }
            Ok(())
        })
        .await
    }

    fn any(&self) -> &TestServer {
        self.nodes.iter().find(|node| node.answers()).unwrap_or(&self.nodes[0])
    }
}

/// Whether a range of `CLUSTER NODES`, as `5` or `0-5461`, holds a slot. Moves in progress, in brackets, do not.
fn holds(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&slot),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_cluster_nodes_are_understood() {
        assert!(holds("0-5461", 5461) && holds("7", 7));
        assert!(!holds("0-5461", 5462) && !holds("[7->-0123abc]", 7) && !holds("[7-<-0123abc]", 7));
    }
}
