//! Writes together with the question how safe they are, in one round trip.
//!
//! ```text
//!  CLIENT SETNAME nonce | call, call, ... | WAIT n t  or  WAITAOF 1 0 t, CONFIG GET appendfsync | CLIENT GETNAME
//! ```
//!
//! The server answers `WAIT` for the writes of the connection that asks, and for one that has written nothing it
//! answers "everybody has all of it" at once. So the acknowledgement counts only if it came over the very socket that
//! carried the writes. A name that nobody else has, given before them and read back after, proves it: no driver that
//! reconnects in between, and no other server that took the address over, can answer with it.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use fred::interfaces::ClusterInterface as _;

use crate::arg::Arg;
use crate::command::Command;
use crate::dedicated::DedicatedConnection;
use crate::driver::{Link, REDIRECT_PAUSE, Request};
use crate::durability::SyncPolicy;
use crate::error::{Error, ErrorKind, Progress};
use crate::reply::Reply;
use crate::scripts::ScriptCall;
use crate::telemetry;

/// What a group of writes waits for; see [`DedicatedConnection::run_acknowledged`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acknowledgement {
    /// So many replicas have received them.
    Replicas {
        /// How many.
        count: NonZeroU32,
        /// How long to wait for them.
        within: Duration,
    },
    /// The server has them in its append-only file, and has synced that to its disk.
    Synced {
        /// The policy under which the server is known to tell the truth about it
        /// ([`DedicatedConnection::examine_sync`]); it must still be in force.
        policy: SyncPolicy,
        /// How long to wait for it.
        within: Duration,
    },
}

/// A command or a script call.
#[derive(Clone, Debug)]
pub enum Call {
    /// A command.
    Command(Command),
    /// A script.
    Script(ScriptCall),
}

/// What became of one call of a group.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The answer to the call itself.
    pub reply: Result<Reply, Error>,
    /// Whether what the call wrote is as safe as was asked for, or why that is not known: mostly
    /// [`ErrorKind::Unconfirmed`]. Says nothing where the call itself failed, or wrote nothing.
    pub confirmed: Result<(), Error>,
}

/// A call of the group that has no final answer yet.
#[derive(Clone, Copy)]
struct Open {
    at: usize,
    /// The server did not know the script by its hash.
    in_full: bool,
}

impl DedicatedConnection {
    /// Runs calls in order and waits until what they wrote is acknowledged, all in one round trip: the answers come
    /// when the acknowledgement does, or when it has not come in time. In a cluster all keys belong to one slot.
    ///
    /// Calls that had no effect because the server did not know their script, or because a cluster sent them
    /// elsewhere, are run again with an acknowledgement of their own. Ends within the acknowledgement's time and about
    /// three `read_timeout`s.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use valkey_connection::{Acknowledgement, Command, DedicatedConnection};
    ///
    /// # async fn example(mut dedicated: DedicatedConnection) -> Result<(), Box<dyn std::error::Error>> {
    /// let wanted = Acknowledgement::Replicas { count: 1.try_into()?, within: Duration::from_secs(1) };
    /// let push = Command::new("LPUSH").key("queue:orders").arg("{}");
    /// for answer in dedicated.run_acknowledged(vec![push.into()], wanted).await {
    ///     println!("{} waiting, replicated: {}", answer.reply?.as_int()?, answer.confirmed.is_ok());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The user needs `CLIENT SETNAME` and `CLIENT GETNAME`, and `WAIT`, or `WAITAOF` and `CONFIG GET`.
    ///
    /// # Cancel safety
    /// As [`execute`](Self::execute), for each call. The next call does not wait for the acknowledgement.
    pub async fn run_acknowledged(&mut self, calls: Vec<Call>, wanted: Acknowledgement) -> Vec<Acknowledged> {
        let give_up = Instant::now() + self.shared().settings().read_timeout;
        let mut open: Vec<Open> = (0..calls.len()).map(|at| Open { at, in_full: false }).collect();
        let nothing = Error::new(ErrorKind::Disconnected, Progress::NotSent, "not sent yet");
        let mut answers = vec![Acknowledged::failed(nothing); calls.len()];
        let mut detours = 0;
        while !open.is_empty() {
            let group = open.iter().map(|open| self.request_for(&calls[open.at], open.in_full)).collect();
            let group = self.flush(group, detours, wanted).await;
            let (mut again, mut redirected) = (Vec::new(), false);
            for (mut call, answer) in open.into_iter().zip(group) {
                match &answer.reply {
                    Err(error) if error.kind() == ErrorKind::NoScript && !call.in_full => {
                        telemetry::script_reloaded(calls[call.at].operation());
                        call.in_full = true;
                        again.push(call);
                    }
                    Err(error) if error.is_redirection() && Instant::now() < give_up => {
                        redirected = true;
                        again.push(call);
                    }
                    _ => {}
                }
                answers[call.at] = answer;
            }
            if redirected {
                detours += 1;
                tokio::time::sleep(REDIRECT_PAUSE).await;
            }
            open = again;
        }
        answers
    }

