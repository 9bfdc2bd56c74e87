//! Marks in Valkey, beside the queue.

use std::time::{Duration, Instant};

use valkey_connection::{Command, Connection, Error, Reply, ScriptCall};
use valkey_envelope::QueueName;

use crate::handler::{Handler, Message};
use crate::inbox::guard::{Guard, OnDoubt};
use crate::inbox::key::{KeyRule, OnMissingKey};
use crate::inbox::writes::{Apply, WritesHandler};
use crate::outcome::Outcome;

/// When a message comes again whose inbox could not be asked.
pub(crate) const AGAIN_SOON: Duration = Duration::from_secs(1);

/// How long a call is repeated before the message is put off.
const PATIENCE: Duration = Duration::from_secs(5);

const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const LONGEST_LEASE: Duration = Duration::from_hours(1);
const LONGEST_RETENTION: Duration = Duration::from_hours(10 * 366 * 24);

/// Remembers in Valkey which effects have happened, in one key a message: `{queue:NAME}:inbox:KEY`.
///
/// A mark costs one round trip for [`apply`](Self::apply) and two for [`guard`](Self::guard), and, with a UUID for a key and a
/// queue's name of 20 characters, about 190 bytes of the server's memory for as long as it is
/// [kept](Self::retention): 1 million messages a day for 7 days are about 1.3 GB.
///
/// The user needs, besides what a consumer needs: `GET`, `SET`, `DEL` on `{queue:NAME}:inbox:*` (the pattern of a consumer
/// covers them), and for `apply` whatever its commands are.
///
/// Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ValkeyInbox {
    connection: Connection,
    lease: Duration,
    retention: Duration,
    rule: KeyRule,
}

/// What is known of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mark {
    /// A run of it is under way, or ended without a word less than a lease ago.
    Claimed,
    /// It has happened.
    Done,
    /// It has happened in part: see [`Writes`](crate::inbox::Writes).
    HalfApplied,
    /// A run of it ended without a word.
    InDoubt,
}

// === impl ValkeyInbox ===

