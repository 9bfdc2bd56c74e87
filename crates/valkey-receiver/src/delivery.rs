//! A message under lease, and the one right to settle it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use valkey_envelope::{DeadReason, Envelope, Lane, QueueName};

use crate::desk::{Claimed, Epoch, Settle};
use crate::error::SettleError;
use crate::handler::Message;
use crate::outcome::{Disposition, Outcome};
use crate::policy::RetryPolicy;
use crate::take::Claim;

/// A message that this consumer holds: readable, and settled exactly once.
///
/// The lease belongs to the consumer and is renewed for it, whatever the handler does; nothing has to be extended by
/// hand. When it is lost all the same (this process stood still, the server was away), [`lease_lost`](Self::lease_lost)
/// fires, the message belongs to the queue again, and settling it is refused with [`SettleError::LeaseLost`].
///
/// Dropped without a word, it is a nack by the retry policy, with the error "dropped without an outcome".
///
/// Settling consumes it, so it cannot be settled twice:
///
/// ```compile_fail,E0382
/// async fn twice(delivery: valkey_receiver::Delivery) {
///     let _ = delivery.ack().await;
///     let _ = delivery.snooze(std::time::Duration::ZERO).await;
/// }
/// ```
///
/// ```
/// async fn once(delivery: valkey_receiver::Delivery) {
///     let _ = delivery.ack().await;
/// }
/// ```
#[must_use = "ack, nack, snooze or dead-letter it; dropped, it counts as a failed attempt"]
pub struct Delivery {
    message: Message,
    ticket: Ticket,
}

/// The right to settle one message. Dropped unused, it nacks.
pub(crate) struct Ticket {
    /// Taken by the settle.
    held: Option<Claimed>,
    attempt: u32,
    policy: Arc<RetryPolicy>,
}

// === impl Delivery ===

impl Delivery {
    pub(crate) fn new(envelope: Envelope, claimed: Claimed, policy: Arc<RetryPolicy>) -> Self {
        let frame = &claimed.claim.frame;
        let attempt = envelope.retries().saturating_add(frame.attempts).saturating_add(1);
        let message = Message::new(
            envelope,
            frame.raw.clone(),
            claimed.epoch.desk.queue.clone(),
            frame.lane,
            attempt,
            frame.crashes,
            Arc::clone(&claimed.epoch.lost),
        );
        Self { message, ticket: Ticket { held: Some(claimed), attempt, policy } }
    }

    /// What a handler gets to see.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The envelope with everything the sender wrote.
    pub fn envelope(&self) -> &Envelope {
        self.message.envelope()
    }

    /// The very bytes that were taken from the queue.
    pub fn raw(&self) -> &Bytes {
        self.message.raw()
    }

    /// The queue it came from.
    pub fn queue(&self) -> &QueueName {
        self.message.queue()
    }

    /// The priority lane it came from.
    pub fn lane(&self) -> Lane {
        self.message.lane()
    }

    /// Which attempt this is, from 1: the envelope's own `retries`, plus the failed attempts counted here, plus one.
    pub fn attempt(&self) -> u32 {
        self.message.attempt()
    }

    /// How often a consumer died while it held this message.
    pub fn crashes(&self) -> u32 {
        self.message.crashes()
    }

    /// Fires when the lease is lost: stop working, the message is somebody else's.
    pub fn lease_lost(&self) -> &CancellationToken {
        self.message.lease_lost()
    }

    /// Finished: removes the message.
    ///
    /// # Errors
    /// [`SettleError`] if it did not take effect, or may not have; the message is delivered again then.
    ///
    /// # Cancel safety
    /// The decision is made when this is called; dropping the future only stops waiting for the answer.
    pub async fn ack(self) -> Result<(), SettleError> {
        self.ticket.settle_and_wait(Disposition::Ack).await
    }

    /// Failed: tried again after `retry_after`, or by the policy's backoff. After the last attempt it is a dead letter.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn nack(
        self,
        retry_after: Option<Duration>,
        error: impl Into<Option<String>>,
    ) -> Result<(), SettleError> {
        self.outcome(Outcome::Nack { retry_after, error: error.into() }).await
    }

    /// Not now: again after `retry_after`, not counted as an attempt.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn snooze(self, retry_after: Duration) -> Result<(), SettleError> {
        self.outcome(Outcome::snooze(retry_after)).await
    }

    /// Never again: kept among the dead letters with the reason `rejected` and this explanation.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn dead_letter(self, error: impl Into<String>) -> Result<(), SettleError> {
        self.ticket
            .settle_and_wait(Disposition::Dead { reason: DeadReason::Rejected, error: Some(error.into()) })
            .await
    }

    /// Settles with any [`Outcome`], as a handler's would be.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn outcome(self, outcome: Outcome) -> Result<(), SettleError> {
        let disposition = self.ticket.decide(outcome);
        self.ticket.settle_and_wait(disposition).await
    }

    /// The message for the handler and the right to settle it for who runs the handler.
    pub(crate) fn split(self) -> (Message, Ticket) {
        (self.message, self.ticket)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.message).finish()
    }
}

// === impl Ticket ===

impl Ticket {
    /// What the retry policy makes of `outcome` at this attempt.
    pub(crate) fn decide(&self, outcome: Outcome) -> Disposition {
        self.policy.dispose(outcome, self.attempt, rand::random())
    }

    /// Decides and settles, without waiting for the server.
    pub(crate) fn finish(self, outcome: Outcome) {
        let disposition = self.decide(outcome);
        self.settle(disposition);
    }

    /// Leaves the decision with the engine; never waits.
    pub(crate) fn settle(mut self, disposition: Disposition) {
        if let Some(claimed) = self.held.take() {
            claimed.settle(disposition, None);
        }
    }

    async fn settle_and_wait(mut self, disposition: Disposition) -> Result<(), SettleError> {
        let Some(claimed) = self.held.take() else { return Err(SettleError::Stopped) };
        let (answer, answered) = oneshot::channel();
        claimed.settle(disposition, Some(answer));
        // The engine drops unanswered settles only when it has stopped for good.
        answered.await.unwrap_or(Err(SettleError::Stopped))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.held.is_some() {
            let disposition = self.decide(Outcome::nack("dropped without an outcome"));
            if let Some(claimed) = self.held.take() {
                claimed.settle(disposition, None);
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

// === impl Claimed ===

impl Claimed {
    pub(crate) fn settle(
        self,
        disposition: Disposition,
        answer: Option<oneshot::Sender<Result<(), SettleError>>>,
    ) {
        let Self { claim, epoch } = self;
        let desk = Arc::clone(&epoch.desk);
        desk.put(Settle { claim, epoch, disposition, answer, since: Instant::now() });
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }
}
