//! Accepting connections, serving each, and ending it as a cut demands.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::cut::Target;
use super::lane::Cuts;
use super::pump::{End, Pump, Weather};
use super::report::Counters;
use super::resp::Side;
use super::{Connection, Shared};
use crate::{TestkitError, port};

/// After a cut the server gets this long to act on what it got, before the client notices.
const AFTERMATH: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 20;

pub(super) async fn listen(ip: IpAddr) -> Result<TcpListener, TestkitError> {
    let mut last = std::io::ErrorKind::AddrInUse.into();
    for _ in 0..ATTEMPTS {
        match TcpListener::bind((ip, port::free()?)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(TestkitError::io("starting a proxy")(last))
}

/// Accepts connections until the proxy is dropped.
pub(super) async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    shared: Weak<Shared>,
    mut orders: mpsc::UnboundedReceiver<(bool, oneshot::Sender<std::io::Result<()>>)>,
) {
    let mut listener = Some(listener);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some((listening, done)) = order else { return };
                let outcome = match (listening, &listener) {
                    (true, None) => TcpListener::bind(address).await.map(|bound| listener = Some(bound)),
                    (true, Some(_)) => Ok(()),
                    (false, _) => {
                        listener = None;
                        Ok(())
                    }
                };
                let _ = done.send(outcome);
            },
            accepted = next(listener.as_ref()) => {
                let Some(shared) = shared.upgrade() else { return };
                if let Ok((client, _)) = accepted {
                    let (connection, upstream) = shared.admit();
                    let (weather, drops) = (shared.weather.subscribe(), shared.drops.subscribe());
                    tokio::spawn(serve(client, upstream, connection, weather, drops));
                }
            },
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

impl Shared {
    /// Books a new connection and gives it the cuts that are meant for it.
    fn admit(&self) -> (Arc<Connection>, String) {
        let mut state = self.state.lock().expect("no holder panics");
        let number = state.connections.len() as u64 + 1;
        let mut cuts = Cuts::default();
        let mut taken = false;
        state.waiting.retain(|(cut, shot)| {
            if shot.is_spent() {
                return false;
            }
            let (meant, stays) = match cut.target {
                Target::Any | Target::Every => (true, true),
                Target::Current => (false, false),
                Target::Next => (!std::mem::replace(&mut taken, true), false),
                Target::Nth(nth) => (nth == number, nth > number),
            };
            if meant {
                cuts.add(cut, shot, 0, 0);
            }
            stays || (cut.target == Target::Next && !meant)
        });
        let connection = Arc::new(Connection { counters: Counters::new(number), cuts: Mutex::new(cuts) });
        state.connections.push(Arc::clone(&connection));
        (connection, state.upstream.clone())
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: String,
    connection: Arc<Connection>,
    mut weather: watch::Receiver<Weather>,
    mut drops: watch::Receiver<u64>,
) {
    let Connection { counters, cuts } = &*connection;
    let number = counters.number;
    let _ = client.set_nodelay(true);
    if weather.borrow().black_hole {
        wait_in_black_hole(&mut client, &mut weather, &mut drops).await;
        let _ = client.set_zero_linger();
        connection.close();
        return;
    }
    let Ok(mut server) = TcpStream::connect(&upstream).await else {
        let _ = client.set_zero_linger();
        connection.close();
        return;
    };
    let _ = server.set_nodelay(true);
    let end = {
        let ((client_says, client_hears), (server_says, server_hears)) = (client.split(), server.split());
        let mut requests = Pump {
            side: Side::Request,
            from: client_says,
            to: server_hears,
            cuts,
            passed: &counters.requests,
            weather: weather.clone(),
        };
        let mut replies = Pump {
            side: Side::Reply,
            from: server_says,
            to: client_hears,
            cuts,
            passed: &counters.replies,
            weather,
        };
        let requests = async {
            match requests.run().await {
                // A client that has said its last may still listen.
                End::Over => std::future::pending().await,
                end => end,
            }
        };
        tokio::select! {
            biased;
            _ = drops.changed() => {
                let _ = (client.set_zero_linger(), server.set_zero_linger());
                connection.close();
                return;
            },
            end = requests => end,
            end = replies.run() => end,
        }
    };
    match end {
        End::Over => {}
        End::Lost => {
            // As a host answers that has given the connection up meanwhile.
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        End::Cut(shot) => {
            tracing::debug!(number, "cutting a connection");
            let _ = server.shutdown().await;
            let _ = tokio::time::timeout(AFTERMATH, swallow(&mut server)).await;
            // Not a reset: what the client was given before the cut is to arrive.
            let _ = client.shutdown().await;
            drop((client, server));
            connection.close();
            shot.fired(number);
            return;
        }
    }
    connection.close();
}

/// A client that came while there was a black hole: the server never hears of it.
async fn wait_in_black_hole(
    client: &mut TcpStream,
    weather: &mut watch::Receiver<Weather>,
    drops: &mut watch::Receiver<u64>,
) {
    let over = async {
        tokio::select! {
            _ = weather.wait_for(|weather| !weather.black_hole) => {},
            _ = drops.changed() => {},
        }
    };
    let swallow = async {
        swallow(client).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = over => {},
        () = swallow => {},
    }
}

impl Connection {
    pub(super) fn cuts(&self) -> std::sync::MutexGuard<'_, Cuts> {
        self.cuts.lock().expect("no holder panics")
    }

    /// Forgets the cuts that still lay in wait on it: that is what tells their owners.
    fn close(&self) {
        self.counters.closed.store(true, Ordering::Release);
        self.cuts().clear();
    }
}

async fn swallow(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}
