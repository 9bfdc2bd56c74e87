//! Effects that are writes to the same Valkey: carried out in one step with their mark.

use std::fmt;
use std::future::Future;

use valkey_connection::{Arg, ErrorKind, Reply};

use crate::handler::{Handler, Message};
use crate::inbox::valkey::{AGAIN_SOON, ValkeyInbox, text};
use crate::inbox::{HALF_APPLIED, IntoRefusal};
use crate::outcome::Outcome;
use crate::scripts;
use crate::telemetry::InboxFate;

/// More commands in one effect are refused.
const MOST_COMMANDS: usize = 64;
/// More words in one command are refused.
const MOST_WORDS: usize = 512;

/// One command that writes to Valkey, as part of an effect.
///
/// In a cluster every [`key`](Self::key) must be in the slot of the queue: begin it with
/// [`QueueKeys::app`](valkey_envelope::QueueKeys::app).
#[derive(Clone, Debug)]
#[must_use = "a write does nothing until it is returned by a handler of `apply`"]
pub struct Write {
    words: Vec<Arg>,
    keys: Vec<Arg>,
}

/// An effect: commands for Valkey, at most 64 of at most 512 words each, carried out in this order and in one step with the
/// mark.
///
/// **Valkey does not roll back.** If the first command fails, nothing has happened, and that is a failed attempt. If a
/// later one fails, the earlier ones stay: the message is then a dead letter `half_applied`, and its effect is never tried
/// again. So put the one that can fail first, and let the others be such that cannot (on keys of known type, without
/// arithmetic on what others write). A missing permission, an unknown command and a full server are found before the first.
///
/// No commands at all are an effect, too: the message is marked as done.
#[derive(Clone, Debug, Default)]
#[must_use = "writes do nothing until they are returned by a handler of `apply`"]
pub struct Writes {
    commands: Vec<Write>,
}

/// Decides what is written for a message, without writing it.
///
/// Every `async fn(Message) -> Result<Writes, E>` is one. An `Err` means that nothing is written: it is a nack with its
/// text, or the [`Outcome`] that it is. It may be called more than once for a message; only what it returns happens once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what to write",
    label = "not an `async fn(Message) -> Result<Writes, E>`"
)]
pub trait WritesHandler: Send + Sync + 'static {
    /// What is to be written for `message`.
    fn decide(&self, message: Message) -> impl Future<Output = Result<Writes, Outcome>> + Send;
}

impl<F, Fut, E> WritesHandler for F
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Writes, E>> + Send,
    E: IntoRefusal,
{
    async fn decide(&self, message: Message) -> Result<Writes, Outcome> {
        self(message).await.map_err(IntoRefusal::into_refusal)
    }
}

/// A [`Handler`] whose effect is writes to the same Valkey; made by [`ValkeyInbox::apply`].
#[derive(Clone)]
#[must_use = "a handler does nothing until it is served"]
pub struct Apply<H> {
    inbox: ValkeyInbox,
    handler: H,
}

// === impl Write ===

impl Write {
    /// A command by name, such as `HINCRBY`.
    pub fn new(name: impl Into<Arg>) -> Self {
        Self { words: vec![name.into()], keys: Vec::new() }
    }

    /// Appends a key.
    pub fn key(mut self, key: impl Into<Arg>) -> Self {
        let key = key.into();
        self.keys.push(key.clone());
        self.arg(key)
    }

    /// Appends an argument.
    pub fn arg(mut self, arg: impl Into<Arg>) -> Self {
        self.words.push(arg.into());
        self
    }
}

// === impl Writes ===

impl Writes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a command.
    pub fn with(mut self, write: Write) -> Self {
        self.commands.push(write);
        self
    }

    fn fault(&self) -> Option<String> {
        if self.commands.len() > MOST_COMMANDS {
            return Some(format!(
                "an effect has at most {MOST_COMMANDS} commands, this one {}",
                self.commands.len()
            ));
        }
        let words = self.commands.iter().map(|write| write.words.len()).max()?;
        (words > MOST_WORDS)
            .then(|| format!("a command of an effect has at most {MOST_WORDS} words, not {words}"))
    }
}

impl From<Write> for Writes {
    fn from(write: Write) -> Self {
        Self::new().with(write)
    }
}

// === impl Apply ===

impl<H> Apply<H> {
    pub(crate) fn new(inbox: ValkeyInbox, handler: H) -> Self {
        Self { inbox, handler }
    }

    /// One call does it or finds it done, so it is repeated without a thought.
    async fn apply(&self, message: &Message, key: &str, writes: Writes) -> (InboxFate, Outcome) {
        if let Some(fault) = writes.fault() {
            return (InboxFate::Refused, Outcome::dead_letter(fault));
        }
        let mut call = scripts::INBOX_APPLY.call().key(ValkeyInbox::mark_key(message.queue(), key));
        call = call.arg(self.inbox.retention_ms()).arg(writes.commands.len());
        for Write { words, keys } in writes.commands {
            call = call.keys(keys).arg(words.len()).args(words);
        }
        let mut reply = match self.inbox.ask(call).await.and_then(Reply::into_array) {
            Ok(reply) => reply.into_iter(),
            Err(error) => {
                tracing::warn!(queue = %message.queue(), %error, "an effect could not be carried out");
                // What somebody has to mend first costs the message no attempt.
                let hopeless =
                    matches!(error.kind(), ErrorKind::CrossSlot | ErrorKind::Rejected | ErrorKind::TooLarge);
                let outcome = if hopeless { Outcome::nack(error) } else { Outcome::snooze(AGAIN_SOON) };
                return (InboxFate::Unavailable, outcome);
            }
        };
        match (text(reply.next()).as_str(), text(reply.next()), text(reply.next())) {
            ("applied", ..) => (InboxFate::Ran, Outcome::Ack),
            ("done", ..) => (InboxFate::Done, Outcome::Ack),
            ("refused", why, _) => (InboxFate::Refused, Outcome::nack(why)),
            ("broke", number, why) => (InboxFate::Half, half(format_args!("command {number} failed: {why}"))),
            _ => (InboxFate::Half, half("an earlier delivery of it")),
        }
    }
}

fn half(what: impl fmt::Display) -> Outcome {
    Outcome::dead_letter_as(HALF_APPLIED.into(), format_args!("its effect happened in part: {what}"))
}

impl<H: WritesHandler> Handler for Apply<H> {
    async fn handle(&self, message: Message) -> Outcome {
        let key = match self.inbox.key_of(&message) {
            Ok(key) => key,
            Err(outcome) => return outcome,
        };
        let (fate, outcome) = match self.handler.decide(message.clone()).await {
            Ok(writes) => self.apply(&message, &key, writes).await,
            Err(refusal) => (InboxFate::Refused, refusal),
        };
        fate.count(message.queue());
        outcome
    }
}

impl<H> fmt::Debug for Apply<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apply").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_script_would_take_is_refused_before_it_travels() {
        let many = (0..65).fold(Writes::new(), |writes, _| writes.with(Write::new("PING")));
        assert!(many.fault().is_some_and(|fault| fault.contains("65")));
        let long = (0..512).fold(Write::new("SADD"), |write, n: u32| write.arg(n));
        assert!(Writes::from(long).fault().is_some_and(|fault| fault.contains("513")));
        assert_eq!(Writes::new().fault(), None);
    }
}
