//! A proxy that breaks connections at will.

mod cut;
mod lane;
mod pump;
mod report;
mod resp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{TestkitError, port, runtime};
use cut::Shot;
use lane::Cuts;
use pump::{Pump, Weather};
use report::Counters;
use resp::Side;

pub use cut::{ArmedCut, Cut, CutOutcome, Target};
pub use report::{ConnectionReport, Traffic};

/// After a cut the server gets this long to act on what it got, before the client notices.
const AFTERMATH: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 20;

/// Stands between a client and a server, on a loopback port of its own, and does to their connections what the
/// network does on a bad day. Dropping it closes them all.
///
/// ```no_run
/// # async fn f(server: valkey_testkit::TestServer) -> Result<(), valkey_testkit::TestkitError> {
/// use valkey_testkit::{Cut, CutOutcome, FaultProxy};
///
/// let proxy = FaultProxy::start(&server.address()).await?;
/// // ... connect a client to proxy.address(), then cut its LPUSH at each byte:
/// for bytes in 0.. {
///     let mut cut = proxy.arm(Cut::request_after(bytes).of_command("LPUSH"));
///     // ... push; then either the push failed and the cut tells when the server is done with it ...
///     if cut.wait().await == CutOutcome::Missed {
///         break; // ... or there was no such byte
///     }
/// }
/// # Ok(()) }
/// ```
///
/// Bytes pass as they are: TLS works through it, and only [`Cut::of_command`] and the counts of commands and replies
/// need to understand them. All of it runs on threads of its own, whatever the test's runtime and clock do.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: mpsc::UnboundedSender<(bool, oneshot::Sender<std::io::Result<()>>)>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    weather: watch::Sender<Weather>,
    /// Counts up to close every connection there is.
    drops: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    connections: Vec<Arc<Connection>>,
    /// Cuts for connections that are yet to come.
    waiting: Vec<(Cut, Arc<Shot>)>,
    /// All that were ever armed, to disarm them.
    shots: Vec<Weak<Shot>>,
}

#[derive(Debug)]
struct Connection {
    counters: Counters,
    cuts: Mutex<Cuts>,
}

/// Making it.
impl FaultProxy {
    /// Starts a proxy to `upstream`, a `host:port` as [`TestServer::address`](crate::TestServer::address) gives it.
    /// Nothing is wrong with it yet.
    ///
    /// # Errors
    /// [`TestkitError::Io`] when it cannot listen. Whether the server is there shows only when a client connects.
    pub async fn start(upstream: &str) -> Result<Self, TestkitError> {
        let upstream = upstream.to_owned();
        runtime::run(async move {
            let listener = listen().await?;
            let doing = "starting a proxy";
            let address = listener.local_addr().map_err(TestkitError::io(doing))?;
            let state = State { upstream, connections: Vec::new(), waiting: Vec::new(), shots: Vec::new() };
            let shared = Arc::new(Shared {
                state: Mutex::new(state),
                weather: watch::Sender::new(Weather::default()),
                drops: watch::Sender::new(0),
            });
            let (listening, orders) = mpsc::unbounded_channel();
            tokio::spawn(accept(listener, address, Arc::downgrade(&shared), orders));
            Ok(Self { address, shared, listening })
        })
        .await
    }

    /// `127.0.0.1:port`, where clients connect to. Stays the same.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sends connections made from now on to another server.
    pub fn set_upstream(&self, upstream: &str) {
        upstream.clone_into(&mut self.state().upstream);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("no holder panics")
    }
}

/// Cutting.
impl FaultProxy {
    /// Lays a cut in wait.
    pub fn arm(&self, cut: Cut) -> ArmedCut {
        let (shot, armed) = Shot::arm(&cut);
        let mut state = self.state();
        state.shots.retain(|shot| shot.strong_count() > 0);
        state.shots.push(Arc::downgrade(&shot));
        if matches!(cut.target, Target::Any | Target::Current) {
            for connection in
                state.connections.iter().filter(|one| !one.counters.closed.load(Ordering::Acquire))
            {
                let Counters { requests, replies, .. } = &connection.counters;
                connection.cuts().add(&cut, &shot, requests.bytes(), replies.bytes());
            }
        }
        if cut.target != Target::Current {
            state.waiting.push((cut, shot));
        }
        armed
    }

    /// Cuts the next connection after `bytes` bytes of the client's: short for [`Cut::request_after`].
    pub fn cut_request_after(&self, bytes: u64) -> ArmedCut {
        self.arm(Cut::request_after(bytes))
    }

