//! Effects in a store with transactions: the mark is committed with the effect, or neither is.

use std::fmt::{self, Display};
use std::future::Future;
use std::time::Duration;

use valkey_envelope::QueueName;

use crate::handler::{Handler, Message};
use crate::inbox::IntoRefusal;
use crate::inbox::key::{KeyRule, OnMissingKey};
use crate::outcome::Outcome;
use crate::telemetry::InboxFate;

/// A store that can commit a mark and an effect together.
///
/// For SQL it is a table and three statements (here PostgreSQL's; others differ in the words):
///
/// ```sql
/// CREATE TABLE inbox (
///     queue text        NOT NULL,
///     key   text        NOT NULL,
///     at    timestamptz NOT NULL DEFAULT now(),
///     PRIMARY KEY (queue, key)
/// );
/// CREATE INDEX inbox_at ON inbox (at);
///
/// -- begin(): one row inserted means First, none means Done, SQLSTATE 55P03 means Busy. Of two that insert the same key
/// -- at the same time the second waits here for the end of the first, so no two transactions of one key are ever under way.
/// BEGIN;
/// SET LOCAL lock_timeout = '2s';
/// SET LOCAL idle_in_transaction_session_timeout = '10s';
/// INSERT INTO inbox (queue, key) VALUES ($1, $2) ON CONFLICT DO NOTHING;
/// -- ... the effect ...
/// -- commit():
/// COMMIT;
///
/// -- From time to time: longer ago than anything can still bring a message again.
/// DELETE FROM inbox WHERE at < now() - interval '30 days';
/// ```
///
/// The table must be in the database of the effect: a transaction over two of them is none. `READ COMMITTED`,
/// PostgreSQL's default, is enough; with `SERIALIZABLE` a conflict is an error of [`begin`](Self::begin) or
/// [`commit`](Self::commit), and the message is tried again.
///
/// The two time limits are for a consumer that stands still, or whose machine is gone, in the middle of a transaction. The
/// database keeps its row locked for as long as it takes the session for alive: hours, if only TCP decides. The second limit
/// ends it within the lease; keep it below. The first keeps those who wait for the row meanwhile from using up the
/// connections of the pool; a `Busy` message waits without an attempt being counted.
///
/// Dropping a `Tx` must roll it back, as it does in `sqlx` and `diesel-async`, because handlers are dropped: by a timeout, a
/// drain, a lost lease.
///
/// A whole program, with a file for a database, is `examples/inbox.rs`.
pub trait Inbox: Send + Sync + 'static {
    /// A transaction under way.
    type Tx: Send;
    /// Why the store did not do it.
    type Error: Display + Send;

    /// Begins a transaction and puts the mark `key` of `queue` into it.
    fn begin(
        &self,
        queue: &QueueName,
        key: &str,
    ) -> impl Future<Output = Result<Begun<Self::Tx>, Self::Error>> + Send;

    /// Commits. An error may mean that it was committed all the same; then the next `begin` finds the mark.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What the beginning of a transaction found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun<Tx> {
    /// The mark is new: here is the transaction to put the effect into.
    First(Tx),
    /// The mark is there: the effect has been committed before.
    Done,
    /// Another transaction has put the mark in, and has not ended within the time that was waited for it. The message comes
    /// again a little later, and no attempt is counted: nothing is wrong with it.
    Busy,
}

/// How long a message waits for the transaction of another run.
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// Works on a message inside a transaction, and gives the transaction back to have it committed.
///
/// Every `async fn(Message, Tx) -> Result<Tx, E>` is one. An `Err` rolls back (the transaction was dropped) and is a nack
/// with its text, or the [`Outcome`] that it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler inside of a transaction",
    label = "not an `async fn(Message, Tx) -> Result<Tx, E>`",
    note = "to commit, give the transaction back: `Ok(tx)`"
)]
pub trait TransactionHandler<Tx>: Send + Sync + 'static {
    /// Puts the effect of `message` into `tx`.
    fn handle(&self, message: Message, tx: Tx) -> impl Future<Output = Result<Tx, Outcome>> + Send;
}

