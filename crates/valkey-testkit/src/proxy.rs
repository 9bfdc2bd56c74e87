//! A proxy that breaks connections at will.

mod cut;
mod lane;
mod pump;
mod report;
mod resp;
mod serve;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::{TestServer, TestkitError, runtime};
use cut::Shot;
use lane::Cuts;
use pump::Weather;
use report::Counters;
use serve::{accept, listen};

pub use cut::{ArmedCut, Cut, CutOutcome, Target};
pub use report::{ConnectionReport, Traffic};

/// Stands between a client and a server, on a port of its own, and does to their connections what the
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
    /// Starts a proxy to `upstream`, a `host:port` as [`TestServer::address`] gives it, on the loopback address.
    /// Nothing is wrong with it yet.
    ///
    /// # Errors
    /// [`TestkitError::Io`] when it cannot listen. Whether the server is there shows only when a client connects.
    pub async fn start(upstream: &str) -> Result<Self, TestkitError> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), upstream).await
    }

    /// Like [`start`](Self::start), where `server` can connect to it too: for what servers say to each other. With
    /// Docker that is the host's address in the containers' network, which a firewall may keep them from.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`.
    pub async fn start_for(server: &TestServer, upstream: &str) -> Result<Self, TestkitError> {
        Self::start_on(server.host().await?, upstream).await
    }

    async fn start_on(ip: IpAddr, upstream: &str) -> Result<Self, TestkitError> {
        let upstream = upstream.to_owned();
        runtime::run(async move {
            let listener = listen(ip).await?;
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

    /// `host:port`, where clients connect to. Stays the same.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn host_and_port(&self) -> (String, String) {
        (self.address.ip().to_string(), self.address.port().to_string())
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

    /// Swallows everything, in both directions: sockets stay open, new connections are accepted, neither side hears
    /// anything of the other, not even its end, and both can go on sending. A cable that was pulled.
    ///
    /// [`heal`](Self::heal) ends it. What was swallowed is lost, so a connection that lost something is then closed
    /// with a reset to both sides, and no side ever gets what comes behind a gap. One that was quiet goes on.
    pub fn black_hole(&self) {
        self.shared.weather.send_modify(|weather| weather.black_hole = true);
    }

    /// Holds everything that comes from now on for `delay`, in each direction, keeping its order and its gaps.
    pub fn delay(&self, delay: Duration) {
        self.shared.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Lets at most so many bytes a second pass in each direction of each connection, down to about ten.
    pub fn throttle(&self, bytes_per_second: NonZeroU32) {
        self.shared.weather.send_modify(|weather| weather.rate = Some(bytes_per_second));
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

    /// Ends all of it: nothing is swallowed, stalls, is delayed or throttled, connections are accepted, no cut lies in wait.
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
