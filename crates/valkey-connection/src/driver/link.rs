//! One driver client with the task that runs it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error as FredError;
use fred::interfaces::{ClientLike, ClusterInterface, EventInterface};
use fred::types::config::{Options, Server};
use fred::types::{ClientState, ClusterHash, CustomCommand, Value};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::belief::Gate;
use super::board::Primary;
use super::errors;
use crate::arg::Arg;
use crate::error::{Error, ErrorKind, Origin, Progress};
use crate::health::is_answer;
use crate::reply::Reply;
use crate::settings::ConnectionSettings;

/// How much longer than the driver's own timer ours runs: it only speaks when the driver's does not.
const GRACE: Duration = Duration::from_millis(50);
/// Between two rounds of looking for the node that has a slot.
pub(crate) const REDIRECT_PAUSE: Duration = Duration::from_millis(20);

/// One driver client and its task. Dropping it breaks its sockets at once.
pub(crate) struct Link {
    client: Client,
    gate: Gate,
    /// Cancelled when the task has ended.
    over: CancellationToken,
    /// Whom the Sentinels named when it was made.
    primary: Option<Primary>,
    origin: Arc<Origin>,
    clustered: bool,
    in_flight: AtomicUsize,
}

/// Whether a lost connection is made again in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Returns {
    /// By the driver.
    ToItsAddress,
    /// The address may be another server's by now.
    Never,
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

impl Request {
    /// A request of our own, without a key. The name's first word is the verb; the rest is for people.
    pub(crate) fn internal(operation: &'static str, args: Vec<Arg>, timeout: Duration) -> Self {
        let verb = operation.split(' ').next().unwrap_or(operation);
        Self { operation, verb, args: values(args), slot: None, node: None, blocking: false, timeout }
    }
}

/// The slot of a key, by the cluster's rule (hash tag if there is one).
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    fred::util::redis_keyslot(key)
}

pub(crate) fn values(args: Vec<Arg>) -> Vec<Value> {
    args.into_iter().map(Value::from).collect()
}

impl Link {
    /// Connects a client. The driver's task runs on the current runtime.
    pub(super) async fn start(
        client: Client,
        origin: &Arc<Origin>,
        clustered: bool,
        limit: Duration,
        returns: Returns,
    ) -> Result<Self, Error> {
        // What `init()` does, but with the task owned from the first moment on: a connect that is dropped half-way
        // must not leave a task behind that succeeds later and lives for ever. The first poll subscribes to the news.
        let mut ready = Box::pin({
            let client = client.clone();
            async move { client.wait_for_connect().await }
        });
        let early = std::future::poll_fn(|context| Poll::Ready(ready.as_mut().poll(context))).await;
        let losses = client.error_rx();
        let over = CancellationToken::new();
        let running = client.connect();
        let link = Self {
            gate: Gate::new(running.abort_handle()),
            over: over.clone(),
            primary: None,
            client,
            origin: Arc::clone(origin),
            clustered,
            in_flight: AtomicUsize::new(0),
        };
        let connected = match early {
            Poll::Ready(result) => Ok(result),
            Poll::Pending => timeout(limit + GRACE, ready).await,
        };
        match connected {
            Ok(Ok(())) => {
                let losses = (returns == Returns::Never).then_some(losses);
                tokio::spawn(attend(running, losses, over));
                Ok(link)
            }
            Ok(Err(error)) => Err(errors::of_connect(&error)),
            Err(_elapsed) => Err(Error::new(
                ErrorKind::Timeout,
                Progress::NotSent,
                format!("no connection within {limit:?}"),
            )),
        }
    }

    /// Tells the server our name, on every node. Best effort: a name is for people who look at `CLIENT LIST`.
    pub(crate) async fn introduce(&self, settings: &ConnectionSettings) {
        if settings.client_name.is_empty() {
            return;
        }
        let args = vec![Arg::from_static("SETNAME"), Arg::from(&settings.client_name)];
        let request = Request::internal("CLIENT SETNAME", args, settings.probe_timeout);
        futures::future::join_all(self.on_every_node(&request)).await;
    }