    fn request_for(&self, call: &Call, in_full: bool) -> Request {
        match call {
            Call::Command(command) => self.shared().request(command.clone()),
            Call::Script(call) if in_full => self.shared().by_source(call),
            Call::Script(call) => self.shared().by_hash(call),
        }
    }

    /// One pipeline on one socket. With each detour, calls that were redirected are tried at another node.
    async fn flush(
        &mut self,
        group: Vec<Request>,
        detours: usize,
        wanted: Acknowledgement,
    ) -> Vec<Acknowledged> {
        let limit = self.shared().settings().read_timeout;
        let started = Instant::now();
        let operations: Vec<&'static str> = group.iter().map(|request| request.operation).collect();
        let mut answers = match self.socket(limit).await {
            Ok(socket) => {
                socket.parked = true;
                let answers = pipeline(&socket.link, group, detours, wanted, limit).await;
                socket.parked = false;
                answers
            }
            Err(error) => operations
                .iter()
                .map(|operation| Acknowledged::failed(error.clone().with_operation(*operation)))
                .collect(),
        };
        let untried = wanted.needs_trial() && !self.was_tried();
        for (operation, answer) in operations.into_iter().zip(&mut answers) {
            if untried && answer.confirmed.is_ok() {
                let detail = "what this server calls synced is not known to be: it was not examined";
                answer.confirmed = Err(unconfirmed(detail.to_owned()));
            }
            self.shared().pool().conclude(operation, started, &answer.reply);
            self.distrust_after(answer.reply.as_ref().err());
            self.distrust_after(answer.confirmed.as_ref().err());
        }
        answers
    }
}

/// Whose writes they are, in the words of the wire.
async fn pipeline(
    link: &Link,
    mut group: Vec<Request>,
    detours: usize,
    wanted: Acknowledgement,
    limit: Duration,
) -> Vec<Acknowledged> {
    let mut node = None;
    let mut asks = false;
    if link.is_clustered() {
        // All on one node, named: each by its own key, they could be spread while the cluster changes.
        let owner = group.first().and_then(|request| request.slot).and_then(|slot| {
            link.client().cached_cluster_state().and_then(|routing| routing.get_server(slot).cloned())
        });
        let others: Vec<_> =
            group.first().map(|request| link.other_nodes(request).collect()).unwrap_or_default();
        (node, asks) = match (detours % (others.len() + 1)).checked_sub(1) {
            None => (owner, false),
            Some(other) => (others[other].clone(), true),
        };
        if node.is_none() {
            let error =
                Error::new(ErrorKind::Disconnected, Progress::NotSent, "no node is known for the slot");
            return group.iter().map(|_| Acknowledged::failed(error.clone())).collect();
        }
    }
    let own = |operation, args, timeout| {
        let mut request = Request::internal(operation, args, timeout);
        request.node.clone_from(&node);
        request
    };
    let nonce = format!("valkit-durable-{:032x}", rand::random::<u128>());
    let mut requests =
        vec![own("CLIENT SETNAME", vec![Arg::from_static("SETNAME"), Arg::from(&nonce)], limit)];
    let each = if asks { 2 } else { 1 };
    let calls = group.len();
    for request in &mut group {
        request.node.clone_from(&node);
    }
    for request in group {
        if asks {
            requests.push(own("ASKING", Vec::new(), limit));
        }
        requests.push(request);
    }
    let patience = wanted.within().saturating_add(limit);
    let mut wait = own(wanted.command(), wanted.arguments(), patience);
    wait.blocking = true;
    requests.push(wait);
    if matches!(wanted, Acknowledgement::Synced { .. }) {
        let args = vec![Arg::from_static("GET"), Arg::from_static("appendfsync")];
        requests.push(own("CONFIG GET", args, patience));
    }
    requests.push(own("CLIENT GETNAME", vec![Arg::from_static("GETNAME")], patience));

    // `join_all` polls in order, and the first poll hands a request to the driver.
    let replies =
        futures::future::join_all(requests.into_iter().map(|request| link.call_once(request))).await;
    let mut replies = replies.into_iter();
    let _named = replies.next();
    let answered: Vec<_> = replies.by_ref().take(calls * each).skip(each - 1).step_by(each).collect();
    let confirmed = wanted.confirmed(&nonce, replies.collect());
    answered.into_iter().map(|reply| Acknowledged { reply, confirmed: confirmed.clone() }).collect()
}

impl Acknowledgement {
    /// How long it may take.
    pub const fn within(&self) -> Duration {
        match self {
            Self::Replicas { within, .. } | Self::Synced { within, .. } => *within,
        }
    }

    /// Whether it is worth something only from a server that was tried over the same socket: one that syncs before it
    /// answers shows that with each answer, any other only by the time it takes.
    fn needs_trial(&self) -> bool {
        matches!(self, Self::Synced { policy, .. } if *policy != SyncPolicy::Always)
    }

