//! The sender: from an envelope to a receipt.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use valkey_connection::Connection;
use valkey_envelope::{Envelope, QueueName};

use crate::builder::SenderBuilder;
use crate::dispatcher::Dispatcher;
use crate::durability::Durability;
use crate::error::{CheckError, SendError};
use crate::limit::Turns;
use crate::links::Withheld;
use crate::receipt::Receipt;
use crate::routes::Explanation;
use crate::service::Job;

/// Sends messages to queues. Cloning is cheap, and clones share everything, also the configured limits.
///
/// ```no_run
/// use valkey_connection::{Connection, ConnectionSettings};
/// use valkey_envelope::Envelope;
/// use valkey_sender::{Receipt, Sender};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = Connection::connect(&ConnectionSettings::default()).await?;
/// let sender = Sender::new(connection, "user-registrations".parse()?);
///
/// let receipt = sender.send(Envelope::new(&serde_json::json!({ "login": "ada" }))?.with_kind("registration")).await?;
/// assert!(matches!(receipt, Receipt::Sent { .. }));
/// # Ok(())
/// # }
/// ```
///
/// Options of a single message live on its envelope: lane, `not_before` (delay), time to live, id. Options of the
/// sender are set with [`Sender::builder`].
#[derive(Clone)]
pub struct Sender {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) durability: Durability,
    pub(crate) gates: Gates,
    /// The dispatcher behind the configured limits; `None` if there are none.
    pub(crate) limited: Option<BoxCloneSyncService<Job, Receipt, SendError>>,
}

/// The configured limits, for sends of many messages at once; single ones pass them as tower layers.
#[derive(Clone, Default)]
pub(crate) struct Gates {
    pub(crate) turns: Option<Turns>,
    pub(crate) slots: Option<Arc<Semaphore>>,
}

// === impl Sender ===

impl Sender {
    /// A sender to one queue, with [`SenderSettings`](crate::SenderSettings)' defaults.
    pub fn new(connection: Connection, queue: QueueName) -> Self {
        Self::builder(connection, queue).build()
    }

    /// A sender with options.
    pub fn builder(connection: Connection, queue: QueueName) -> SenderBuilder {
        SenderBuilder::new(connection, queue)
    }

    /// The same sender, for messages that are to be as safe as that before their send is answered.
    ///
    /// Cheap; shares everything, also the limits. There is no order between messages of different durabilities.
    ///
    /// ```no_run
    /// use valkey_sender::{Durability, Sender};
    ///
    /// # async fn run(sender: Sender, order: valkey_envelope::Envelope) -> Result<(), Box<dyn std::error::Error>> {
    /// let replicated = sender.with_durability(Durability::Replicated(1.try_into()?));
    /// let receipt = replicated.send(order).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Self {
        Self { durability, ..self.clone() }
    }

    /// How safe messages of this sender are to be before their send is answered.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether the servers of all queues of this sender can promise its durability, as far as that can be found out
    /// by asking for their settings, and by trial writes to a key of each queue that is removed again. Also done
    /// before the first send over each connection; here is where to learn of it at the start.
    ///
    /// Takes some milliseconds; up to some seconds where the server syncs once a second, and the durability's timeout
    /// where replicas do not answer. [`Durability::Fast`] asks nobody.
    ///
    /// # Errors
    /// [`CheckError`]: what cannot be promised and why, or why that could not be found out.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most the key of a trial behind, for ten seconds.
    pub async fn check_durability(&self) -> Result<(), CheckError> {
        for outlet in &self.dispatcher.outlets {
            outlet.check(self.durability).await.map_err(|withheld| {
                let queue = outlet.queue().clone();
                match withheld {
                    Withheld::Failed(source) => CheckError::Failed { queue, source },
                    Withheld::Refused(source) => {
                        CheckError::Refused { queue, durability: self.durability, source }
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Sends one message.
    ///
    /// Sends of one process that happen at the same time travel together, each with its own result. Transient
    /// failures are tried again as the settings say, under the same id. Waits for the configured rate and for a free
    /// place among those in flight.
    ///
    /// # Errors
    ///
    /// [`SendError`]; unless [`SendError::outcome_unknown`] says otherwise, the message is not in the queue.
    ///
    /// # Cancel safety
    ///
    /// After a drop the message is in the queue or not, whole. Other sends are not disturbed.
    pub async fn send(&self, envelope: Envelope) -> Result<Receipt, SendError> {
        match &self.limited {
            None => self.dispatcher.send(envelope, self.durability).await,
            Some(limited) => limited.clone().oneshot((envelope, self.durability)).await,
        }
    }

    /// Sends many messages together, each with its own result, in the order given.
    ///
    /// Up to 256 take one round trip. Of more, the first are on their way while the others are encoded, and what has
    /// gathered meanwhile goes next (by 256 messages or 1 MiB where the queue has a max length).
    ///
    /// Messages of one lane keep their order in the queue as long as none of them is retried.
    ///
    /// # Cancel safety
    ///
    /// After a drop each message is in the queue or not, whole.
    ///
    /// # Panics
    ///
    /// Never: each message gets a result.
    pub async fn send_all<I>(&self, envelopes: I) -> Vec<Result<Receipt, SendError>>
    where
        I: IntoIterator<Item = Envelope>,
    {
        let envelopes: Vec<Envelope> = envelopes.into_iter().collect();
        if let Some(turns) = &self.gates.turns {
            for _ in &envelopes {
                turns.next().await;
            }
        }
        let slot = match &self.gates.slots {
            Some(slots) => Some(slots.acquire().await.expect("the semaphore is never closed")),
            None => None,
        };
        let results = self.dispatcher.send_all(envelopes, self.durability).await;
        drop(slot);
        results
    }

    /// Why this message would go where it would go: the verb to test routes with. Nothing is sent.
    pub fn explain(&self, envelope: &Envelope) -> Explanation {
        self.dispatcher.routes.explain(envelope)
    }

    /// The queue for messages that no route sends elsewhere.
    pub fn queue(&self) -> &QueueName {
        self.dispatcher.outlets[0].queue()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("queue", self.queue()).finish_non_exhaustive()
    }
}
