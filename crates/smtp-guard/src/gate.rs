//! The connection gate.
//!
//! ```text
//!  accept ─► header of a trusted balancer ─► limits ─┬─► connect, PROXY header ─► copy both ways ─► place given back
//!                                                    └─► 421, a close
//! ```
//!
//! An idle connection is a task that holds two sockets and no buffer.

mod copy;
mod refusals;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use valkey_ratelimit::NodeId;
use valkit_service::Shutdown;

use self::copy::Patience;
use self::refusals::Refusals;
use crate::guard::GuardError;
use crate::limits::Limits;
use crate::reply;
use crate::settings::{GuardSettings, Network};
use crate::telemetry::{self, Refusal};

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1_024;
/// How long nobody is accepted after that failed, as it does without a free descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// How often people are told how many refusals they were not told of.
const SUMMARY: Duration = Duration::from_secs(10);
/// How long connections have to end that were cut.
const LAST: Duration = Duration::from_secs(1);

/// Listens for SMTP clients and passes on those that the limits admit.
#[derive(Debug)]
pub(crate) struct Gate {
    listeners: Vec<TcpListener>,
    context: Arc<Context>,
    places: usize,
}

/// What all connections share.
#[derive(Debug)]
struct Context {
    limits: Limits,
    refusals: Refusals,
    backend: String,
    backend_proxy: bool,
    hostname: String,
    trusted: Vec<Network>,
    header_timeout: Duration,
    connection_timeout: Duration,
    patience: Patience,
    /// Ends all connections.
    cut: CancellationToken,
}

impl Gate {
    /// Listens.
    ///
    /// # Errors
    /// An address is taken, or not ours.
    pub(crate) fn bind(settings: &GuardSettings, node: &NodeId, limits: Limits) -> Result<Self, GuardError> {
        let (gate, resources) = (&settings.gate, &settings.resources);
        let mut listeners = Vec::new();
        for &address in &gate.listen {
            listeners.push(listen(address).map_err(|source| GuardError::Listen {
                section: "gate.listen",
                address: address.to_string(),
                source,
            })?);
        }
        let context = Arc::new(Context {
            limits,
            refusals: Refusals::default(),
            backend: gate.backend.clone(),
            backend_proxy: gate.backend_proxy,
            hostname: gate.hostname.clone().unwrap_or_else(|| node.to_string()),
            trusted: gate.trusted_proxies.to_vec(),
            header_timeout: gate.header_timeout,
            connection_timeout: resources.connection_timeout,
            patience: Patience::new(resources.session_timeout, resources.idle_timeout),
            cut: CancellationToken::new(),
        });
        Ok(Self { listeners, context, places: gate.max_local_connections.get() })
    }

    /// Where it really listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Runs until it is told to end, and the connections have ended or the time for that is over.
    pub(crate) async fn run(self, shutdown: Shutdown, drain_timeout: Duration) {
        let Self { listeners, context, places } = self;
        let places = Arc::new(Semaphore::new(places));
        let (connections, accepting) = (TaskTracker::new(), TaskTracker::new());
        for listener in listeners {
            accepting.spawn(accept(
                listener,
                Arc::clone(&context),
                Arc::clone(&places),
                connections.clone(),
                shutdown.clone(),
            ));
        }
        accepting.spawn(summarise(Arc::clone(&context)));
        // While it drains, connections are accepted to be refused: who finds nobody does not know that it may come again.
        shutdown.draining().await;
        connections.close();
        info!(
            connections = connections.len(),
            ?drain_timeout,
            "no new connections; waiting for those that run"
        );
        let all_ended = tokio::select! {
            () = connections.wait() => true,
            () = tokio::time::sleep(drain_timeout) => false,
            () = shutdown.ending() => false,
        };
        if !all_ended {
            warn!(connections = connections.len(), "connections are cut");
        }
        context.cut.cancel();
        let _ = tokio::time::timeout(LAST, connections.wait()).await;
        context.refusals.summarise();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that starts again must not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(
    listener: TcpListener,
    context: Arc<Context>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    shutdown: Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = context.cut.cancelled() => return,
        };
        match accepted {
            Ok((client, peer)) => {
                telemetry::connection_accepted();
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    turn_away(&context, client, peer);
                    continue;
                };
                let (context, is_draining) = (Arc::clone(&context), shutdown.is_draining());
                connections.spawn(async move {
                    let _place = place;
                    session::run(&context, client, peer, is_draining).await;
                });
            }
            Err(error) => {
                context.refusals.trouble(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Without a task, for there is no place for one: what the socket takes at once is all it is told.
fn turn_away(context: &Context, client: TcpStream, peer: SocketAddr) {
    use std::io::Write as _;
    if let Ok(mut client) = client.into_std() {
        let _ = client.write(reply::unavailable(&context.hostname, Refusal::Local).as_bytes());
    }
    context.refusals.note(Refusal::Local, peer.ip(), None);
    telemetry::connection_closed(Duration::ZERO, false);
}

async fn summarise(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SUMMARY) => context.refusals.summarise(),
            () = context.cut.cancelled() => return,
        }
    }
}