impl<F, Fut, Tx, E> TransactionHandler<Tx> for F
where
    F: Fn(Message, Tx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Tx, E>> + Send,
    Tx: Send,
    E: IntoRefusal,
{
    async fn handle(&self, message: Message, tx: Tx) -> Result<Tx, Outcome> {
        self(message, tx).await.map_err(IntoRefusal::into_refusal)
    }
}

/// A handler whose effect and mark are committed together by `store`: the effect happens **once**.
///
/// See [the module](crate::inbox) for what that presumes.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use valkey_envelope::{Envelope, QueueName};
/// use valkey_receiver::inbox::{Begun, Inbox, in_transaction};
/// use valkey_receiver::{Handler, Message, Outcome};
///
/// /// Marks and accounts; a real one would be a database.
/// #[derive(Clone, Default)]
/// struct Store(Arc<Mutex<(Vec<String>, Vec<String>)>>);
///
/// /// What is to be committed; dropped, it is forgotten.
/// struct Tx {
///     mark: String,
///     accounts: Vec<String>,
/// }
///
/// impl Inbox for Store {
///     type Tx = Tx;
///     type Error = std::convert::Infallible;
///
///     async fn begin(&self, queue: &QueueName, key: &str) -> Result<Begun<Tx>, Self::Error> {
///         let mark = format!("{queue} {key}");
///         let done = self.0.lock().unwrap().0.contains(&mark);
///         Ok(if done { Begun::Done } else { Begun::First(Tx { mark, accounts: Vec::new() }) })
///     }
///
///     async fn commit(&self, tx: Tx) -> Result<(), Self::Error> {
///         let (marks, accounts) = &mut *self.0.lock().unwrap();
///         marks.push(tx.mark);
///         accounts.extend(tx.accounts);
///         Ok(())
///     }
/// }
///
/// async fn register(message: Message, mut tx: Tx) -> Result<Tx, valkey_envelope::DecodeError> {
///     tx.accounts.push(message.payload_as()?);
///     Ok(tx)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = Store::default();
/// let handler = in_transaction(store.clone(), register);
/// let message = Message::detached(Envelope::new("ada").unwrap(), &"registrations".parse().unwrap());
/// for _ in 0..3 {
///     assert_eq!(handler.handle(message.clone()).await, Outcome::Ack);
/// }
/// assert_eq!(store.0.lock().unwrap().1, ["ada"]);
/// # });
/// ```
pub fn in_transaction<I, H>(store: I, handler: H) -> InTransaction<I, H>
where
    I: Inbox,
    H: TransactionHandler<I::Tx>,
{
    InTransaction { store, handler, rule: KeyRule::default() }
}

/// A [`Handler`] that works inside of transactions; made by [`in_transaction`].
#[derive(Clone)]
#[must_use = "a handler does nothing until it is served"]
pub struct InTransaction<I, H> {
    store: I,
    handler: H,
    rule: KeyRule,
}

// === impl InTransaction ===

impl<I, H> InTransaction<I, H> {
    /// Remembers effects under this key instead of the message's id. `None` is a message without a key.
    pub fn key(mut self, key: impl Fn(&Message) -> Option<String> + Send + Sync + 'static) -> Self {
        self.rule.by(key);
        self
    }

    /// What becomes of messages without a key.
    pub fn on_missing_key(mut self, missing: OnMissingKey) -> Self {
        self.rule.missing = missing;
        self
    }
}

impl<I: Inbox, H: TransactionHandler<I::Tx>> Handler for InTransaction<I, H> {
    async fn handle(&self, message: Message) -> Outcome {
        let key = match self.rule.of(&message) {
            Ok(key) => key,
            Err(outcome) => return outcome,
        };
        let queue = message.queue().clone();
        let tx = match self.store.begin(&queue, &key).await {
            Ok(Begun::First(tx)) => tx,
            Ok(Begun::Done) => {
                InboxFate::Done.count(&queue);
                return Outcome::Ack;
            }
            Ok(Begun::Busy) => {
                InboxFate::Busy.count(&queue);
                return Outcome::snooze(BUSY_WAIT);
            }
            Err(error) => return Outcome::nack(error),
        };
        let tx = match self.handler.handle(message, tx).await {
            Ok(tx) => tx,
            Err(refusal) => {
                InboxFate::Refused.count(&queue);
                return refusal;
            }
        };
        match self.store.commit(tx).await {
            Ok(()) => {
                InboxFate::Ran.count(&queue);
                Outcome::Ack
            }
            Err(error) => Outcome::nack(error),
        }
    }
}

impl<I, H> fmt::Debug for InTransaction<I, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InTransaction").field("rule", &self.rule).finish_non_exhaustive()
    }
}
