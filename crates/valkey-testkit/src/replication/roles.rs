//! Who is the primary, and who follows it.

use std::time::Duration;

use futures::future::join_all;

use super::TestReplication;
use crate::TestkitError;
use crate::poll::{ask, field, wait};

/// Loading and copying on a busy machine takes a while.
const SYNC: Duration = Duration::from_mins(1);

/// Roles.
impl TestReplication {
    /// The number of the primary, by the servers' own word. Should several say they are, as after a failover from
    /// one that came back, it is the one that the sentinels name, or that more of the others follow.
    ///
    /// # Errors
    /// [`TestkitError::Invalid`] when none that runs says it is, or there is no telling which.
    pub async fn primary(&self) -> Result<usize, TestkitError> {
        let infos = self.infos().await;
        let mut primaries: Vec<_> =
            infos.iter().enumerate().filter_map(|(number, info)| Some((number, info.as_ref()?))).collect();
        primaries.retain(|(_, info)| field(info, "role") == "master");
        match primaries[..] {
            [(only, _)] => return Ok(only),
            [] => return Err(TestkitError::Invalid("no server that answers is a primary".to_owned())),
            _ => {}
        }
        if let Some(named) = self.named_by_sentinels().await
            && primaries.iter().any(|(number, _)| *number == named)
        {
            return Ok(named);
        }
        let followers = |info: &str| field(info, "connected_slaves").parse::<usize>().unwrap_or_default();
        let most = primaries.iter().map(|(_, info)| followers(info)).max().unwrap_or_default();
        primaries.retain(|(_, info)| followers(info) == most);
        if let [(one, _)] = primaries[..] {
            return Ok(one);
        }
        let numbers: Vec<_> = primaries.iter().map(|(number, _)| number).collect();
        Err(TestkitError::Invalid(format!("servers {numbers:?} all say they are the primary")))
    }

    /// Makes a server the primary (`REPLICAOF NO ONE`), with what it has, and lets all others follow it that run, a
    /// primary before it included. One that does not run comes back as what it was: let it
    /// [`follow`](Self::follow), if it was the primary.
    ///
    /// It does not wait for the others to catch up, since a link may be cut: see
    /// [`wait_synced`](Self::wait_synced).
    ///
    /// # Errors
    /// As [`TestServer::cli`](crate::TestServer::cli); [`TestkitError::Invalid`] with sentinels, which undo what others do: see
    /// [`failover`](Self::failover).
    pub async fn promote(&self, server: usize) -> Result<(), TestkitError> {
        if !self.sentinels.is_empty() {
            return Err(TestkitError::Invalid("promoting is up to the sentinels: see failover".to_owned()));
        }
        let new = self.server(server)?;
        new.cli(&["REPLICAOF", "NO", "ONE"]).await?;
        new.cli(&["CONFIG", "REWRITE"]).await?;
        for other in (0..self.servers.len()).filter(|other| *other != server) {
            if self.servers[other].answers() {
                self.follow(other, server).await?;
            } else {
                self.links[other].set_upstream(&new.address());
            }
        }
        Ok(())
    }

    /// Lets the primary hand over to a replica by itself (`FAILOVER TO`): it holds back writes until the replica has all of
    /// them, and follows it then. Returns when both say that it is done.
    ///
    /// The former primary follows the replica's own address, past its [`link`](Self::link); other replicas go on following
    /// the former primary. Sentinels are not told: see [`failover_coordinated`](Self::failover_coordinated).
    ///
    /// # Errors
    /// As [`TestServer::cli`](crate::TestServer::cli), if the primary refuses; [`TestkitError::Timeout`] if it does not come
    /// to its end in a minute.
    pub async fn hand_over(&self, replica: usize) -> Result<(), TestkitError> {
        let old = self.primary().await?;
        let (host, port) = self.server(replica)?.host_and_port();
        self.servers[old].cli(&["FAILOVER", "TO", &host, &port]).await?;
        wait(SYNC, "the primary to hand over", async || {
            let info = ask(&self.servers[old], &["INFO", "replication"]).await.ok_or("it is silent")?;
            let follows = field(&info, "role") == "slave" && field(&info, "master_link_status") == "up";
            match self.primary().await {
                Ok(primary) if follows && primary == replica => Ok(()),
                Ok(primary) => Err(format!("server {primary} is the primary, server {old} says {info}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Makes a server the replica of another, for good: a restart changes nothing about it. What only it had is
    /// lost once it has synchronised.
    ///
    /// # Errors
    /// As [`TestServer::cli`](crate::TestServer::cli).
    pub async fn follow(&self, server: usize, primary: usize) -> Result<(), TestkitError> {
        let (replica, primary) = (self.server(server)?, self.server(primary)?);
        let (host, port) = match self.links.get(server) {
            None => primary.host_and_port(),
            Some(link) => {
                link.set_upstream(&primary.address());
                // It may be connected to another by the same address.
                link.drop_connections();
                link.host_and_port()
            }
        };
        replica.cli(&["REPLICAOF", &host, &port]).await?;
        replica.cli(&["CONFIG", "REWRITE"]).await?;
        Ok(())
    }

    /// Waits until every other server that runs has all that the primary had when this was called.
    ///
    /// # Errors
    /// [`TestkitError::Timeout`] after a minute, with what the servers said last.
    pub async fn wait_synced(&self) -> Result<(), TestkitError> {
        let mut target: Option<(usize, String, u64)> = None;
        wait(SYNC, "the replicas to catch up", async || {
            let primary = self.primary().await.map_err(|error| error.to_string())?;
            let infos = self.infos().await;
            let info = infos[primary].as_deref().ok_or("the primary does not answer")?;
            let history = field(info, "master_replid");
            if !matches!(&target, Some((number, id, _)) if *number == primary && id == history) {
                target = Some((primary, history.to_owned(), offset(info)));
            }
            let wanted = target.as_ref().map_or(0, |(_, _, offset)| *offset);
            for (number, server) in self.servers.iter().enumerate() {
                if number == primary || !server.answers() {
                    continue;
                }
                let info = infos[number].as_deref().ok_or_else(|| format!("server {number} is silent"))?;
                let follows = field(info, "role") == "slave"
                    && field(info, "master_link_status") == "up"
                    && field(info, "master_replid") == history;
                if !follows || offset(info) < wanted {
                    let said: Vec<_> = info.lines().map(str::trim_end).collect();
                    return Err(format!("server {number} of primary {primary} at {wanted} says {said:?}"));
                }
            }
            Ok(())
        })
        .await
    }

    /// `INFO replication` of each server that answers.
    async fn infos(&self) -> Vec<Option<String>> {
        join_all(self.servers.iter().map(|server| ask(server, &["INFO", "replication"]))).await
    }
}

/// How far a server is in the history of its primary.
fn offset(info: &str) -> u64 {
    let replica = field(info, "slave_repl_offset");
    let offset = if replica.is_empty() { field(info, "master_repl_offset") } else { replica };
    offset.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_as_far_as_it_has_applied() {
        assert_eq!(offset("role:slave\r\nslave_repl_offset:7\r\nmaster_repl_offset:9\r\n"), 7);
        assert_eq!(offset("role:master\r\nmaster_repl_offset:9\r\n"), 9);
    }
}
