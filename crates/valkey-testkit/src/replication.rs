//! A primary with replicas, and sentinels over them if asked for.

mod builder;
mod roles;
mod sentinel;

use crate::{FaultProxy, TestServer, TestkitError};

pub use builder::TestReplicationBuilder;

/// A primary and its replicas, each a [`TestServer`] that can be killed, paused and restarted. Dropping it ends them
/// all.
///
/// Without sentinels the stream of each replica runs through a [`FaultProxy`] of its own, and the test promotes:
///
/// ```no_run
/// # async fn f() -> Result<(), valkey_testkit::TestkitError> {
/// use valkey_testkit::TestReplication;
///
/// let servers = TestReplication::builder().replicas(1).start().await?;
/// servers.link(1).black_hole(); // the replica hears nothing more
/// servers.servers()[0].cli(&["SET", "a", "1"]).await?;
/// servers.servers()[0].kill().await?;
/// servers.promote(1).await?;
/// assert_eq!(servers.servers()[1].cli(&["EXISTS", "a"]).await?, "0"); // lost
/// # Ok(()) }
/// ```
///
/// With sentinels these promote, and clients find the primary through them:
///
/// ```no_run
/// # async fn f() -> Result<(), valkey_testkit::TestkitError> {
/// use std::time::Duration;
/// use valkey_testkit::{TestReplication, TestServer};
///
/// let servers = TestReplication::builder()
///     .replicas(2)
///     .sentinels(3)
///     .server(TestServer::builder().append_only(true).password("s3cret"))
///     .down_after(Duration::from_millis(1500))
///     .start()
///     .await?;
/// let (_ask, _about) = (servers.sentinel_addresses(), servers.service());
/// servers.servers()[0].kill().await?;
/// let new = servers.wait_for_new_primary(0, Duration::from_secs(30)).await?;
/// servers.servers()[0].restart().await?; // the sentinels make it a replica
/// servers.wait_synced().await?;
/// assert_eq!(servers.primary().await?, new);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TestReplication {
    servers: Vec<TestServer>,
    /// One for each server, or none with sentinels.
    links: Vec<FaultProxy>,
    sentinels: Vec<TestServer>,
    service: String,
}

/// Making it, and where it is.
impl TestReplication {
    /// A primary with one replica and no sentinel, unless told otherwise.
    pub fn builder() -> TestReplicationBuilder {
        TestReplicationBuilder::default()
    }

    /// The servers: the first primary, then its first replicas. Their numbers stay, their roles may change.
    pub fn servers(&self) -> &[TestServer] {
        &self.servers
    }

    /// The `host:port` of each server.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(TestServer::address).collect()
    }

    /// What the stream of this server from its primary runs through. That of the primary is idle until it follows
    /// another.
    ///
    /// # Panics
    /// With sentinels, which tell replicas where to connect to: then there are none. And for a number of no server.
    pub fn link(&self, server: usize) -> &FaultProxy {
        assert!(self.sentinels.is_empty(), "with sentinels, replicas connect to their primary directly");
        &self.links[server]
    }

    fn server(&self, number: usize) -> Result<&TestServer, TestkitError> {
        let count = self.servers.len();
        let none = || TestkitError::Invalid(format!("there is no server {number}, only {count}, from 0"));
        self.servers.get(number).ok_or_else(none)
    }
}
