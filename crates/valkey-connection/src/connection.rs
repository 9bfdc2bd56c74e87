//! The shared connection: any number of callers, a few sockets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::ClusterInterface;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::breaker::Breaker;
use crate::command::Command;
use crate::dedicated::DedicatedConnection;
use crate::driver::{self, Driver, Link, Request};
use crate::error::{Error, ErrorKind};
use crate::health::Health;
use crate::listener::Listener;
use crate::node::Node;
use crate::pool::{Pool, Slot};
use crate::reply::Reply;
use crate::scripts::ScriptCall;
use crate::settings::ConnectionSettings;
use crate::telemetry;

/// A pool of multiplexed connections to one Valkey, shared by all its clones.
///
/// Commands of all callers travel interleaved over a few sockets and never wait for each other's replies. Nothing that
/// blocks its socket runs here; for that there is [`dedicated`](Self::dedicated).
///
/// Every call ends within its deadline with a reply or a typed [`Error`]. Connections that break or stop answering are
/// replaced in the background; nothing is ever sent twice.
///
/// ```no_run
/// use valkey_connection::{Command, Connection, ConnectionSettings};
///
/// # async fn example() -> Result<(), valkey_connection::Error> {
/// let settings = ConnectionSettings::from_url("valkey://localhost:6379")?;
/// let connection = Connection::connect(&settings).await?;
/// let length = connection.execute(Command::new("LPUSH").key("queue:orders").arg("{}")).await?.as_int()?;
/// println!("{length} waiting");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    breaker: Breaker,
    /// Ends the watchdogs, and with them the sockets, when the last clone goes.
    _guard: DropGuard,
}

