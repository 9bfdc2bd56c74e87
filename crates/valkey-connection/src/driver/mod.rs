//! The driver, configured and guarded. Everything that keeps fred from hanging or repeating is set here, once.
//!
//! A [`Link`] is one driver client with the task that runs it. It is never repaired: when it is suspected to be dead it
//! is replaced by a fresh one, because neither the driver's `state()` nor its `force_reconnection()` can be trusted
//! (docs/adr/0002-fred-behind-one-crate.md).

mod errors;
mod link;

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error as FredError;
use fred::types::RespVersion;
use fred::types::config::{
    Blocking, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, TlsConfig,
    UnresponsiveConfig,
};
use tokio::time::Instant;

pub(crate) use self::link::{Link, Request, slot_of, values};
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind, Origin};
use crate::settings::{ConnectionSettings, Mode};
use crate::{endpoint, tls};

/// How long a cluster that is just forming may take to say `cluster_state:ok`.
const CLUSTER_READY: Duration = Duration::from_secs(10);
/// Between two looks at a cluster that is not ready.
const CLUSTER_RETRY: Duration = Duration::from_millis(200);

/// Makes links: settings, turned into the driver's terms once.
pub(crate) struct Driver {
    settings: ConnectionSettings,
    origin: Arc<Origin>,
    credentials: Arc<Credentials>,
    tls: Option<TlsConfig>,
}

impl Driver {
    pub(crate) fn new(settings: &ConnectionSettings) -> Result<Self, Error> {
        let origin = endpoint::origin(settings);
        let tls = tls::configure(settings).map_err(|error| error.with_origin(&origin))?;
        endpoint::server_config(settings).map_err(|error| error.with_origin(&origin))?;
        Ok(Self {
            settings: settings.clone(),
            credentials: Arc::new(Credentials::new(settings)),
            origin,
            tls,
        })
    }

    pub(crate) fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// As [`connect`](Self::connect), but gives a cluster that is just forming, or failing over, time to get ready.
    pub(crate) async fn connect_when_ready(&self) -> Result<Link, Error> {
        let give_up = Instant::now() + CLUSTER_READY;
        loop {
            match self.connect().await {
                Err(error)
                    if self.settings.mode == Mode::Cluster
                        && error.kind() == ErrorKind::Transient
                        && Instant::now() < give_up =>
                {
                    tokio::time::sleep(CLUSTER_RETRY).await;
                }
                result => return result,
            }
        }
    }

    /// Connects a new link; the driver's task runs on the current runtime.
    pub(crate) async fn connect(&self) -> Result<Link, Error> {
        let server = endpoint::server_config(&self.settings)?;
        let clustered = server.is_clustered();
        // The driver would log in to the Sentinels with what its credential provider says, and forget theirs. With
        // Sentinels it gets fixed credentials; a refused login makes us build a fresh client, which has fresh ones.
        let (username, password, provider) = if server.is_sentinel() {
            let (username, password) =
                self.credentials.read().await.map_err(|error| self.connect_error(&error))?;
            (username, password, None)
        } else {
            (None, None, Some(Arc::clone(&self.credentials) as _))
        };
        let config = Config {
            // Applies to the first connect only: fail with the reason instead of retrying behind our back.
            fail_fast: true,
            blocking: Blocking::Block,
            server,
            version: RespVersion::RESP3,
            database: self.database(),
            tls: self.tls.clone(),
            username,
            password,
            credential_provider: provider,
        };
        let client =
            Client::new(config, Some(self.performance()), Some(self.connection()), Some(reconnect_policy()));
        // The driver bounds each step, not the whole; several hosts and steps add up.
        let link = Link::start(client, &self.origin, clustered, self.settings.dial_timeout)
            .await
            .map_err(|error| error.with_origin(&self.origin))?;
        link.introduce(&self.settings).await;
        Ok(link)
    }

    fn database(&self) -> Option<u8> {
        match self.settings.effective_database() {
            0 => None,
            number => u8::try_from(number).ok(),
        }
    }

    fn performance(&self) -> PerformanceConfig {
        PerformanceConfig {
            // The driver's default is to wait for ever.
            default_command_timeout: self.settings.read_timeout,
            broadcast_channel_capacity: 256,
            ..PerformanceConfig::default()
        }
    }

    fn connection(&self) -> ConnectionConfig {
        ConnectionConfig {
            connection_timeout: self.settings.dial_timeout,
            internal_command_timeout: self.settings.dial_timeout,
            // A second attempt can execute a write twice.
            max_command_attempts: 1,
            // Its redirections are attempts, too: we follow them ourselves.
            max_redirections: 0,
            max_command_buffer_len: self.settings.max_queued_commands,
            // It would refuse to connect as a user who may not set a name: `Link::introduce` does it instead.
            auto_client_setname: false,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(self.settings.read_timeout.saturating_mul(2).max(Duration::from_secs(5))),
                interval: Duration::from_secs(1),
            },
            tcp: TcpConfig {
                nodelay: Some(self.settings.tcp_nodelay),
                keepalive: Some(
                    socket2::TcpKeepalive::new()
                        .with_time(Duration::from_secs(15))
                        .with_interval(Duration::from_secs(5))
                        .with_retries(3),
                ),
                #[cfg(target_os = "linux")]
                user_timeout: Some(self.settings.write_timeout),
                ..TcpConfig::default()
            },
            // Replies that the driver would take for a broken connection, losing whatever else is in flight. We see
            // them as replies, with a known outcome, and replace the link ourselves.
            reconnect_errors: Vec::new(),
            ..ConnectionConfig::default()
        }
    }

    /// What an error means that the driver reports while it connects, also in the background.
    pub(crate) fn connect_error(&self, error: &FredError) -> Error {
        errors::of_connect(error).with_origin(&self.origin)
    }
}

/// For ever, from 100 ms to 5 s, with jitter. A policy that ends leaves a client whose calls hang.
fn reconnect_policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_exponential(0, 100, 5_000, 2);
    policy.set_jitter(100);
    policy
}
