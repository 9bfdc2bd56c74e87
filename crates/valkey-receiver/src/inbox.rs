//! Handlers whose effect happens once, although their message may come more than once.
//!
//! A message is delivered again when its consumer dies, stands still or loses its lease before the ack. An inbox
//! remembers, under the message's id, that the effect has happened. How much that promises depends on where the effect
//! happens, because only a mark that is written **in one step with the effect** is always right:
//!
//! | the effect is | use | the effect happens |
//! |---|---|---|
//! | in a database with transactions | [`in_transaction`] with an [`Inbox`] | once |
//! | in the same Valkey, in the same hash slot | [`ValkeyInbox::apply`] | once |
//! | anywhere else (a mail, a call of an API) | [`ValkeyInbox::guard`] with [`OnDoubt::DeadLetter`] | at most once |
//! | | [`ValkeyInbox::guard`] with [`OnDoubt::RunAgain`] | at least once; again only if a run ended without a word |
//!
//! For effects elsewhere there is no "once": between the effect and its mark there is an instant in which the process
//! can die, and nobody knows afterwards on which side of it. If the other system takes an idempotency key, give it the
//! message's id and [`OnDoubt::RunAgain`]: that is once, and the other system's doing.
//!
//! # What "once" presumes
//!
//! - **The key.** It is the message's id unless you [say otherwise](ValkeyInbox::key). Two messages with one id are one
//!   message here: the second is acked without an effect. A producer that reuses ids needs a key of your own.
//! - **The time.** Marks in Valkey expire after the [retention](ValkeyInbox::retention), 7 days unless set. Whatever can
//!   still bring the message again must be over by then: retries, delays, an outage of all consumers, a replay of a dead
//!   letter. A message replayed after that is a new one.
//! - **The place.** Marks belong to one queue. The same message replayed *into another queue* finds no mark there.
//! - **The store.** A mark is as durable as the store that holds it. Where Valkey is rolled back (a power cut with
//!   `appendfsync everysec`, a failover), [`apply`](ValkeyInbox::apply) stays right, because the effect, its mark and the
//!   queue are rolled back together. [`guard`](ValkeyInbox::guard) does not: the effect elsewhere stays and its mark is
//!   gone. A server that evicts (`maxmemory-policy` other than `noeviction`) forgets marks; `valkit doctor` looks for it.
//!
//! ```no_run
//! use valkey_connection::{Connection, ConnectionSettings};
//! use valkey_receiver::inbox::{OnDoubt, ValkeyInbox};
//! use valkey_receiver::{Message, Receiver};
//!
//! async fn send_mail(message: Message) -> Result<(), std::io::Error> {
//!     println!("mail to {:?}", message.envelope().header("to"));
//!     Ok(())
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::connect(&ConnectionSettings::default()).await?;
//! let receiver = Receiver::builder(&connection).queue("mails".parse()?).start().await?;
//! // A mail too few is looked into by a person; a mail too many is worse.
//! let handler = ValkeyInbox::new(&connection).guard(OnDoubt::DeadLetter, send_mail);
//! println!("{}", receiver.serve(handler).await?);
//! # Ok(())
//! # }
//! ```

mod guard;
mod key;
mod transaction;
mod valkey;
mod writes;

use std::fmt::Display;

pub use self::{
    guard::{Guard, OnDoubt},
    key::OnMissingKey,
    transaction::{Begun, InTransaction, Inbox, TransactionHandler, in_transaction},
    valkey::{Mark, ValkeyInbox},
    writes::{Apply, Write, Writes, WritesHandler},
};

use crate::outcome::Outcome;

/// The reason of dead letters whose effect may have happened or not: a run of it ended without a word.
///
/// A handler that does not know whether its effect happened may say so itself:
/// `Outcome::dead_letter_as(IN_DOUBT.into(), "the gateway did not answer")`. Under [`ValkeyInbox::guard`] the mark is then
/// in doubt as well.
pub const IN_DOUBT: &str = "in_doubt";

/// The reason of dead letters whose effect happened in part: see [`Writes`].
pub const HALF_APPLIED: &str = "half_applied";

/// The reason of dead letters that have no key: see [`OnMissingKey`].
pub const NO_INBOX_KEY: &str = "no_inbox_key";

/// What may stand as the `Err` of a handler that gives its effect back: an [`Outcome`], which stands as it is, or anything
/// with a text, which is a nack. Either way **nothing has happened**, and nothing is marked.
pub trait IntoRefusal {
    /// Makes the outcome.
    fn into_refusal(self) -> Outcome;
}

impl IntoRefusal for Outcome {
    fn into_refusal(self) -> Outcome {
        self
    }
}

impl<E: Display> IntoRefusal for E {
    fn into_refusal(self) -> Outcome {
        Outcome::nack(self)
    }
}
