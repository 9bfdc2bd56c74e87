//! All of it as one thing that binds, runs and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use valkey_connection::Connection;
use valkey_ratelimit::{LimitError, NodeId};
use valkit_service::Shutdown;
use valkit_service::http::Http;

use crate::gate::Gate;
use crate::http::{self, NodeSite};
use crate::limits::Limits;
use crate::node;
use crate::policy::{PolicyService, Reload};
use crate::settings::{GuardSettings, Listen, SettingsFile};
use crate::store::Store;

/// A node: its gate, its policy service, its metrics, over one store.
///
/// ```no_run
/// use smtp_guard::{Guard, GuardSettings, Shutdown};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let (settings, _) = GuardSettings::load(Some("/etc/smtp-guard.toml".into()), std::env::vars_os())?;
/// let guard = Guard::bind(settings).await?;
/// let shutdown = Shutdown::new();
/// let running = tokio::spawn(guard.run(shutdown.clone()));
/// tokio::signal::ctrl_c().await?;
/// shutdown.drain();
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Guard {
    settings: Arc<GuardSettings>,
    node: NodeId,
    store: Store,
    gate: Option<Gate>,
    policy: PolicyService,
    reload: Option<Reload>,
    http: Option<Http<NodeSite>>,
}

/// Why a guard does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// An address cannot be listened on.
    #[error("{section}: cannot listen on {address}: {source}")]
    Listen {
        /// The section of the settings it stands in.
        section: &'static str,
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The settings of the connection are wrong.
    #[error(transparent)]
    Store(#[from] valkey_connection::Error),
    /// The limits are none that can be asked.
    #[error("the limits make no sense: {0}")]
    Limits(String),
    /// The store is there, and does not do what is asked of it.
    #[error("the store cannot be asked: {0}")]
    Probe(#[from] LimitError),
    /// A part of it ended before its time. The rest was drained: half a node is no node.
    #[error("a service ended by itself, which is a mistake of this program: {0}")]
    Broken(String),
}

impl Guard {
    /// Listens everywhere, and connects to the store in the background: that it is there is no condition.
    ///
    /// # Errors
    /// [`GuardError`]
    pub async fn bind(settings: GuardSettings) -> Result<Self, GuardError> {
        let settings = Arc::new(settings);
        let node = settings.identity.node_id.clone().unwrap_or_else(node::of_host);
        let store = Store::open(&settings, &node)?;
        let gate = if settings.gate.listen.is_empty() {
            None
        } else {
            let limits = Limits::new(&settings, store.clone())?;
            Some(Gate::bind(&settings, &node, limits)?)
        };
        let policy = PolicyService::bind(&settings, store.clone()).await?;
        let http = http::bind(&settings, &node, store.clone()).await?;
        Ok(Self { settings, node, store, gate, policy, reload: None, http })
    }

    /// Looks at the file of its settings every few seconds, and puts the limits of the policy service into force that stand there
    /// then. A file that is wrong leaves them as they were, and is told of; all else in it waits for a restart.
    #[must_use]
    pub fn watching(mut self, file: SettingsFile) -> Self {
        self.reload = self.policy.reload(file, &self.settings);
        self
    }

    /// Whether a node with these settings could run, as far as can be said without listening anywhere: the store is reached,
    /// and does what is asked of it. Gives what the node is called.
    ///
    /// # Errors
    /// [`GuardError`]
    pub async fn check(settings: &GuardSettings) -> Result<NodeId, GuardError> {
        let node = settings.identity.node_id.clone().unwrap_or_else(node::of_host);
        let connection = Connection::connect(&settings.connection).await?;
        let store = Store::over(connection, settings, &node)?;
        Limits::new(settings, store.clone())?;
        store.probe().await?;
        Ok(node)
    }

    /// What this node is called.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The store that its services share.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where the gate really listens; empty if there is none.
    pub fn gate_addresses(&self) -> Vec<SocketAddr> {
        self.gate.as_ref().map(Gate::addresses).unwrap_or_default()
    }

    /// Where the policy service really listens; empty if there is none.
    pub fn policy_addresses(&self) -> Vec<Listen> {
        self.policy.addresses()
    }

    /// Where metrics and health are served, if they are.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Http::address)
    }

    /// Runs until it is told to end, and everything has ended.
    ///
    /// # Errors
    /// [`GuardError::Broken`]: a service did not run to its end.
    ///
    /// # Cancel safety
    /// Dropped, it ends at once, and what it held counts until its lease ends.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), GuardError> {
        let Self { settings, store, gate, policy, reload, http, node: _ } = self;
        let mut watched = JoinSet::new();
        if let Some(http) = http {
            watched.spawn(http.run(shutdown.clone()));
        }
        let mut services = JoinSet::new();
        services.spawn(store.clone().run(shutdown.clone()));
        if let Some(gate) = gate {
            services.spawn(gate.run(shutdown.clone(), settings.identity.drain_timeout));
        }
        services.spawn(policy.run(shutdown.clone(), settings.identity.drain_timeout));
        if let Some(reload) = reload {
            services.spawn(reload.run(shutdown.clone()));
        }
        let ended = until_all_end(services, &shutdown).await;
        store.close().await;
        // Last: a node that drains is watched.
        watched.shutdown().await;
        ended
    }
}

/// Waits for all services; if one of them breaks, the others are told to end, too.
async fn until_all_end(mut services: JoinSet<()>, shutdown: &Shutdown) -> Result<(), GuardError> {
    let mut ended = Ok(());
    while let Some(service) = services.join_next().await {
        if let Err(broken) = service {
            shutdown.drain();
            ended = Err(GuardError::Broken(broken.to_string()));
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_breaks_ends_the_node_and_is_told() {
        let (shutdown, mut services) = (Shutdown::new(), JoinSet::new());
        let others = shutdown.clone();
        services.spawn(async move { others.draining().await });
        services.spawn(async { panic!("a mistake") });
        let error = until_all_end(services, &shutdown).await.expect_err("one broke");
        assert!(matches!(error, GuardError::Broken(_)), "{error}");

        let (shutdown, mut services) = (Shutdown::new(), JoinSet::new());
        services.spawn(async {});
        assert!(until_all_end(services, &shutdown).await.is_ok() && !shutdown.is_draining());
    }
}