    const fn command(&self) -> &'static str {
        match self {
            Self::Replicas { .. } => "WAIT",
            Self::Synced { .. } => "WAITAOF",
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        // 0 would wait for ever.
        let within =
            u64::try_from(self.within().as_millis()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX));
        match self {
            Self::Replicas { count, .. } => vec![Arg::from(count.get()), Arg::from(within)],
            Self::Synced { .. } => vec![Arg::from(1_u32), Arg::from(0_u32), Arg::from(within)],
        }
    }

    /// What the replies that follow the calls prove.
    fn confirmed(&self, nonce: &str, replies: Vec<Result<Reply, Error>>) -> Result<(), Error> {
        let mut replies = replies.into_iter();
        let mut next = || replies.next().ok_or_else(|| Error::unexpected("a reply", "none"))?;
        // First the errors of this one: it says why all the others may be missing.
        let waited = next()?;
        let policy = match self {
            Self::Replicas { .. } => None,
            Self::Synced { .. } => Some(next()?),
        };
        let name = next()?.into_optional_bytes()?;
        if name.as_deref() != Some(nonce.as_bytes()) {
            let detail = "the connection was replaced before the acknowledgement, which says nothing then";
            return Err(Error::new(ErrorKind::Disconnected, Progress::Unknown, detail));
        }
        let within = self.within();
        match self {
            Self::Replicas { count, .. } => {
                let got = waited.as_int()?;
                if got < i64::from(count.get()) {
                    return Err(unconfirmed(format!("{got} of {count} replicas had it within {within:?}")));
                }
            }
            Self::Synced { policy: examined, .. } => {
                let synced = waited.into_array()?.first().map_or(Ok(0), Reply::as_int)?;
                if synced < 1 {
                    return Err(unconfirmed(format!("it was not synced to the disk within {within:?}")));
                }
                let now =
                    SyncPolicy::from_config(policy.ok_or_else(|| Error::unexpected("a reply", "none"))?)?;
                if now != *examined {
                    let detail =
                        format!("appendfsync was changed to `{now}`, so what the server says is no proof");
                    return Err(unconfirmed(detail));
                }
            }
        }
        Ok(())
    }
}

fn unconfirmed(detail: String) -> Error {
    Error::new(ErrorKind::Unconfirmed, Progress::Answered, detail)
}

impl Acknowledged {
    fn failed(error: Error) -> Self {
        Self { reply: Err(error.clone()), confirmed: Err(error) }
    }
}

impl Call {
    fn operation(&self) -> &'static str {
        match self {
            Self::Command(command) => command.name(),
            Self::Script(call) => call.name(),
        }
    }
}

impl From<Command> for Call {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl From<ScriptCall> for Call {
    fn from(call: ScriptCall) -> Self {
        Self::Script(call)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(2);
    const NONCE: &str = "valkit-durable-1";

    fn replicas(count: u32) -> Acknowledgement {
        Acknowledgement::Replicas { count: NonZeroU32::new(count).unwrap(), within: WITHIN }
    }

    #[allow(clippy::unnecessary_wraps, reason = "it stands where a reply that may be missing is wanted")]
    fn text(text: &'static str) -> Result<Reply, Error> {
        Ok(Reply::Bytes(text.into()))
    }

    fn synced(count: i64, policy: &'static str) -> Vec<Result<Reply, Error>> {
        let pairs = Reply::Map(vec![(text("appendfsync").unwrap(), text(policy).unwrap())]);
        vec![Ok(Reply::Array(vec![Reply::Int(count), Reply::Int(0)])), Ok(pairs), text(NONCE)]
    }

    #[test]
    fn a_count_is_compared_with_what_was_wanted() {
        for (got, enough) in [(0, false), (1, false), (2, true), (3, true)] {
            let confirmed = replicas(2).confirmed(NONCE, vec![Ok(Reply::Int(got)), text(NONCE)]);
            assert_eq!(confirmed.is_ok(), enough, "{got}");
            if let Err(error) = confirmed {
                assert_eq!(error.kind(), ErrorKind::Unconfirmed);
                assert!(
                    error.is_transient() && error.to_string().contains(&format!("{got} of 2")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn an_answer_of_another_socket_proves_nothing() {
        for name in [Ok(Reply::Nil), text("valkit-durable-2"), text("valkit")] {
            let error = replicas(1).confirmed(NONCE, vec![Ok(Reply::Int(5)), name]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
            assert!(error.outcome_unknown());
        }
        assert!(replicas(1).confirmed(NONCE, Vec::new()).is_err());
    }

    #[test]
    fn synced_counts_only_under_the_policy_that_was_examined() {
        let wanted = Acknowledgement::Synced { policy: SyncPolicy::Always, within: WITHIN };
        assert_eq!(wanted.confirmed(NONCE, synced(1, "always")), Ok(()));
        for (count, policy) in [(0, "always"), (1, "everysec"), (1, "no")] {
            let error = wanted.confirmed(NONCE, synced(count, policy)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unconfirmed, "{error}");
        }
    }
}
