//! The driver, configured and guarded. Everything that keeps fred from hanging or repeating is set here, once.
//!
//! A [`Link`] is one driver client with the task that runs it. It is never repaired: when it is suspected to be dead it
//! is replaced by a fresh one, because neither the driver's `state()` nor its `force_reconnection()` can be trusted
//! (see the ADR on fred).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind as FredKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::{
    Blocking, Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, Server, TcpConfig,
    TlsConfig, UnresponsiveConfig,
};
use fred::types::{ClientState, ClusterHash, CustomCommand, RespVersion, Value};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::arg::Arg;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind, Origin, Progress};
use crate::reply::Reply;
use crate::settings::{ConnectionSettings, Mode};
use crate::{classify, endpoint, tls};

/// How much longer than the driver's own timer ours runs: it only speaks when the driver's does not.
const GRACE: Duration = Duration::from_millis(50);
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

/// One driver client and its task. Dropping it breaks its sockets at once.
pub(crate) struct Link {
    client: Client,
    task: JoinHandle<Result<(), FredError>>,
    origin: Arc<Origin>,
    clustered: bool,
    in_flight: AtomicUsize,
}

/// What goes to the driver.
#[derive(Clone)]
pub(crate) struct Request {
    /// Name in errors and metrics: command or script.
    pub(crate) operation: &'static str,
    /// First word on the wire.
    pub(crate) verb: &'static str,
    pub(crate) args: Vec<Value>,
    /// Hash slot that decides the node in a cluster.
    pub(crate) slot: Option<u16>,
    /// A node named by the caller.
    pub(crate) node: Option<Server>,
    /// Whether it blocks its socket on purpose.
    pub(crate) blocking: bool,
    pub(crate) timeout: Duration,
}

/// The slot of a key, by the cluster's rule (hash tag if there is one).
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    fred::util::redis_keyslot(key)
}

