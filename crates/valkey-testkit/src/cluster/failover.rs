//! Nodes that take over from others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{SLOTS, TestCluster};
use crate::poll::{self, ask};
use crate::{TestServer, TestkitError};

/// Failover.
impl TestCluster {
    /// Waits until every slot is held by a primary that runs, by the word of every node that runs: after the death
    /// of a primary, until a replica has taken over and all know.
    ///
    /// # Errors
    /// [`TestkitError::Timeout`] with what was seen last.
    pub async fn wait_until_writable(&self, limit: Duration) -> Result<(), TestkitError> {
        poll::wait(limit, "every slot to have a primary that runs", async || {
            let running: Vec<_> = self.nodes.iter().filter(|node| node.answers()).collect();
            let addresses: BTreeSet<_> = running.iter().map(|node| node.address()).collect();
            for node in running {
                let name = node.address();
                let info = ask(node, &["CLUSTER", "INFO"]).await.ok_or("a node has stopped answering")?;
                let nodes = ask(node, &["CLUSTER", "NODES"]).await.ok_or("a node has stopped answering")?;
                let held = slots_held(&nodes, |address| addresses.contains(address));
                if held != SLOTS || !info.contains("cluster_state:ok") {
                    return Err(format!("by {name}, {held} slots are held by nodes that run"));
                }
            }
            Ok(())
        })
        .await
    }

    /// The numbers of the nodes that are replicas of this one now, those that do not answer left out.
    ///
    /// # Errors
    /// As [`TestServer::cli`]; [`TestkitError::Invalid`] for a number of no node.
    pub async fn replicas_of(&self, primary: usize) -> Result<Vec<usize>, TestkitError> {
        let none = || TestkitError::Invalid(format!("there is no node {primary}"));
        let (host, port) = self.nodes.get(primary).map(TestServer::host_and_port).ok_or_else(none)?;
        let mut replicas = Vec::new();
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.answers()) {
            let role = node.cli(&["ROLE"]).await?;
            if role.lines().take(3).eq(["slave", &host, &port]) {
                replicas.push(number);
            }
        }
        Ok(replicas)
    }
}

/// How many slots have an owner that is in order and of which this holds.
fn slots_held(nodes: &str, runs: impl Fn(&str) -> bool) -> usize {
    let fields = nodes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let held = fields.filter(|fields| {
        let [_, address, flags, ..] = fields[..] else { return false };
        let address = address.split('@').next().unwrap_or_default();
        let in_order = flags.split(',').all(|flag| flag == "myself" || flag == "master");
        in_order && (flags.contains("myself") || runs(address))
    });
    held.flat_map(|fields| fields.into_iter().skip(8).map(length)).sum()
}

/// How many slots a range of `CLUSTER NODES` has. Moves in progress, in brackets, have none.
fn length(range: &str) -> usize {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => last + 1 - first,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slots_of_primaries_that_run_are_held() {
        let nodes = "a h:1@2 myself,master - 0 0 1 connected 0-9 20 [7->-0123abc]\n\
                     b h:3@4,name master,fail - 0 0 1 connected 30-39\n\
                     c h:5@6 master - 0 0 1 connected 40-49\n\
                     d h:7@8 master - 0 0 1 connected 50\n\
                     e h:9@0 slave a 0 0 1 connected\n";
        assert_eq!(slots_held(nodes, |address| address == "h:5" || address == "h:3"), 11 + 10);
    }
}
