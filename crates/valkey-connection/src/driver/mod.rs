//! The driver, configured and guarded. Everything that keeps fred from hanging or repeating is set here, once.
//!
//! A [`Link`] is one driver client with the task that runs it. It is never repaired: when it is suspected to be dead it
//! is replaced by a fresh one, because neither the driver's `state()` nor its `force_reconnection()` can be trusted
//! (docs/adr/0002-fred-behind-one-crate.md).

mod belief;
mod board;
mod errors;
mod link;
mod sentinels;

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error as FredError;
use fred::types::RespVersion;
use fred::types::config::{
    Blocking, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, ServerConfig, TcpConfig,
    TlsConfig, UnresponsiveConfig,
};
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::board::Primary;
use self::link::Returns;
pub(crate) use self::link::{Link, REDIRECT_PAUSE, Request, slot_of, values};
use self::sentinels::Sentinels;
use crate::credentials::Credentials;
use crate::endpoint::{self, Place};
use crate::error::{Error, ErrorKind, Origin, Progress};
use crate::settings::{ConnectionSettings, Mode};
use crate::tls;

/// How long a cluster that is just forming may take to say `cluster_state:ok`, and a promoted replica to be a primary.
const READY: Duration = Duration::from_secs(10);
/// Between two looks at what is not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Makes links: settings, turned into the driver's terms once.
pub(crate) struct Driver {
    dialer: Arc<Dialer>,
    origin: Arc<Origin>,
    credentials: Arc<Credentials>,
    sentinels: Option<Sentinels>,
}

/// Makes links to whatever address.
struct Dialer {
    settings: ConnectionSettings,
    tls: Option<TlsConfig>,
}

impl Driver {
    /// With Sentinels this begins to ask them, on the current runtime.
    pub(crate) fn new(settings: &ConnectionSettings) -> Result<Self, Error> {
        let origin = endpoint::origin(settings);
        let tls = tls::configure(settings).map_err(|error| error.with_origin(&origin))?;
        let place = endpoint::place(settings).map_err(|error| error.with_origin(&origin))?;
        let dialer = Arc::new(Dialer { settings: settings.clone(), tls });
        let sentinels = match place {
            Place::Known(_) => None,
            Place::Asked { sentinels, service } => {
                Some(Sentinels::start(&dialer, sentinels, &service, &origin))
            }
        };
        Ok(Self { dialer, credentials: Arc::new(Credentials::new(settings)), origin, sentinels })
    }

    pub(crate) fn settings(&self) -> &ConnectionSettings {
        &self.dialer.settings
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// As [`connect`](Self::connect), but gives a cluster that is just forming, or failing over, time to get ready; and
    /// so a primary that has just been promoted.
    pub(crate) async fn connect_when_ready(&self) -> Result<Link, Error> {
        let give_up = Instant::now() + READY;
        loop {
            match self.connect().await {
                Err(error)
                    if self.settings().mode != Mode::Standalone
                        && matches!(error.kind(), ErrorKind::Transient | ErrorKind::RoleChange)
                        && Instant::now() < give_up =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                result => return result,
            }
        }
    }

    /// Connects a new link; the driver's task runs on the current runtime.
    pub(crate) async fn connect(&self) -> Result<Link, Error> {
        let link = match (&self.sentinels, endpoint::place(self.settings())?) {
            (Some(sentinels), _) => self.connect_to_primary(sentinels).await?,
            (None, Place::Known(mut server)) => {
                if let ServerConfig::Clustered { hosts, .. } = &mut server {
                    // They are asked in turn: one that is silent must not come first each time.
                    hosts.shuffle(&mut rand::rng());
                }
                let (database, origin) = (self.database(), &self.origin);
                self.dialer.dial(server, database, &self.credentials, origin, Returns::ToItsAddress).await?
            }
            (None, Place::Asked { .. }) => return Err(Error::configuration("nobody asks the Sentinels")),
        };
        link.introduce(self.settings()).await;
        Ok(link)
    }

    /// To the primary that the Sentinels name, should they change their minds meanwhile to the other one. The link ends
    /// with the first loss, or when another one is named: its address may then be that of a replica, or of a primary that
    /// does not know yet that it is none.
    async fn connect_to_primary(&self, sentinels: &Sentinels) -> Result<Link, Error> {
        let deadline = Instant::now() + self.settings().dial_timeout;
        loop {
            let primary = sentinels.primary(deadline).await?;
            let origin = Arc::new(Origin {
                server: format!("{} (primary by {})", primary.address(), self.origin.server),
                user: self.origin.user.clone(),
                fixed: false,
            });
            let server = primary.server_config();
            let (database, credentials) = (self.database(), &self.credentials);
            let dial = async {
                let link = self.dialer.dial(server, database, credentials, &origin, Returns::Never).await?;
                link.check_primary(self.settings().probe_timeout).await.map(|()| link)
            };
            tokio::select! {
                dialed = timeout_at(deadline, dial) => {
                    let mut link = dialed.map_err(|_elapsed| {
                        let detail = format!("no connection within {:?}", self.settings().dial_timeout);
                        Error::new(ErrorKind::Timeout, Progress::NotSent, detail).with_origin(&origin)
                    })??;
                    if sentinels.tie(&primary, link.gate()) {
                        link.leads_to(primary);
                        return Ok(link);
                    }
                }
                () = sentinels.until_not(Some(primary.clone())) => {}
            }
        }
    }

    /// Waits until the Sentinels name another primary than `believed`; for ever without Sentinels.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn until_elsewhere(&self, believed: Option<Primary>) {
        match &self.sentinels {
            Some(sentinels) => sentinels.until_not(believed).await,
            None => std::future::pending().await,
        }
    }