pub(crate) fn values(args: Vec<Arg>) -> Vec<Value> {
    args.into_iter().map(Value::from).collect()
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

    /// Connects a new link; the driver's task runs on the current runtime.
    pub(crate) async fn connect(&self) -> Result<Link, Error> {
        let give_up = Instant::now() + CLUSTER_READY.max(self.settings.dial_timeout);
        loop {
            match self.connect_once().await {
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

    async fn connect_once(&self) -> Result<Link, Error> {
        let server = endpoint::server_config(&self.settings)?;
        let clustered = server.is_clustered();
        let config = Config {
            // Applies to the first connect only: fail with the reason instead of retrying behind our back.
            fail_fast: true,
            blocking: Blocking::Block,
            server,
            version: RespVersion::RESP3,
            database: self.database(),
            tls: self.tls.clone(),
            credential_provider: Some(Arc::clone(&self.credentials) as _),
            ..Config::default()
        };
        let client =
            Client::new(config, Some(self.performance()), Some(self.connection()), Some(reconnect_policy()));
        // The driver bounds each step, not the whole; several hosts and steps add up.
        let limit = self.settings.dial_timeout + GRACE;
        let mut link = Link {
            task: tokio::spawn(std::future::pending()),
            client,
            origin: Arc::clone(&self.origin),
            clustered,
            in_flight: AtomicUsize::new(0),
        };
        let started = timeout(limit, link.client.init()).await;
        match started {
            Ok(Ok(task)) => {
                std::mem::replace(&mut link.task, task).abort();
                Ok(link)
            }
            Ok(Err(error)) => Err(self.connect_error(&error)),
            Err(_elapsed) => Err(Error::new(
                ErrorKind::Timeout,
                Progress::NotSent,
                format!("no connection within {limit:?}"),
            )
            .with_origin(&self.origin)),
        }
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
            max_command_buffer_len: self.settings.max_queued_commands,
            auto_client_setname: true,
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

    /// An error of the driver while it connects (also in the background).
    pub(crate) fn connect_error(&self, error: &FredError) -> Error {
        let detail = error.details().to_owned();
        let tls_words =
            ["certificate", "TLS", "handshake", "HandshakeFailure", "fatal alert", "corrupt message"];
        let (kind, detail) = match error.kind() {
            FredKind::Auth => (ErrorKind::Auth, detail),
            FredKind::Tls => (ErrorKind::Tls, detail),
            FredKind::Timeout => {
                (ErrorKind::Timeout, format!("no connection within {:?}", self.settings.dial_timeout))
            }
            _ if self.tls.is_some() && tls_words.iter().any(|word| detail.contains(word)) => {
                (ErrorKind::Tls, detail)
            }
            FredKind::Protocol if detail.contains("cluster state") => {
                (ErrorKind::Transient, "the cluster does not say cluster_state:ok".to_owned())
            }
            FredKind::IO | FredKind::Canceled => (ErrorKind::Disconnected, detail),
            FredKind::Config | FredKind::Url => (ErrorKind::Configuration, detail),
            _ if is_server_message(&detail) => {
                (classify::classify(&detail).0, classify::redact(&detail).into_owned())
            }
            FredKind::Protocol | FredKind::Parse => (ErrorKind::Protocol, detail),
            _ => (ErrorKind::Disconnected, detail),
        };
        Error::new(kind, Progress::NotSent, detail).with_origin(&self.origin)
    }
}

/// For ever, from 100 ms to 5 s, with jitter. A policy that ends leaves a client whose calls hang.
fn reconnect_policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_exponential(0, 100, 5_000, 2);
    policy.set_jitter(100);
    policy
}

/// Whether the driver's text is the server's: it begins with an upper-case error code.
fn is_server_message(text: &str) -> bool {
    let code = text.split(' ').next().unwrap_or("");
    code.len() >= 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

impl Link {
    /// Whether calls have a chance. Only a hint: the driver may say "connected" on a dead link.
    pub(crate) fn seems_connected(&self) -> bool {
        self.client.state() == ClientState::Connected && !self.task.is_finished()
    }

    /// Whether the driver's task has ended, after which nothing can ever be answered.
    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Breaks the sockets at once; whoever waits on them gets an error.
    pub(crate) fn cut(&self) {
        self.task.abort();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn is_clustered(&self) -> bool {
        self.clustered
    }

    pub(crate) fn errors(&self) -> broadcast::Receiver<(FredError, Option<Server>)> {
        self.client.error_rx()
    }

    pub(crate) fn reconnects(&self) -> broadcast::Receiver<Server> {
        self.client.reconnect_rx()
    }

    /// Sends a request and waits for its reply, but never longer than its timeout.
    ///
    /// The request is handed to the driver when the future is first polled; requests polled in order are written in
    /// order.
    ///
    /// # Cancel safety
    /// A dropped call may be executed or not.
    pub(crate) fn call(&self, request: Request) -> impl Future<Output = Result<Reply, Error>> + Send {
        let operation = request.operation;
        let limit = request.timeout;
        let deadline = Instant::now() + limit + GRACE;
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(limit),
            cluster_node: request.node,
            // Not connected: say so now, while it is certain that nothing was sent.
            fail_fast: true,
            ..Options::default()
        };
        let hash = match request.slot {
            Some(slot) if self.clustered => ClusterHash::Custom(slot),
            _ => ClusterHash::Random,
        };
        let command = CustomCommand::new_static(request.verb, hash, request.blocking);
        let client = self.client.with_options(&options);
        async move {
            let _counted = Counted::new(&self.in_flight);
            let result = match timeout_at(deadline, client.custom_raw(command, request.args)).await {
                Ok(Ok(frame)) => Reply::from_frame(frame),
                Ok(Err(error)) => Err(call_error(&error, limit)),
                Err(_elapsed) => Err(timed_out(limit)),
            };
            result.map_err(|error| error.with_operation(operation).with_origin(&self.origin))
        }
    }

    /// Says goodbye, bounded, then breaks the sockets.
    pub(crate) async fn quit(&self) {
        // QUIT first waits for everything in flight, which on a dead link never ends.
        let _ = timeout(Duration::from_millis(500), self.client.quit()).await;
        self.task.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a call as in flight for as long as it lives, also when it is dropped half-way.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn timed_out(limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, Progress::Unknown, format!("no reply within {limit:?}"))
}

/// An error that the driver made (the server's own arrive as frames).
fn call_error(error: &FredError, limit: Duration) -> Error {
    let detail = error.details().to_owned();
    let (kind, progress) = match error.kind() {
        FredKind::Timeout => return timed_out(limit),
        FredKind::Backpressure => (ErrorKind::Backpressure, Progress::NotSent),
        // The driver's answer to `fail_fast` while it is not connected; its other cancellations come after sending.
        FredKind::Canceled if detail == "Connection closed unexpectedly." => {
            return Error::new(ErrorKind::Disconnected, Progress::NotSent, "not connected");
        }
        FredKind::Config | FredKind::Url | FredKind::InvalidArgument | FredKind::InvalidCommand => {
            (ErrorKind::Configuration, Progress::NotSent)
        }
        FredKind::Routing => (ErrorKind::Disconnected, Progress::NotSent),
        FredKind::Unknown if detail == "Failed to route command." => {
            (ErrorKind::Disconnected, Progress::NotSent)
        }
        FredKind::Tls => (ErrorKind::Tls, Progress::Unknown),
        FredKind::Protocol | FredKind::Parse => (ErrorKind::Protocol, Progress::Unknown),
        // A reply to some command made the driver drop the connection, and this one with it.
        _ if is_server_message(&detail) => (classify::classify(&detail).0, Progress::Unknown),
        _ => (ErrorKind::Disconnected, Progress::Unknown),
    };
    Error::new(kind, progress, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_hash_tag() {
        assert_eq!(slot_of(b"queue:orders"), slot_of(b"{queue:orders}:woken"));
        assert_eq!(slot_of(b"123456789"), 12739);
    }

    #[test]
    fn only_certain_errors_say_not_sent() {
        let limit = Duration::from_secs(1);
        let not_sent = [
            FredError::new(FredKind::Backpressure, "Max in-flight commands reached."),
            FredError::new(FredKind::Canceled, "Connection closed unexpectedly."),
            FredError::new(FredKind::Unknown, "Failed to route command."),
        ];
        for error in &not_sent {
            assert!(call_error(error, limit).is_not_sent(), "{error:?}");
        }
        let unknown = [
            FredError::new(FredKind::IO, "Connection reset by peer"),
            FredError::new(FredKind::Canceled, "Canceled."),
            FredError::new(FredKind::Timeout, "Request timed out."),
            FredError::new(FredKind::Cluster, "CLUSTERDOWN Hash slot not served"),
        ];
        for error in &unknown {
            let error = call_error(error, limit);
            assert!(error.outcome_unknown() && !error.is_not_sent() && error.is_transient(), "{error:?}");
        }
    }
}