    /// Cuts the next connection before byte `bytes` of the server's: short for [`Cut::reply_before`].
    pub fn cut_reply_before(&self, bytes: u64) -> ArmedCut {
        self.arm(Cut::reply_before(bytes))
    }

    /// Closes every connection there is at once, with a reset to both sides.
    pub fn drop_connections(&self) {
        self.shared.drops.send_modify(|drops| *drops += 1);
    }
}

/// Weather.
impl FaultProxy {
    /// Stops forwarding, in both directions: sockets stay open, new connections are accepted, nothing arrives. What
    /// was sent meanwhile is delivered on [`heal`](Self::heal), also of a client that is gone by then.
    pub fn stall(&self) {
        self.shared
            .weather
            .send_modify(|weather| (weather.stall_requests, weather.stall_replies) = (true, true));
    }

    /// Stops forwarding what clients say.
    pub fn stall_requests(&self) {
        self.shared.weather.send_modify(|weather| weather.stall_requests = true);
    }

    /// Stops forwarding what the server says: it carries out what it is asked, and nobody hears of it.
    pub fn stall_replies(&self) {
        self.shared.weather.send_modify(|weather| weather.stall_replies = true);
    }

    /// Holds everything that comes from now on for `delay`, in each direction, keeping its order and its gaps.
    pub fn delay(&self, delay: Duration) {
        self.shared.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Refuses new connections (`true`), as a port on which nobody listens, or accepts them again. Those there are
    /// stay.
    ///
    /// # Errors
    /// [`TestkitError::Io`] when another process has taken the port meanwhile.
    pub async fn refuse(&self, refuse: bool) -> Result<(), TestkitError> {
        let (done, answer) = oneshot::channel();
        let gone = || TestkitError::io("talking to a proxy")(std::io::ErrorKind::BrokenPipe.into());
        self.listening.send((!refuse, done)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(TestkitError::io("listening on a proxy's port again"))
    }

    /// Ends all of it: nothing stalls or is delayed, connections are accepted, no cut lies in wait.
    ///
    /// # Errors
    /// As [`refuse`](Self::refuse).
    pub async fn heal(&self) -> Result<(), TestkitError> {
        self.shared.weather.send_modify(|weather| *weather = Weather::default());
        {
            let mut state = self.state();
            state.waiting.clear();
            state.shots.drain(..).filter_map(|shot| shot.upgrade()).for_each(|shot| shot.disarm());
            state.connections.iter().for_each(|one| one.cuts().clear());
        }
        self.refuse(false).await
    }
}

/// Looking.
impl FaultProxy {
    /// Every connection so far, in the order in which they were made.
    pub fn connections(&self) -> Vec<ConnectionReport> {
        self.state().connections.iter().map(|connection| connection.counters.report()).collect()
    }

    /// All of them together.
    pub fn traffic(&self) -> Traffic {
        Traffic::sum(self.connections().into_iter())
    }
}

async fn listen() -> Result<TcpListener, TestkitError> {
    let mut last = std::io::ErrorKind::AddrInUse.into();
    for _ in 0..ATTEMPTS {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port::free()?)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(TestkitError::io("starting a proxy")(last))
}

/// Accepts connections until the proxy is dropped.
async fn accept(
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
    weather: watch::Receiver<Weather>,
    mut drops: watch::Receiver<u64>,
) {
    let Connection { counters, cuts } = &*connection;
    let number = counters.number;
    let _ = client.set_nodelay(true);
    let Ok(mut server) = TcpStream::connect(&upstream).await else {
        let _ = client.set_zero_linger();
        connection.close();
        return;
    };
    let _ = server.set_nodelay(true);
    let cut = {
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
                Some(cut) => Some(cut),
                // A client that has said its last may still listen.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = drops.changed() => {
                let _ = (client.set_zero_linger(), server.set_zero_linger());
                connection.close();
                return;
            },
            cut = requests => cut,
            cut = replies.run() => cut,
        }
    };
    if let Some(shot) = cut {
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
    connection.close();
}

impl Connection {
    fn cuts(&self) -> std::sync::MutexGuard<'_, Cuts> {
        self.cuts.lock().expect("no holder panics")
    }

    /// Forgets the cuts that still lay in wait on it: that is what tells their owners.
    fn close(&self) {
        self.counters.closed.store(true, Ordering::Release);
        self.cuts().clear();
    }
}

async fn swallow(server: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while server.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}
