//! A connection for one caller, which may block it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::ClusterInterface;
use fred::types::config::Server;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::arg::Arg;
use crate::command::Command;
use crate::connection::Connection;
use crate::driver::{self, Link, Request};
use crate::error::{Error, ErrorKind, Progress};
use crate::reply::Reply;
use crate::scripts::ScriptCall;
use crate::telemetry;

/// A connection with a socket of its own (one per node in a cluster). Not `Clone`, and calls take `&mut self`: what
/// blocks here blocks nobody else.
///
/// ```compile_fail,E0599
/// # fn share(connection: valkey_connection::DedicatedConnection) {
/// let second = connection.clone();
/// # }
/// ```
///
/// ```compile_fail,E0499
/// # use valkey_connection::Command;
/// # async fn both(mut connection: valkey_connection::DedicatedConnection) {
/// let first = connection.execute(Command::new("PING"));
/// let second = connection.execute(Command::new("PING"));
/// let _ = (first.await, second.await);
/// # }
/// ```
///
/// After a timeout or a lost connection the socket is thrown away and the next call runs on a fresh one. Making it counts
/// for the call's own time; when that is too short, the call fails as not sent, and the next one finds the socket further
/// on. Errors are reported, never waited out: pause before trying again.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(connection: valkey_connection::Connection) -> Result<(), valkey_connection::Error> {
/// let mut dedicated = connection.dedicated().await?;
/// let moved = dedicated.blocking_move("queue:orders", "{queue:orders}:woken", Duration::from_secs(1)).await?;
/// println!("something came: {}", moved.is_some());
/// # Ok(())
/// # }
/// ```
pub struct DedicatedConnection {
    shared: Connection,
    link: Option<Socket>,
    /// A fresh socket in the making. It outlives the call that needed it first, so that calls with little time do not
    /// start from the beginning each.
    dialing: Option<AbortOnDropHandle<Result<Link, Error>>>,
    /// What the unblockers need to know of the current socket.
    park: Arc<Mutex<Option<Park>>>,
    /// Sockets made so far.
    sockets: u64,
    /// Up to which of them the server was examined by a trial.
    tried: u64,
}

pub(crate) struct Socket {
    pub(crate) link: Link,
    reconnects: broadcast::Receiver<Server>,
    /// A blocking call is under way, or was dropped half-way.
    pub(crate) parked: bool,
    ids: Vec<(Option<Server>, i64)>,
}

impl Socket {
    fn new(link: Link) -> Self {
        Self { reconnects: link.reconnects(), link, parked: false, ids: Vec::new() }
    }
}

/// Where a blocking call waits.
#[derive(Clone, Debug)]
struct Park {
    node: Option<Server>,
    client_id: i64,
}

/// Ends the blocking call of a [`DedicatedConnection`] from elsewhere, as if its timeout had passed.
#[derive(Clone)]
pub struct Unblocker {
    shared: Connection,
    park: Arc<Mutex<Option<Park>>>,
}

impl DedicatedConnection {
    pub(crate) async fn connect(shared: Connection) -> Result<Self, Error> {
        let link = shared.pool().driver().connect().await?;
        Ok(Self {
            shared,
            link: Some(Socket::new(link)),
            dialing: None,
            park: Arc::default(),
            sockets: 1,
            tried: 0,
        })
    }

    /// Runs one command, within its timeout, the making of a fresh socket included.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    ///
    /// # Cancel safety
    /// A dropped call may be executed or not. The next call runs after it.
    pub async fn execute(&mut self, command: Command) -> Result<Reply, Error> {
        let request = self.shared.request(command);
        self.run(request).await
    }

    /// Runs a command without a key on the server that has `key`.
    pub(crate) async fn execute_at(&mut self, key: &str, command: Command) -> Result<Reply, Error> {
        let mut request = self.shared.request(command);
        request.slot = Some(driver::slot_of(key.as_bytes()));
        self.run(request).await
    }

    /// Runs a script by its hash, and once more in full if the server does not know it.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    ///
    /// # Cancel safety
    /// As [`execute`](Self::execute).
    pub async fn invoke(&mut self, call: ScriptCall) -> Result<Reply, Error> {
        match self.run(self.shared.by_hash(&call)).await {
            Err(error) if error.kind() == ErrorKind::NoScript => {
                telemetry::script_reloaded(call.name());
                self.run(self.shared.by_source(&call)).await
            }
            result => result,
        }
    }