    /// Whom the Sentinels name now.
    pub(crate) fn believed(&self) -> Option<Primary> {
        self.sentinels.as_ref().and_then(Sentinels::believed)
    }

    fn database(&self) -> Option<u8> {
        match self.settings().effective_database() {
            0 => None,
            number => u8::try_from(number).ok(),
        }
    }

    /// What an error means that the driver reports while it connects, also in the background.
    pub(crate) fn connect_error(&self, error: &FredError) -> Error {
        errors::of_connect(error).with_origin(&self.origin)
    }
}

impl Dialer {
    async fn dial(
        &self,
        server: ServerConfig,
        database: Option<u8>,
        credentials: &Arc<Credentials>,
        origin: &Arc<Origin>,
        returns: Returns,
    ) -> Result<Link, Error> {
        let clustered = server.is_clustered();
        let config = Config {
            // Applies to the first connect only: fail with the reason instead of retrying behind our back.
            fail_fast: true,
            blocking: Blocking::Block,
            server,
            version: RespVersion::RESP3,
            database,
            tls: self.tls.clone(),
            username: None,
            password: None,
            credential_provider: Some(Arc::clone(credentials) as _),
        };
        let policy = reconnect_policy(returns, self.settings.longest_pause);
        let client =
            Client::new(config, Some(self.performance()), Some(self.connection(clustered)), Some(policy));
        // The driver bounds each step, not the whole; several hosts and steps add up.
        Link::start(client, origin, clustered, self.settings.dial_timeout, returns)
            .await
            .map_err(|error| error.with_origin(origin))
    }

    fn performance(&self) -> PerformanceConfig {
        PerformanceConfig {
            // The driver's default is to wait for ever.
            default_command_timeout: self.settings.read_timeout,
            broadcast_channel_capacity: 256,
            ..PerformanceConfig::default()
        }
    }

    fn connection(&self, clustered: bool) -> ConnectionConfig {
        // A node that stands still must leave time to ask the others.
        let step = self.settings.dial_timeout / if clustered { 4 } else { 1 };
        ConnectionConfig {
            connection_timeout: step,
            internal_command_timeout: step,
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
}

/// For ever, from 100 ms to the longest pause, with jitter. A policy that ends leaves a client whose calls hang.
fn reconnect_policy(returns: Returns, longest: Duration) -> ReconnectPolicy {
    if returns == Returns::Never {
        // Its link ends at the loss, long before this.
        return ReconnectPolicy::new_constant(0, 3_600_000);
    }
    let mut policy =
        ReconnectPolicy::new_exponential(0, 100, longest.as_millis().try_into().unwrap_or(u32::MAX), 2);
    policy.set_jitter(100);
    policy
}