    /// Asks every node for a sign of life. Any answer is one, also a refusal.
    ///
    /// # Errors
    /// Why one of them gave none.
    pub(crate) async fn probe(&self, limit: Duration) -> Result<(), Error> {
        let ping = Request::internal("PING", Vec::new(), limit);
        for result in futures::future::join_all(self.on_every_node(&ping)).await {
            if !is_answer(&result) {
                return result.map(drop);
            }
        }
        Ok(())
    }

    /// Asks whether this is a primary. Where the user may ask neither way, the word of whoever sent us here has to do.
    ///
    /// # Errors
    /// It is none, or there was no answer.
    pub(crate) async fn check_primary(&self, limit: Duration) -> Result<(), Error> {
        let role = self.call(Request::internal("ROLE", Vec::new(), limit)).await;
        let role = match role.and_then(Reply::into_array) {
            Ok(parts) => parts.into_iter().next().map(Reply::into_string).transpose()?.unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Denied => {
                let info = Request::internal("INFO", vec![Arg::from_static("replication")], limit);
                match self.call(info).await.and_then(Reply::into_string) {
                    Ok(text) => {
                        let role = text.lines().find_map(|line| line.strip_prefix("role:"));
                        role.unwrap_or_default().trim().to_owned()
                    }
                    Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
                    Err(error) => return Err(error.with_progress(Progress::NotSent)),
                }
            }
            Err(error) => return Err(error.with_progress(Progress::NotSent)),
        };
        if role == "master" {
            return Ok(());
        }
        let detail = format!("the Sentinels name a server whose role is `{role}`");
        Err(Error::new(ErrorKind::RoleChange, Progress::NotSent, detail).with_origin(&self.origin))
    }

