//! What a primary and its replicas should be like.

use std::time::Duration;

use futures::future::try_join_all;

use super::TestReplication;
use crate::builder::Monitor;
use crate::{FaultProxy, TestServer, TestServerBuilder, TestkitError};

/// The name of what the sentinels watch.
const SERVICE: &str = "valkit";

/// Below this a busy machine is taken for a dead server.
const DOWN_AFTER: Duration = Duration::from_millis(1500);

/// A failover that gets stuck is tried again after twice this time.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(6);

/// A primary with replicas to be. Made by [`TestReplication::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder starts nothing until `start`"]
pub struct TestReplicationBuilder {
    replicas: usize,
    sentinels: usize,
    server: TestServerBuilder,
    down_after: Duration,
}

impl Default for TestReplicationBuilder {
    fn default() -> Self {
        Self { replicas: 1, sentinels: 0, server: TestServer::builder(), down_after: DOWN_AFTER }
    }
}

impl TestReplicationBuilder {
    /// How many replicas; 1 if not said.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// How many sentinels watch them; none if not said. More than half of them have to agree, 2 of 3.
    pub fn sentinels(mut self, sentinels: usize) -> Self {
        self.sentinels = sentinels;
        self
    }

    /// What all servers are like: configuration, append-only file, TLS, users. Replicas and sentinels come in with
    /// the password, or, where the default user is off, with the user that [`TestServer::cli`] has.
    pub fn server(mut self, server: TestServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// After how long without an answer a sentinel takes a server for dead; 1.5 s if not said.
    pub fn down_after(mut self, down_after: Duration) -> Self {
        self.down_after = down_after;
        self
    }

    /// Starts them all and waits until every replica has the primary's data, and the sentinels know each other and
    /// every replica.
    ///
    /// # Errors
    /// As [`TestServerBuilder::start`]; [`TestkitError::Timeout`] when they do not come together in a minute;
    /// [`TestkitError::NeedsOwnServer`] with `VALKIT_TEST_URL`.
    ///
    /// # Cancel safety
    /// Servers that were started are ended when it is no longer awaited.
    pub async fn start(self) -> Result<TestReplication, TestkitError> {
        let template = self.server.replication()?;
        let servers = try_join_all((0..=self.replicas).map(|_| template.clone().start())).await?;
        let mut started = TestReplication {
            servers,
            links: Vec::new(),
            sentinels: Vec::new(),
            service: SERVICE.to_owned(),
        };
        let primary = started.servers[0].address();
        if self.sentinels == 0 {
            let links = started.servers.iter().map(|server| FaultProxy::start_for(server, &primary));
            started.links = try_join_all(links).await?;
        }
        for replica in 1..=self.replicas {
            started.follow(replica, 0).await?;
        }
        started.wait_synced().await?;
        if self.sentinels > 0 {
            let monitor = Monitor {
                service: SERVICE.to_owned(),
                primary: started.servers[0].host_and_port(),
                quorum: self.sentinels / 2 + 1,
                down_after: self.down_after,
                failover_timeout: FAILOVER_TIMEOUT.max(self.down_after * 2),
                credentials: template.operator(),
            };
            let sentinel = template.sentinel(monitor);
            started.sentinels = try_join_all((0..self.sentinels).map(|_| sentinel.clone().start())).await?;
            started.wait_until_watched().await?;
        }
        Ok(started)
    }
}