    /// Waits for an element at the right end of `source` and moves it to the left end of `destination`
    /// (`BLMOVE source destination RIGHT LEFT`). `None` when `timeout` passed on the server.
    ///
    /// The move is atomic on the server: whatever happens to this connection, the element is in one of the two lists.
    /// There is no blocking pop here on purpose, for a popped element is lost when the reply is.
    ///
    /// # Errors
    /// See [`ErrorKind`]; [`Timeout`](ErrorKind::Timeout) when the server does not answer although its own timeout must
    /// have passed.
    ///
    /// # Cancel safety
    /// A dropped call may still move one element. The next call runs on a fresh socket and does not wait for it.
    pub async fn blocking_move(
        &mut self,
        source: &str,
        destination: &str,
        timeout: Duration,
    ) -> Result<Option<Bytes>, Error> {
        let slot = driver::slot_of(source.as_bytes());
        // 0 would wait for ever.
        let seconds = timeout.max(Duration::from_millis(1)).as_secs_f64();
        let slack = self.shared.settings().read_timeout;
        self.announce(slot).await?;
        let request = Request {
            operation: "BLMOVE",
            verb: "BLMOVE",
            args: driver::values(vec![
                Arg::from(source),
                Arg::from(destination),
                Arg::from_static("RIGHT"),
                Arg::from_static("LEFT"),
                Arg::from(format!("{seconds:.3}")),
            ]),
            slot: Some(slot),
            node: None,
            blocking: true,
            timeout: timeout.saturating_add(slack),
        };
        let result = self.run(request).await;
        *self.park.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result?.into_optional_bytes()
    }

    /// A handle that ends a blocking call of this connection. It stays valid when the socket is replaced.
    pub fn unblocker(&self) -> Unblocker {
        Unblocker { shared: self.shared.clone(), park: Arc::clone(&self.park) }
    }

    /// How many sockets this connection has had. What was found out about the server holds for as long as this number
    /// stays the same: behind a fresh socket may be another server.
    pub fn sockets(&self) -> u64 {
        self.sockets
    }

    /// Says goodbye to the server.
    pub async fn close(mut self) {
        if let Some(socket) = self.link.take() {
            socket.link.quit().await;
        }
    }

    async fn run(&mut self, mut request: Request) -> Result<Reply, Error> {
        let (operation, blocking, limit) = (request.operation, request.blocking, request.timeout);
        let started = std::time::Instant::now();
        let result = match self.socket(limit).await {
            // Sent now it would likely time out, its outcome unknown and the fresh socket thrown away; and so would every
            // call after it. So the socket is kept for the next one, which has all its time.
            Ok(_) if started.elapsed() > limit / 2 => return Err(self.connected_late(operation, started)),
            Ok(socket) => {
                socket.parked = blocking;
                request.timeout = limit.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
                let result = socket.link.call(request).await;
                socket.parked = false;
                result
            }
            Err(error) => Err(error.with_operation(operation)),
        };
        self.shared.pool().conclude(operation, started, &result);
        self.distrust_after(result.as_ref().err());
        result
    }

    /// Throws the socket away if it cannot be trusted after this.
    pub(crate) fn distrust_after(&mut self, error: Option<&Error>) {
        if error.is_some_and(leaves_no_trust) {
            self.link = None;
        }
    }

    /// Says that the server behind the present socket is being tried, or was.
    pub(crate) fn note_trial(&mut self) {
        self.tried = self.sockets;
    }

    /// Whether the server behind the present socket was tried. Behind a fresh one may be another.
    pub(crate) fn was_tried(&self) -> bool {
        self.tried == self.sockets
    }

    pub(crate) fn shared(&self) -> &Connection {
        &self.shared
    }

    fn connected_late(&self, operation: &'static str, started: std::time::Instant) -> Error {
        let pool = self.shared.pool();
        let detail = "connecting took most of the time of this call; the next one finds the connection made";
        let error = Error::new(ErrorKind::Timeout, Progress::NotSent, detail)
            .with_origin(pool.driver().origin())
            .with_operation(operation);
        let result = Err(error.clone());
        pool.conclude(operation, started, &result);
        error
    }