    fn on_every_node(
        &self,
        request: &Request,
    ) -> Vec<impl Future<Output = Result<Reply, Error>> + Send + use<'_>> {
        let nodes = self.client.cached_cluster_state().filter(|_| self.clustered);
        let mut nodes: Vec<_> = nodes
            .map(|routing| routing.unique_primary_nodes())
            .unwrap_or_default()
            .into_iter()
            .map(Some)
            .collect();
        if nodes.is_empty() {
            nodes.push(None);
        }
        nodes.into_iter().map(|node| self.call_once(Request { node, ..request.clone() })).collect()
    }

    /// Whether calls have a chance. Only a hint: the driver may say "connected" on a dead link.
    pub(crate) fn seems_connected(&self) -> bool {
        self.client.state() == ClientState::Connected && !self.gate.is_shut() && !self.gate.is_finished()
    }

    /// Whether the driver's task has ended, after which nothing can ever be answered.
    pub(crate) fn is_finished(&self) -> bool {
        self.gate.is_finished()
    }

    /// Breaks the sockets at once; whoever waits on them gets an error, and whoever comes is told that nothing was sent.
    pub(crate) fn cut(&self) {
        self.gate.shut();
    }

    /// Waits until nothing can be answered any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Whom the Sentinels named when it was made.
    pub(crate) fn primary(&self) -> Option<&Primary> {
        self.primary.as_ref()
    }

    /// Writes down whom the Sentinels named when it was made.
    pub(super) fn leads_to(&mut self, primary: Primary) {
        self.primary = Some(primary);
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
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

    /// Hears of each connection to a node.
    pub(crate) fn reconnects(&self) -> broadcast::Receiver<Server> {
        self.client.reconnect_rx()
    }

    /// Waits until it is connected as a whole: with all nodes of a cluster, where one that is away keeps all from being
    /// served. After a loss the driver says so too early, before its first try to connect.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn whole(&self) {
        // What ends it otherwise is the end of the client, of which others tell.
        let _ = self.client.wait_for_connect().await;
    }

    /// Sends a request and waits for its reply, but never longer than its timeout. Follows redirections.
    ///
    /// # Cancel safety
    /// A dropped call may be executed or not.
    pub(crate) async fn call(&self, request: Request) -> Result<Reply, Error> {
        if !self.clustered {
            return self.call_once(request).await;
        }
        let deadline = Instant::now() + request.timeout;
        let mut again = request.clone();
        match self.call_once(request).await {
            Err(error) if error.is_redirection() => {
                again.timeout = deadline.saturating_duration_since(Instant::now());
                Box::pin(self.follow(again)).await
            }
            result => result,
        }
    }

    /// Sends a request once. The request is handed to the driver when the future is first polled; requests polled in
    /// order are written in order.
    pub(crate) fn call_once(&self, request: Request) -> impl Future<Output = Result<Reply, Error>> + Send {
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
            if self.gate.is_shut() {
                let error =
                    Error::new(ErrorKind::Disconnected, Progress::NotSent, "the connection was given up");
                return Err(error.with_operation(operation).with_origin(&self.origin));
            }
            // The driver's future is 7 kB: better on the heap once than copied from future to future.
            let reply = Box::pin(client.custom_raw(command, request.args));
            let result = match timeout_at(deadline, reply).await {
                Ok(Ok(frame)) => Reply::from_frame(frame),
                Ok(Err(error)) => Err(errors::of_call(&error, limit)),
                Err(_elapsed) => Err(errors::timed_out(limit)),
            };
            result.map_err(|error| {
                let error = if self.clustered { error } else { error.outside_cluster() };
                error.with_operation(operation).with_origin(&self.origin)
            })
        }
    }

    /// Sends a request again that a cluster node has redirected, which means that it was not executed.
    ///
    /// The driver does not follow redirections here (it would count them as attempts, and a second attempt is one that
    /// may repeat a write), but it has learnt the new routing when the slot has moved for good. While the slot is only
    /// moving, the answer was `ASK` for a node the driver keeps to itself: each of the others is asked, and all but the
    /// right one send us away once more.
    pub(crate) async fn follow(&self, mut request: Request) -> Result<Reply, Error> {
        let deadline = Instant::now() + request.timeout;
        loop {
            for node in std::iter::once(None).chain(self.other_nodes(&request)) {
                let left = deadline.saturating_duration_since(Instant::now());
                request.timeout = left.max(Duration::from_millis(1));
                let result = match node {
                    None => self.call_once(request.clone()).await,
                    Some(_) if request.node.is_some() => break,
                    Some(server) => self.call_asking(Request { node: Some(server), ..request.clone() }).await,
                };
                match result {
                    Err(error) if error.is_redirection() && !left.is_zero() => {}
                    result => return result,
                }
            }
            tokio::time::sleep(REDIRECT_PAUSE).await;
        }
    }

    /// The request with `ASKING` before it. Should somebody else's request come in between, ours is sent away again.
    async fn call_asking(&self, request: Request) -> Result<Reply, Error> {
        let asking = Request { verb: "ASKING", args: Vec::new(), blocking: false, ..request.clone() };
        let (asked, result) = tokio::join!(biased; self.call_once(asking), self.call_once(request));
        match asked {
            Ok(_) => result,
            // Without a node of that name nothing is said about the request; somebody else may know it.
            Err(_) if result.is_ok() => result,
            Err(error) => Err(error),
        }
    }

    /// The primaries that do not own the request's slot as far as we know.
    pub(crate) fn other_nodes(&self, request: &Request) -> impl Iterator<Item = Option<Server>> + use<> {
        let routing = self.client.cached_cluster_state();
        let slot = request.slot;
        routing
            .map(|routing| {
                let owner = slot.and_then(|slot| routing.get_server(slot)).cloned();
                let mut nodes = routing.unique_primary_nodes();
                nodes.retain(|node| Some(node) != owner.as_ref());
                nodes
            })
            .unwrap_or_default()
            .into_iter()
            .map(Some)
    }

    /// Says goodbye, bounded, then breaks the sockets.
    pub(crate) async fn quit(&self) {
        // QUIT first waits for everything in flight, which on a dead link never ends.
        let _ = timeout(Duration::from_millis(500), self.client.quit()).await;
        self.gate.shut();
    }
}

/// Waits for the end of a driver's task, and brings it about with the first loss where it must not come back by itself.
async fn attend(
    mut running: JoinHandle<Result<(), FredError>>,
    losses: Option<broadcast::Receiver<(FredError, Option<Server>)>>,
    over: CancellationToken,
) {
    let _told = over.drop_guard();
    let lost = async {
        match losses {
            Some(mut losses) => drop(losses.recv().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = &mut running => {}
        () = lost => {
            running.abort();
            let _ = running.await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.gate.shut();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_hash_tag() {
        assert_eq!(slot_of(b"queue:orders"), slot_of(b"{queue:orders}:woken"));
        assert_eq!(slot_of(b"123456789"), 12739);
    }
}