impl Connection {
    /// Connects. Returns when the first connection is up; the rest of the pool follows in the background.
    ///
    /// # Errors
    /// The settings are wrong, the server is not reachable within `dial_timeout`, or it refuses the login
    /// ([`Auth`](ErrorKind::Auth)). There is no retrying here: whether to wait for a server is the caller's decision.
    /// Only a cluster that is there and not ready yet is given up to ten seconds.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn connect(settings: &ConnectionSettings) -> Result<Self, Error> {
        let (driver, breaker, closed) = Self::parts(settings)?;
        let pool = Pool::start(driver, breaker.clone(), closed.clone()).await?;
        Ok(Self { inner: Arc::new(Inner { pool, breaker, _guard: closed.drop_guard() }) })
    }

    /// Connects in the background, and for as long as it takes: for programs that have work to do while the server is away.
    /// Until it is there, calls fail as in any outage. Its tasks run on the runtime this is called on.
    ///
    /// # Errors
    /// The settings are wrong, or there is no runtime.
    pub fn connect_later(settings: &ConnectionSettings) -> Result<Self, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::configuration("a connection needs a tokio runtime to live on".to_owned()));
        }
        let (driver, breaker, closed) = Self::parts(settings)?;
        let pool = Pool::fill(driver, breaker.clone(), closed.clone(), None);
        Ok(Self { inner: Arc::new(Inner { pool, breaker, _guard: closed.drop_guard() }) })
    }

    fn parts(settings: &ConnectionSettings) -> Result<(Arc<Driver>, Breaker, CancellationToken), Error> {
        use valkey_config::Validate as _;

        let contradictions = settings.validate();
        if !contradictions.is_empty() {
            let texts: Vec<_> = contradictions
                .iter()
                .map(|found| format!("{}: {}", found.fields().join(", "), found.message()))
                .collect();
            return Err(Error::configuration(texts.join("; ")));
        }
        let closed = CancellationToken::new();
        let driver = Arc::new(Driver::new(settings)?);
        let breaker = Breaker::new(settings.breaker_policy());
        Ok((driver, breaker, closed))
    }

    /// Runs one command.
    ///
    /// # Errors
    /// See [`ErrorKind`]. While nothing is connected, the call waits for a connection as long as for a reply.
    ///
    /// # Cancel safety
    /// A dropped call may be executed or not.
    pub async fn execute(&self, command: Command) -> Result<Reply, Error> {
        command.check_shareable()?;
        self.run(self.request(command)).await
    }

    /// Runs commands in one round trip on one socket, in order, with a result each. In a cluster each goes to the node
    /// of its key, in order per node.
    ///
    /// The commands are no transaction: others may come in between, and each succeeds or fails by itself.
    ///
    /// # Cancel safety
    /// As [`execute`](Self::execute), for each command.
    pub async fn execute_all(&self, commands: Vec<Command>) -> Vec<Result<Reply, Error>> {
        let requests = commands
            .into_iter()
            .map(|command| command.check_shareable().map(|()| self.request(command)))
            .collect();
        self.run_all(requests).await
    }

    /// Runs a script by its hash, and once more in full if the server does not know it (after a restart, a failover or
    /// `SCRIPT FLUSH`). Not knowing it has no effect, so nothing runs twice.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    ///
    /// # Cancel safety
    /// As [`execute`](Self::execute).
    pub async fn invoke(&self, call: ScriptCall) -> Result<Reply, Error> {
        let started = Instant::now();
        match self.run(self.by_hash(&call)).await {
            Err(error) if error.kind() == ErrorKind::NoScript => {
                telemetry::script_reloaded(call.name());
                let mut request = self.by_source(&call);
                request.timeout = remaining(request.timeout, started);
                self.run(request).await
            }
            result => result,
        }
    }

    /// Runs script calls in one round trip on one socket, in order, with a result each. Those whose script the server
    /// did not know are run in full afterwards, in their order.
    ///
    /// # Cancel safety
    /// As [`execute`](Self::execute), for each call.
    pub async fn invoke_all(&self, calls: Vec<ScriptCall>) -> Vec<Result<Reply, Error>> {
        let mut results = self.run_all(calls.iter().map(|call| Ok(self.by_hash(call))).collect()).await;
        let unknown: Vec<usize> = (0..results.len())
            .filter(|&at| results[at].as_ref().is_err_and(|error| error.kind() == ErrorKind::NoScript))
            .collect();
        if !unknown.is_empty() {
            let again = unknown
                .iter()
                .map(|&at| {
                    telemetry::script_reloaded(calls[at].name());
                    Ok(self.by_source(&calls[at]))
                })
                .collect();
            for (at, result) in unknown.into_iter().zip(self.run_all(again).await) {
                results[at] = result;
            }
        }
        results
    }

    /// A connection of its own, for what blocks its socket. Its tasks run on the runtime this is called on.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn dedicated(&self) -> Result<DedicatedConnection, Error> {
        if self.inner.pool.is_closed() {
            return Err(self.inner.pool.closed_error());
        }
        DedicatedConnection::connect(self.clone()).await
    }

    /// Listens for hints on a shard channel, on a socket of its own that heals by itself.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), or [`Denied`](ErrorKind::Denied) when the user may not subscribe to the channel.
    pub async fn listen(&self, channel: &str) -> Result<Listener, Error> {
        if self.inner.pool.is_closed() {
            return Err(self.inner.pool.closed_error());
        }
        let pool = &self.inner.pool;
        Listener::start(Arc::clone(pool.driver()), channel, pool.closed()).await
    }

    /// The servers that hold data: all primaries of a cluster, else the one server.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn primaries(&self) -> Result<Vec<Node>, Error> {
        let (_, link) = self.acquire(self.settings().read_timeout).await?;
        if !link.is_clustered() {
            return Ok(vec![Node::only(&self.inner.pool.driver().origin().server)]);
        }
        let routing = link.client().cached_cluster_state();
        let mut servers = routing.map(|routing| routing.unique_primary_nodes()).unwrap_or_default();
        servers.sort();
        Ok(servers.into_iter().map(Node::of_cluster).collect())
    }

    /// Runs a command on one server, for what concerns a server and not a key (`SCAN`, `INFO`, `CONFIG GET`).
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_on(&self, node: &Node, command: Command) -> Result<Reply, Error> {
        command.check_shareable()?;
        let mut request = self.request(command);
        request.node = node.server().cloned();
        self.run(request).await
    }

    /// The circuit breaker of this connection. It gates nothing by itself: callers that should be refused in an outage
    /// [`acquire`](Breaker::acquire) a permit before they call.
    pub fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// How the connection is doing. Sends nothing.
    pub fn health(&self) -> Health {
        let (pool, state) = self.inner.pool.health();
        self.inner.pool.stats().health(pool, state, self.inner.breaker.state())
    }

    /// The settings this connection was made with.
    pub fn settings(&self) -> &ConnectionSettings {
        self.inner.pool.driver().settings()
    }

    /// Asks the server for a sign of life and measures the round trip.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn ping(&self) -> Result<Duration, Error> {
        let started = Instant::now();
        self.execute(Command::new("PING")).await?;
        Ok(started.elapsed())
    }

    /// Closes all connections, for all clones: what is in flight gets a moment to finish, later calls fail with
    /// [`Closed`](ErrorKind::Closed). Listeners fall silent; a blocking call that is under way ends by its own timeout.
    pub async fn close(self) {
        self.inner.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.inner.pool
    }

    async fn acquire(&self, patience: Duration) -> Result<(&Slot, Arc<Link>), Error> {
        self.inner.pool.acquire(Instant::now() + patience).await
    }

    async fn run(&self, mut request: Request) -> Result<Reply, Error> {
        let operation = request.operation;
        let started = Instant::now();
        let (slot, link) = match self.acquire(request.timeout).await {
            Ok(found) => found,
            Err(error) => {
                let result = Err(error.with_operation(operation));
                self.inner.pool.conclude(operation, started.into_std(), &result);
                return result;
            }
        };
        request.timeout = remaining(request.timeout, started);
        self.inner.pool.run(slot, &link, request).await
    }

    /// One link for all, so that order and round trip are one.
    async fn run_all(&self, requests: Vec<Result<Request, Error>>) -> Vec<Result<Reply, Error>> {
        let patience = requests.iter().flatten().map(|request| request.timeout).max().unwrap_or_default();
        if requests.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        let (slot, link) = match self.acquire(patience).await {
            Ok(found) => found,
            Err(error) => {
                return requests
                    .into_iter()
                    .map(|request| Err(error.clone().with_operation(request?.operation)))
                    .collect();
            }
        };
        let pool = &self.inner.pool;
        let link = &*link;
        // Kept to be sent again, should a cluster redirect them.
        let copies = if link.is_clustered() { requests.clone() } else { Vec::new() };
        // `join_all` polls in order, and the first poll hands a request to the driver.
        let mut results = futures::future::join_all(requests.into_iter().map(|request| async move {
            let mut request = request?;
            request.timeout = remaining(request.timeout, started);
            pool.watch(slot, request.operation, link.call_once(request)).await
        }))
        .await;
        // One after the other: the redirected ones stay in their order.
        for (result, copy) in results.iter_mut().zip(copies) {
            if let (Err(error), Ok(mut request)) = (&*result, copy)
                && error.is_redirection()
            {
                request.timeout = remaining(request.timeout, started);
                *result = pool.watch(slot, request.operation, Box::pin(link.follow(request))).await;
            }
        }
        results
    }

    pub(crate) fn request(&self, command: Command) -> Request {
        Request {
            operation: command.name(),
            verb: command.verb(),
            slot: command.routing_key().map(driver::slot_of),
            node: None,
            blocking: false,
            timeout: command.own_timeout().unwrap_or(self.settings().read_timeout),
            args: driver::values(command.into_args()),
        }
    }

    pub(crate) fn by_hash(&self, call: &ScriptCall) -> Request {
        self.script_request("EVALSHA", call, driver::values(call.by_hash()))
    }

    pub(crate) fn by_source(&self, call: &ScriptCall) -> Request {
        self.script_request("EVAL", call, driver::values(call.by_source()))
    }

    fn script_request(
        &self,
        verb: &'static str,
        call: &ScriptCall,
        args: Vec<fred::types::Value>,
    ) -> Request {
        Request {
            operation: call.name(),
            verb,
            slot: call.routing_key().map(driver::slot_of),
            node: None,
            blocking: false,
            timeout: call.own_timeout().unwrap_or(self.settings().read_timeout),
            args,
        }
    }
}

/// What is left of the time after waiting for a connection; never nothing, which the driver takes for "for ever".
fn remaining(timeout: Duration, started: Instant) -> Duration {
    timeout.saturating_sub(started.elapsed()).max(Duration::from_millis(1))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.inner.pool.driver().origin().server)
            .finish_non_exhaustive()
    }
}