    /// The current socket, or a fresh one if there is none that can be trusted and making it takes no longer than
    /// `limit`.
    pub(crate) async fn socket(&mut self, limit: Duration) -> Result<&mut Socket, Error> {
        let pool = self.shared.pool();
        if pool.is_closed() {
            (self.link, self.dialing) = (None, None);
            return Err(pool.closed_error());
        }
        // The driver may have reconnected in place; that socket is as good as a fresh one. One that is down or that a
        // dropped call still blocks is not.
        let usable = self.link.as_ref().is_some_and(|socket| !socket.parked && socket.link.seems_connected());
        if !usable {
            self.link = None;
            let driver = pool.driver();
            let dialing = self.dialing.get_or_insert_with(|| {
                let driver = Arc::clone(driver);
                AbortOnDropHandle::new(tokio::spawn(async move { driver.connect().await }))
            });
            let dialed = timeout(limit, dialing).await.map_err(|_elapsed| {
                let detail = format!("no connection within {limit:?}");
                Error::new(ErrorKind::Timeout, Progress::NotSent, detail).with_origin(driver.origin())
            })?;
            self.dialing = None;
            let link = dialed.map_err(|_gone| {
                Error::new(ErrorKind::Disconnected, Progress::NotSent, "connecting was given up")
                    .with_origin(driver.origin())
            })??;
            telemetry::reconnected("dedicated");
            self.link = Some(Socket::new(link));
            self.sockets += 1;
        }
        Ok(self.link.as_mut().expect("it was just made"))
    }

    /// Tells the unblockers where the coming call will wait.
    async fn announce(&mut self, slot: u16) -> Result<(), Error> {
        let limit = self.shared.settings().read_timeout;
        let socket = self.socket(limit).await?;
        // Reconnected: the server knows us under another number.
        while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = socket.reconnects.try_recv() {
            socket.ids.clear();
        }
        let node = if socket.link.is_clustered() {
            socket.link.client().cached_cluster_state().and_then(|routing| routing.get_server(slot).cloned())
        } else {
            None
        };
        let known = socket.ids.iter().find(|(server, _)| *server == node).map(|(_, id)| *id);
        let client_id = if let Some(id) = known {
            id
        } else {
            let mut request = Request::internal("CLIENT ID", vec![Arg::from_static("ID")], limit);
            request.node.clone_from(&node);
            let id = match self.run(request).await {
                Ok(reply) => reply.as_int()?,
                // A user who may not ask can wait all the same; nobody can wake it.
                Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Some(socket) = &mut self.link {
                socket.ids.push((node.clone(), id));
            }
            id
        };
        *self.park.lock().unwrap_or_else(PoisonError::into_inner) = Some(Park { node, client_id });
        Ok(())
    }
}

/// Whether a socket is to be thrown away after this error.
fn leaves_no_trust(error: &Error) -> bool {
    error.outcome_unknown() && !error.stopped_midway()
        || matches!(
            error.kind(),
            ErrorKind::Auth
                | ErrorKind::Disconnected
                | ErrorKind::Protocol
                | ErrorKind::RoleChange
                | ErrorKind::Timeout
        )
}

impl Unblocker {
    /// Ends the blocking call that is under way: it returns `None` as after its timeout. `true` if one was ended;
    /// `false` if none waits, or if the call is still on its way to the server: then ask again.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    ///
    /// # Cancel safety
    /// A dropped call may unblock or not; either is harmless.
    pub async fn unblock(&self) -> Result<bool, Error> {
        let park = self.park.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(park) = park else { return Ok(false) };
        let command = Command::new("CLIENT UNBLOCK").arg(park.client_id).arg("TIMEOUT");
        let reply = match park.node {
            Some(server) => self.shared.execute_on(&crate::node::Node::of_cluster(server), command).await?,
            None => self.shared.execute(command).await?,
        };
        Ok(reply.as_int()? == 1)
    }
}

impl fmt::Debug for DedicatedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedicatedConnection").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl fmt::Debug for Unblocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unblocker").field("shared", &self.shared).finish_non_exhaustive()
    }
}
