//! Moving slots from node to node.

use crate::{TestCluster, TestServer, TestkitError};

/// A slot half way from one node to another: keys that were moved are on the new node, the others still on the old
/// one, and a command on keys of both gets `-TRYAGAIN`.
///
/// Dropping this leaves the slot as it is, half way.
#[derive(Debug)]
#[must_use = "the slot stays half way until `finish`"]
pub struct SlotMigration<'a> {
    cluster: &'a TestCluster,
    slot: u16,
    from: usize,
    to: usize,
}

/// Moving slots.
impl TestCluster {
    /// Moves a slot with all its keys to a node, and waits until all nodes know.
    ///
    /// # Errors
    /// As [`TestServer::cli`].
    pub async fn migrate_slot(&self, slot: u16, to: usize) -> Result<(), TestkitError> {
        if self.owner_of(slot).await? == to {
            return Ok(());
        }
        self.begin_slot_migration(slot, to).await?.finish().await
    }

    /// Opens a slot for its way to a node and moves no key yet.
    ///
    /// # Errors
    /// As [`TestServer::cli`]; [`TestkitError::Invalid`] when it is there already.
    pub async fn begin_slot_migration(
        &self,
        slot: u16,
        to: usize,
    ) -> Result<SlotMigration<'_>, TestkitError> {
        let from = self.owner_of(slot).await?;
        if from == to || to >= self.nodes.len() {
            return Err(TestkitError::Invalid(format!(
                "slot {slot} cannot move from node {from} to node {to}"
            )));
        }
        let (old, new) = (&self.nodes[from], &self.nodes[to]);
        let number = slot.to_string();
        new.cli(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &id(old).await?]).await?;
        old.cli(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &id(new).await?]).await?;
        Ok(SlotMigration { cluster: self, slot, from, to })
    }
}

impl SlotMigration<'_> {
    /// Moves one key, and says whether it was there to be moved.
    ///
    /// # Errors
    /// As [`TestServer::cli`].
    pub async fn move_key(&self, key: &str) -> Result<bool, TestkitError> {
        let (old, new) = (&self.cluster.nodes[self.from], &self.cluster.nodes[self.to]);
        let (host, port) = new.host_and_port();
        let mut command = vec!["MIGRATE", &host, &port, key, "0", "10000"];
        let credentials = new.credentials();
        if let Some((user, password)) = &credentials {
            command.extend(["AUTH2", user, password]);
        }
        Ok(old.cli(&command).await? == "OK")
    }

    /// Moves at most `count` of the keys that are still on the old node, and says how many it moved.
    ///
    /// # Errors
    /// As [`TestServer::cli`].
    pub async fn move_keys(&self, count: usize) -> Result<usize, TestkitError> {
        let old = &self.cluster.nodes[self.from];
        let keys = old.cli(&["CLUSTER", "GETKEYSINSLOT", &self.slot.to_string(), &count.to_string()]).await?;
        let mut moved = 0;
        for key in keys.lines() {
            moved += usize::from(self.move_key(key).await?);
        }
        Ok(moved)
    }

    /// Moves what is left, gives the slot to the new node, and waits until all nodes know.
    ///
    /// # Errors
    /// As [`TestServer::cli`].
    pub async fn finish(self) -> Result<(), TestkitError> {
        while self.move_keys(100).await? > 0 {}
        let nodes = &self.cluster.nodes;
        let owner = id(&nodes[self.to]).await?;
        let slot = self.slot.to_string();
        // The new owner first: the other way round nobody would hold the slot for a moment.
        let others = (0..nodes.len()).filter(|number| *number != self.to);
        for number in std::iter::once(self.to).chain(others) {
            // Replicas hear of it from their primaries.
            if nodes[number].answers() && nodes[number].cli(&["ROLE"]).await?.starts_with("master") {
                nodes[number].cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &owner]).await?;
            }
        }
        Ok(())
    }
}

async fn id(node: &TestServer) -> Result<String, TestkitError> {
    node.cli(&["CLUSTER", "MYID"]).await
}
