//! The sentinels and what they do.

use std::time::Duration;

use futures::future::join_all;

use super::TestReplication;
use crate::poll::{ask, wait};
use crate::{TestServer, TestkitError};

/// Finding each other takes them some seconds.
const FORMATION: Duration = Duration::from_mins(1);
/// One failover is over for them when all replicas follow the new primary; they look at these every ten seconds.
const READINESS: Duration = Duration::from_secs(30);

/// Sentinels.
impl TestReplication {
    /// The sentinels. Each can be killed, paused and restarted like any [`TestServer`].
    pub fn sentinels(&self) -> &[TestServer] {
        &self.sentinels
    }

    /// The `host:port` of each sentinel.
    pub fn sentinel_addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(TestServer::address).collect()
    }

    /// The name under which the sentinels know the primary.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Lets the sentinels make a replica the primary, though nothing is wrong with the one there is
    /// (`SENTINEL FAILOVER`). Returns when it has begun: see [`wait_for_new_primary`](Self::wait_for_new_primary).
    ///
    /// # Errors
    /// [`TestkitError::Timeout`] with the sentinel's reason: a while after another failover they refuse, and as long
    /// as they know of no replica that is up to date. [`TestkitError::Invalid`] without sentinels.
    pub async fn failover(&self) -> Result<(), TestkitError> {
        self.begin_failover(&[]).await
    }

    /// The same, but the primary is asked to hand over, and holds back writes until the replica has all of them
    /// (`SENTINEL FAILOVER ... COORDINATED`, from Valkey 9.0 on). Returns when it has begun.
    ///
    /// # Errors
    /// As [`failover`](Self::failover).
    pub async fn failover_coordinated(&self) -> Result<(), TestkitError> {
        self.begin_failover(&["COORDINATED"]).await
    }

    async fn begin_failover(&self, how: &[&str]) -> Result<(), TestkitError> {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.answers());
        let sentinel = sentinel.ok_or_else(|| TestkitError::Invalid("no sentinel runs".to_owned()))?;
        let command = [&["SENTINEL", "FAILOVER", &self.service][..], how].concat();
        wait(READINESS, "the sentinels to begin a failover", async || {
            let answer = sentinel.cli(&command).await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// Waits until another server than `old` is the primary, by its own word and by that of all sentinels that run,
    /// and returns its number.
    ///
    /// # Errors
    /// [`TestkitError::Timeout`] with what was seen last.
    pub async fn wait_for_new_primary(&self, old: usize, limit: Duration) -> Result<usize, TestkitError> {
        wait(limit, "a new primary", async || {
            let primary = self.primary().await.map_err(|error| error.to_string())?;
            if primary == old {
                return Err(format!("server {old} still is the primary"));
            }
            let address = self.servers[primary].address();
            let named = self.named().await;
            if named.iter().flatten().any(|named| *named != address) {
                return Err(format!("{address} says it is the primary, the sentinels name {named:?}"));
            }
            Ok(primary)
        })
        .await
    }

    /// Waits until every sentinel knows all the others and finds nothing wrong with any server.
    pub(super) async fn wait_until_watched(&self) -> Result<(), TestkitError> {
        for sentinel in &self.sentinels {
            wait(FORMATION, "the sentinels to know all servers", || self.is_watched_by(sentinel)).await?;
        }
        Ok(())
    }

    async fn is_watched_by(&self, sentinel: &TestServer) -> Result<(), String> {
        let service = self.service.as_str();
        let asked = async |command| {
            let answer = sentinel.cli(&["SENTINEL", command, service]).await;
            answer.map_err(|error| error.to_string())
        };
        let quorum = asked("CKQUORUM").await?;
        if !quorum.starts_with(&format!("OK {} usable", self.sentinels.len())) {
            return Err(quorum);
        }
        let primary = asked("MASTER").await?;
        if value(&primary, "flags").next() != Some("master") {
            return Err(primary.replace('\n', " "));
        }
        let replicas = asked("REPLICAS").await?;
        let fine = value(&replicas, "flags").filter(|flags| *flags == "slave").count();
        let linked = value(&replicas, "master-link-status").filter(|status| *status == "ok").count();
        if fine != self.servers.len() - 1 || linked != fine {
            return Err(format!("of its replicas, {fine} are fine and {linked} linked"));
        }
        Ok(())
    }

    /// The server that more than half of all sentinels name.
    pub(super) async fn named_by_sentinels(&self) -> Option<usize> {
        let named = self.named().await;
        let votes = |address: &str| named.iter().flatten().filter(|named| *named == address).count();
        self.servers.iter().position(|server| votes(&server.address()) > self.sentinels.len() / 2)
    }

    /// The address of the primary by the word of each sentinel that answers.
    async fn named(&self) -> Vec<Option<String>> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.service];
        let answers = join_all(self.sentinels.iter().map(|sentinel| ask(sentinel, &command))).await;
        answers.into_iter().map(|answer| Some(answer?.replace('\n', ":"))).collect()
    }
}

/// Each value of this name in an answer that gives name and value in turn, line by line.
fn value<'a>(answer: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let (names, values) = (answer.lines(), answer.lines().skip(1));
    names.zip(values).step_by(2).filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_name_only() {
        let answer = "name\nflags\nflags\nslave\nname\nother\nflags\nslave,s_down";
        assert_eq!(value(answer, "flags").collect::<Vec<_>>(), ["slave", "slave,s_down"]);
    }
}
