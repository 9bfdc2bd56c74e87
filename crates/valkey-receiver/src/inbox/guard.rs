//! Effects elsewhere: claimed, run, marked, with a choice for what nobody can know.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use valkey_connection::{Error, ErrorKind, Reply};

use crate::handler::{Handler, Message};
use crate::inbox::valkey::{AGAIN_SOON, ValkeyInbox, text};
use crate::inbox::{HALF_APPLIED, IN_DOUBT};
use crate::outcome::Outcome;
use crate::scripts;
use crate::telemetry::InboxFate;

/// What becomes of a message whose effect may have happened or not, because a run of it ended without a word: its process
/// died or stood still, or it was dropped by a timeout, a drain, a lost lease or a panic.
///
/// There is no third choice, and no default: it depends on what is worse for you.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDoubt {
    /// It is kept among the dead letters as `in_doubt` for a person to look into. The effect happens **at most once**.
    ///
    /// Who finds that it did not happen says [`ValkeyInbox::forget`] and replays it; a plain replay is in doubt again.
    DeadLetter,
    /// It is run again. The effect happens **at least once**: twice if the earlier run got so far.
    RunAgain,
}

/// A [`Handler`] whose effect is elsewhere; made by [`ValkeyInbox::guard`].
#[derive(Clone)]
#[must_use = "a handler does nothing until it is served"]
pub struct Guard<H> {
    inbox: ValkeyInbox,
    on_doubt: OnDoubt,
    handler: H,
}

/// One run of an effect, claimed.
struct Run<'a> {
    inbox: &'a ValkeyInbox,
    message: &'a Message,
    mark: String,
    token: String,
    /// Until then the claim is certainly ours, whenever the server stamped it.
    ours_until: Instant,
}

/// How a run's claim is given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finish {
    Done,
    Free,
    Doubt,
}

// === impl Guard ===

impl<H> Guard<H> {
    pub(crate) fn new(inbox: ValkeyInbox, on_doubt: OnDoubt, handler: H) -> Self {
        Self { inbox, on_doubt, handler }
    }

    /// Claims the effect, or tells what becomes of the message instead.
    async fn claim<'a>(&'a self, message: &'a Message, key: &str) -> Result<Run<'a>, (InboxFate, Outcome)> {
        let mark = ValkeyInbox::mark_key(message.queue(), key);
        let token = format!("{:016x}", rand::random::<u64>());
        let call = scripts::INBOX_CLAIM
            .call()
            .key(mark.as_str())
            .arg(token.as_str())
            .arg(self.inbox.lease_ms())
            .arg(self.inbox.retention_ms())
            .arg(u64::from(self.on_doubt == OnDoubt::RunAgain));
        // The last call sent made the claim, or an earlier one did, and this one has renewed it: the token is the same.
        let mut sent = Instant::now();
        let reply = self.inbox.ask_noting(call, || sent = Instant::now()).await.and_then(Reply::into_array);
        let mut reply =
            reply.map_err(|error| (InboxFate::Unavailable, unavailable(message, error)))?.into_iter();
        let word = text(reply.next());
        let left_ms = reply.nth(1).and_then(|left| left.as_int().ok()).unwrap_or(0);
        match word.as_str() {
            "run" | "again" => {
                if word == "again" {
                    tracing::warn!(queue = %message.queue(), id = %message.envelope().id().as_str(), "an effect whose earlier run ended without a word is run again");
                    InboxFate::Again.count(message.queue());
                }
                Ok(Run {
                    inbox: &self.inbox,
                    message,
                    mark,
                    token,
                    ours_until: sent + self.inbox.run_limit(),
                })
            }
            "done" => Err((InboxFate::Done, Outcome::Ack)),
            "busy" => {
                let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0) + 5);
                Err((InboxFate::Busy, Outcome::snooze(left)))
            }
            "half" => {
                let why = "its effect happened in part, by writes of an inbox";
                Err((InboxFate::Half, Outcome::dead_letter_as(HALF_APPLIED.into(), why)))
            }
            _ => {
                let why = "a run of its effect ended without a word: it may have happened or not";
                Err((InboxFate::InDoubt, Outcome::dead_letter_as(IN_DOUBT.into(), why)))
            }
        }
    }
}

impl<H: Handler> Handler for Guard<H> {
    async fn handle(&self, message: Message) -> Outcome {
        let key = match self.inbox.key_of(&message) {
            Ok(key) => key,
            Err(outcome) => return outcome,
        };
        let run = match self.claim(&message, &key).await {
            Ok(run) => run,
            Err((fate, outcome)) => {
                fate.count(message.queue());
                return outcome;
            }
        };
        let ran = timeout_at(run.ours_until.into(), self.handler.handle(message.clone())).await;
        let (fate, outcome) = run.end(ran.ok()).await;
        fate.count(message.queue());
        outcome
    }
}

impl<H> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("inbox", &self.inbox)
            .field("on_doubt", &self.on_doubt)
            .finish_non_exhaustive()
    }
}

// === impl Run ===

impl Run<'_> {
    /// Ends it with what the handler said; `None`: it was dropped because the claim runs out.
    async fn end(self, said: Option<Outcome>) -> (InboxFate, Outcome) {
        let Some(outcome) = said else {
            // The claim stays as it is: whoever comes next finds it in doubt.
            let limit = self.inbox.run_limit();
            let why = format!("the effect took longer than {limit:.1?}, which its inbox allows");
            return (InboxFate::InDoubt, Outcome::nack(why));
        };
        let finish = match &outcome {
            Outcome::Ack => Finish::Done,
            Outcome::DeadLetter { reason, .. } if reason.as_str() == IN_DOUBT => Finish::Doubt,
            Outcome::DeadLetter { .. } | Outcome::Nack { .. } | Outcome::Snooze { .. } => Finish::Free,
        };
        match self.finish(finish).await {
            Ok(word) if word == "ok" => {}
            Ok(_) => {
                tracing::warn!(queue = %self.message.queue(), id = %self.message.envelope().id().as_str(), "another run took over before this one was marked");
                return (InboxFate::TakenOver, outcome);
            }
            Err(error) => {
                tracing::warn!(queue = %self.message.queue(), id = %self.message.envelope().id().as_str(), %error, "what became of an effect could not be marked");
                let outcome = match finish {
                    Finish::Done => {
                        Outcome::nack(format_args!("the effect happened, but could not be marked: {error}"))
                    }
                    Finish::Free | Finish::Doubt => outcome,
                };
                return (InboxFate::InDoubt, outcome);
            }
        }
        let fate = match finish {
            Finish::Done => InboxFate::Ran,
            Finish::Free => InboxFate::Refused,
            Finish::Doubt => InboxFate::InDoubt,
        };
        (fate, outcome)
    }

    async fn finish(&self, finish: Finish) -> Result<String, Error> {
        let what = match finish {
            Finish::Done => "done",
            Finish::Free => "free",
            Finish::Doubt => "doubt",
        };
        let call = scripts::INBOX_FINISH
            .call()
            .key(self.mark.as_str())
            .arg(self.token.as_str())
            .arg(self.inbox.retention_ms())
            .arg(what);
        self.inbox.ask(call).await?.into_string()
    }
}

/// The handler was not called, and that is not the message's fault.
fn unavailable(message: &Message, error: Error) -> Outcome {
    tracing::warn!(queue = %message.queue(), %error, "the inbox cannot be asked; the message waits");
    match error.kind() {
        // A bug of ours or a foreign script engine: a wait would not end.
        ErrorKind::Rejected | ErrorKind::Protocol => Outcome::nack(error),
        _ => Outcome::snooze(AGAIN_SOON),
    }
}