impl ValkeyInbox {
    /// An inbox on this connection, which must lead to the server that has the queue.
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            lease: Duration::from_secs(30),
            retention: Duration::from_hours(7 * 24),
            rule: KeyRule::default(),
        }
    }

    /// How long a run under [`guard`](Self::guard) has its effect to itself: 30 s unless set, from 100 ms to 1 h.
    ///
    /// Longer than the effect ever takes: the run is dropped when nine tenths are over, and is then in doubt. As short as
    /// that allows: after a crash the message waits for its end.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        self
    }

    /// How long an effect is remembered: 7 days unless set, at most ten years, and never shorter than two leases.
    ///
    /// Longer than anything can still bring the message again: see [the module](crate::inbox).
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention.min(LONGEST_RETENTION);
        self
    }

    /// Remembers effects under this key instead of the message's id. `None` is a message without a key.
    ///
    /// Two guarded handlers that see the same message need two keys, such as `mail:ID` and `account:ID`.
    #[must_use]
    pub fn key(mut self, key: impl Fn(&Message) -> Option<String> + Send + Sync + 'static) -> Self {
        self.rule.by(key);
        self
    }

    /// What becomes of messages without a key; dead letters unless set.
    #[must_use]
    pub fn on_missing_key(mut self, missing: OnMissingKey) -> Self {
        self.rule.missing = missing;
        self
    }

    /// A handler whose effect is writes to this Valkey, carried out in one step with the mark: the effect happens **once**.
    ///
    /// ```no_run
    /// use valkey_connection::{Connection, ConnectionSettings};
    /// use valkey_receiver::inbox::{ValkeyInbox, Write, Writes};
    /// use valkey_receiver::{Message, Receiver};
    ///
    /// async fn book(message: Message) -> Result<Writes, valkey_envelope::DecodeError> {
    ///     let cents: i64 = message.payload_as()?;
    ///     let account = message.queue().keys().app("balance");
    ///     Ok(Write::new("INCRBY").key(account).arg(cents).into())
    /// }
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = Connection::connect(&ConnectionSettings::default()).await?;
    /// let receiver = Receiver::builder(&connection).queue("payments".parse()?).start().await?;
    /// println!("{}", receiver.serve(ValkeyInbox::new(&connection).apply(book)).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply<H: WritesHandler>(self, handler: H) -> Apply<H> {
        Apply::new(self, handler)
    }

    /// A handler whose effect is elsewhere: claimed, run, marked as done.
    ///
    /// | the handler answers | the mark |
    /// |---|---|
    /// | ack | done: it never runs again |
    /// | nack, snooze, dead letter | none: the effect **has not happened**, and a later delivery or replay runs it |
    /// | dead letter as [`IN_DOUBT`](crate::inbox::IN_DOUBT) | in doubt |
    /// | nothing: it panicked, was dropped, its process died | in doubt when the lease is over |
    ///
    /// So an `Err` must mean that nothing happened; a call that was sent and not answered is [in doubt](crate::inbox::IN_DOUBT).
    ///
    /// No two runs of one effect are under way at the same time, as long as a run can be stopped: it is dropped at its
    /// next await when nine tenths of the [lease](Self::lease) are over. A process that stands still in the middle of an
    /// effect (`SIGSTOP`, a suspended machine, a handler that blocks its thread) cannot be stopped, and what it does when it
    /// wakes up may fall together with a second run under [`OnDoubt::RunAgain`]; under [`OnDoubt::DeadLetter`] there is no second run.
    pub fn guard<H: Handler>(self, on_doubt: OnDoubt, handler: H) -> Guard<H> {
        Guard::new(self, on_doubt, handler)
    }

    /// The key of the mark.
    pub fn mark_key(queue: &QueueName, key: &str) -> String {
        queue.keys().inbox(key)
    }

    /// What is known of the effect of the message with this key; `None`: it has not begun, or was forgotten.
    ///
    /// # Errors
    /// If the server cannot be asked, or the key holds something else.
    pub async fn mark(&self, queue: &QueueName, key: &str) -> Result<Option<Mark>, Error> {
        let get = Command::new("GET").key(Self::mark_key(queue, key));
        let Some(mark) = self.connection.execute(get).await?.into_optional_bytes()? else { return Ok(None) };
        Ok(Some(match &*mark {
            b"d" => Mark::Done,
            b"h" => Mark::HalfApplied,
            claim => {
                let deadline = claim.split(|&byte| byte == b'|').nth(1);
                let deadline: i64 =
                    deadline.and_then(|ms| std::str::from_utf8(ms).ok()?.parse().ok()).unwrap_or(0);
                let time = self.connection.execute(Command::new("TIME")).await?.into_array()?;
                let now = time.first().map_or(Ok(0), Reply::as_int)? * 1000;
                if now < deadline { Mark::Claimed } else { Mark::InDoubt }
            }
        }))
    }

    /// Forgets what is known of the effect, so that the next delivery or replay of the message runs it. For whoever has
    /// found out that an effect in doubt did not happen. Returns whether there was a mark.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn forget(&self, queue: &QueueName, key: &str) -> Result<bool, Error> {
        let gone = self.connection.execute(Command::new("DEL").key(Self::mark_key(queue, key))).await?;
        Ok(gone.as_int()? > 0)
    }

    pub(crate) fn key_of(&self, message: &Message) -> Result<String, Outcome> {
        self.rule.of(message)
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        millis(self.lease)
    }

    pub(crate) fn retention_ms(&self) -> u64 {
        millis(self.retention.max(self.lease * 2))
    }

    /// How long a run may take, counted from the claim: the rest of the lease is for the drop to take effect.
    pub(crate) fn run_limit(&self) -> Duration {
        self.lease * 9 / 10
    }

    /// Calls a script that may be repeated, until it is answered or patience ends.
    pub(crate) async fn ask(&self, call: ScriptCall) -> Result<Reply, Error> {
        self.ask_noting(call, || ()).await
    }

    /// The same; `sending` is called before each try.
    pub(crate) async fn ask_noting(
        &self,
        call: ScriptCall,
        mut sending: impl FnMut(),
    ) -> Result<Reply, Error> {
        let end = Instant::now() + PATIENCE.min(self.lease);
        let mut pause = Duration::from_millis(10);
        loop {
            sending();
            let error = match self.connection.invoke(call.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let hope = error.is_transient() || error.outcome_unknown() && !error.stopped_midway();
            if !hope || Instant::now() + pause >= end {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_SOON);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A word or a number of a script's answer; empty if there is none.
pub(crate) fn text(reply: Option<Reply>) -> String {
    reply
        .and_then(|reply| match reply {
            Reply::Int(number) => Some(number.to_string()),
            other => other.into_string().ok(),
        })
        .unwrap_or_default()
}
