//! The connection gate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::guard::GuardError;
use crate::limits::{Admission, Limits};
use crate::node::Node;
use crate::reply;
use crate::settings::GuardSettings;
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Refusal};

/// Listens for SMTP clients and passes on those that the limits admit.
#[derive(Debug)]
pub struct Gate {
    listeners: Vec<TcpListener>,
    context: Arc<Context>,
}

#[derive(Debug)]
struct Context {
    backend: String,
    hostname: String,
    connection_timeout: Duration,
    limits: Limits,
}

impl Gate {
    /// Listens.
    ///
    /// # Errors
    /// An address is taken, or not ours.
    pub async fn bind(settings: &GuardSettings, node: &Node, limits: Limits) -> Result<Self, GuardError> {
        let mut listeners = Vec::new();
        for &address in settings.gate.listen.iter() {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|source| GuardError::Listen {
                section: "gate.listen",
                address,
                source,
            })?);
        }
        let context = Arc::new(Context {
            backend: settings.gate.backend.clone(),
            hostname: settings.gate.hostname.clone().unwrap_or_else(|| node.to_string()),
            connection_timeout: settings.resources.connection_timeout,
            limits,
        });
        Ok(Self { listeners, context })
    }

    /// Where it really listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Runs until it is told to end, and the connections have ended or the time for that is over.
    pub async fn run(self, shutdown: Shutdown, drain_timeout: Duration) {
        let connections = TaskTracker::new();
        let accepting = TaskTracker::new();
        for listener in self.listeners {
            let (context, connections) = (Arc::clone(&self.context), connections.clone());
            accepting.spawn(async move {
                while let Ok((client, peer)) = listener.accept().await {
                    connections.spawn(serve(Arc::clone(&context), client, peer));
                }
            });
        }
        accepting.close();
        tokio::select! {
            () = accepting.wait() => {}
            () = shutdown.draining() => {}
        }
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = tokio::time::sleep(drain_timeout) => {}
            () = shutdown.ending() => {}
        }
    }
}

async fn serve(context: Arc<Context>, mut client: TcpStream, peer: SocketAddr) {
    let begun = Instant::now();
    telemetry::connection_accepted();
    let admission = context.limits.admit(peer.ip()).await;
    telemetry::check_took(begun.elapsed());
    let refused = match admission {
        Admission::Admitted => None,
        Admission::Unchecked => {
            telemetry::fallback("rate");
            None
        }
        Admission::Refused { .. } => Some(Refusal::Rate),
        Admission::Unavailable => Some(Refusal::Unavailable),
    };
    if let Some(reason) = refused {
        telemetry::connection_refused(reason);
        let text = reply::refusal("4.7.0", &context.hostname, "Error: too many connections");
        let _ = client.write_all(text.as_bytes()).await;
        telemetry::connection_closed(begun.elapsed(), false);
        return;
    }
    let connect = tokio::time::timeout(context.connection_timeout, TcpStream::connect(&context.backend));
    if let Ok(Ok(mut backend)) = connect.await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
        telemetry::connection_closed(begun.elapsed(), true);
    } else {
        telemetry::connection_refused(Refusal::Backend);
        let text = reply::refusal("4.3.2", &context.hostname, "Service not available");
        let _ = client.write_all(text.as_bytes()).await;
        telemetry::connection_closed(begun.elapsed(), false);
    }
}
