//! What works on a message: the [`Handler`] trait, the [`Message`] it is given, and the way to tower and back.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use valkey_envelope::{Envelope, Lane, QueueName, TraceParent};

use crate::outcome::{IntoOutcome, Outcome};

/// A message as its handler sees it.
///
/// It can be read and kept, but not settled: the receiver does that with the handler's [`Outcome`], so a message is
/// settled exactly once and never forgotten. (Who wants to settle by hand takes deliveries with `recv`.)
///
/// ```compile_fail,E0599
/// use valkey_receiver::{Message, Outcome};
///
/// async fn settles(message: Message) -> Outcome {
///     message.ack().await; // there is no such method
///     Outcome::Ack
/// }
/// ```
///
/// Cloning it shares it.
#[derive(Clone)]
pub struct Message {
    /// One allocation, instead of moving some 350 bytes from hand to hand on its way.
    content: Arc<Content>,
}

struct Content {
    envelope: Envelope,
    raw: Bytes,
    queue: QueueName,
    lane: Lane,
    attempt: u32,
    crashes: u32,
    /// Shared as a whole: a clone of a token itself costs a lock.
    lease_lost: Arc<CancellationToken>,
}

impl Message {
    pub(crate) fn new(
        envelope: Envelope,
        raw: Bytes,
        queue: QueueName,
        lane: Lane,
        attempt: u32,
        crashes: u32,
        lease_lost: Arc<CancellationToken>,
    ) -> Self {
        Self { content: Arc::new(Content { envelope, raw, queue, lane, attempt, crashes, lease_lost }) }
    }

    /// A message that comes from no server, as its first attempt: to call a handler in a unit test.
    ///
    /// ```
    /// use valkey_envelope::{Envelope, QueueName};
    /// use valkey_receiver::{Handler, Message, Outcome};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let greet = async |message: Message| message.payload_as::<String>().map(drop);
    ///
    /// let queue: QueueName = "greetings".parse().unwrap();
    /// let hello = Message::detached(Envelope::new("hello").unwrap(), &queue);
    /// assert_eq!(greet.handle(hello).await, Outcome::Ack);
    /// # });
    /// ```
    pub fn detached(envelope: Envelope, queue: &QueueName) -> Self {
        let attempt = envelope.retries().saturating_add(1);
        let lane = envelope.priority();
        Self::new(envelope, Bytes::new(), queue.clone(), lane, attempt, 0, Arc::default())
    }

    /// The envelope with everything the sender wrote.
    pub fn envelope(&self) -> &Envelope {
        &self.content.envelope
    }

    /// The payload as a `T`. Shorthand for [`Envelope::payload_as`].
    ///
    /// # Errors
    /// If the payload is no `T`.
    pub fn payload_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, valkey_envelope::DecodeError> {
        self.content.envelope.payload_as()
    }

    /// The very bytes that were taken from the queue.
    pub fn raw(&self) -> &Bytes {
        &self.content.raw
    }

    /// The queue it came from.
    pub fn queue(&self) -> &QueueName {
        &self.content.queue
    }

    /// The priority lane it came from.
    pub fn lane(&self) -> Lane {
        self.content.lane
    }

    /// Which attempt this is, from 1. Snoozes and crashes of consumers do not count.
    pub fn attempt(&self) -> u32 {
        self.content.attempt
    }

    /// How often a consumer died while it held this message.
    pub fn crashes(&self) -> u32 {
        self.content.crashes
    }

    /// The W3C trace context the sender put into the header `traceparent`: the remote parent of all that is done for
    /// this message. Put it (or a child of it) into what is sent in consequence.
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.content.envelope.trace_parent()
    }

    /// Cancelled when this consumer has lost its lease: another one has the message now, and what this handler still
    /// does is done twice. The handler's future is dropped at its next await; this token is for work it has started
    /// elsewhere.
    pub fn lease_lost(&self) -> &CancellationToken {
        &self.content.lease_lost
    }

    /// The same, to be kept beside the message.
    pub(crate) fn shared_lease_lost(&self) -> Arc<CancellationToken> {
        Arc::clone(&self.content.lease_lost)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("envelope", self.envelope())
            .field("queue", &self.queue().as_str())
            .field("lane", &self.lane())
            .field("attempt", &self.attempt())
            .field("crashes", &self.crashes())
            .finish_non_exhaustive()
    }
}

/// Works on one message at a time.
///
/// Every `async fn(Message) -> impl IntoOutcome` is one, and so is a closure `|message: Message| async move { .. }`;
/// what such a closure captures it clones for each message (`Arc`). Where there is state, a type of one's own is often
/// nicer; it implements the trait with a plain `async fn handle`:
///
/// ```
/// use valkey_receiver::{Handler, Message, Outcome};
///
/// struct Mailer {
///     from: String,
/// }
///
/// impl Handler for Mailer {
///     async fn handle(&self, message: Message) -> Outcome {
///         match message.payload_as::<String>() {
///             Ok(text) if text.is_empty() => Outcome::dead_letter("nothing to say"),
///             Ok(_text) => Outcome::Ack,
///             Err(error) => Outcome::dead_letter(error),
///         }
///     }
/// }
/// ```
///
/// A function that is not async is no handler:
///
/// ```compile_fail,E0277
/// use valkey_receiver::{Handler, Message, Outcome};
///
/// fn greet(_: Message) -> Outcome {
///     Outcome::Ack
/// }
/// fn takes(_: impl Handler) {}
/// takes(greet);
/// ```
///
/// Nor is one that answers anything else than an [`IntoOutcome`]:
///
/// ```compile_fail,E0277
/// use valkey_receiver::{Handler, Message};
///
/// async fn count(_: Message) -> u32 {
///     7
/// }
/// fn takes(_: impl Handler) {}
/// takes(count);
/// ```
///
/// One value serves all workers at once, hence `&self`. Its future is dropped when it has run for longer than the
/// processing timeout, when the lease is lost, and when a drain does not wait any longer: what must not be left half
/// done belongs into a task of its own, or into a transaction.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "a handler is an `async fn(Message) -> impl IntoOutcome`, a `Router`, a `service(..)`, or implements `Handler`",
    note = "a closure must name the type of its argument: `|message: Message| async move {{ .. }}`"
)]
pub trait Handler: Send + Sync + 'static {
    /// Works on `message` and says what becomes of it.
    fn handle(&self, message: Message) -> impl Future<Output = Outcome> + Send;
}

impl<F, Fut> Handler for F
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send,
{
    async fn handle(&self, message: Message) -> Outcome {
        self(message).await.into_outcome()
    }
}

/// Uses a tower service as a handler, so that tower's layers (timeouts, limits, load shedding) stack around it.
///
/// The service is cloned for every message. Its own errors, and those of the layers, are nacks with their text.
///
/// ```
/// use std::time::Duration;
/// use tower::ServiceBuilder;
/// use valkey_receiver::{HandlerService, Message, Outcome, service};
///
/// async fn register(_message: Message) -> Outcome {
///     Outcome::Ack
/// }
///
/// let handler = service(
///     ServiceBuilder::new()
///         .concurrency_limit(2)
///         .timeout(Duration::from_secs(5))
///         .service(HandlerService::new(register)),
/// );
/// # fn takes(_: impl valkey_receiver::Handler) {}
/// # takes(handler);
/// ```
pub fn service<S>(service: S) -> ServiceHandler<S>
where
    S: Service<Message, Response = Outcome, Error: fmt::Display, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    ServiceHandler { service }
}

/// A tower service as a [`Handler`]; made by [`service`].
#[derive(Clone, Debug)]
pub struct ServiceHandler<S> {
    service: S,
}

impl<S> Handler for ServiceHandler<S>
where
    S: Service<Message, Response = Outcome, Error: fmt::Display, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    async fn handle(&self, message: Message) -> Outcome {
        self.service.clone().oneshot(message).await.into_outcome()
    }
}

/// A [`Handler`] as a tower service: the innermost one, around which layers are put; see [`service`].
pub struct HandlerService<H> {
    handler: Arc<H>,
}

impl<H: Handler> HandlerService<H> {
    /// Wraps `handler`.
    pub fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler) }
    }
}

impl<H> Clone for HandlerService<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler) }
    }
}

impl<H> fmt::Debug for HandlerService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerService").finish_non_exhaustive()
    }
}

impl<H: Handler> Service<Message> for HandlerService<H> {
    type Response = Outcome;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Outcome, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let handler = Arc::clone(&self.handler);
        Box::pin(async move { Ok(handler.handle(message).await) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use tower::ServiceBuilder;

    use super::*;

    fn message() -> Message {
        Message::detached(Envelope::new("hello").unwrap().with_retries(2), &"greetings".parse().unwrap())
    }

    #[tokio::test]
    async fn functions_closures_and_async_closures_are_handlers() {
        async fn fails(_: Message) -> Result<(), String> {
            Err("boom".to_owned())
        }
        assert_eq!(fails.handle(message()).await, Outcome::nack("boom"));
        assert_eq!((|_: Message| async {}).handle(message()).await, Outcome::Ack);
        let state = Arc::new(3);
        let stateful = move |_: Message| {
            let state = Arc::clone(&state);
            async move { Outcome::nack(state) }
        };
        assert_eq!(stateful.handle(message()).await, Outcome::nack("3"));
    }

    #[tokio::test(start_paused = true)]
    async fn layers_stack_and_their_errors_are_nacks() {
        let slow =
            HandlerService::new(|_: Message| async { tokio::time::sleep(Duration::from_secs(9)).await });
        let handler = service(ServiceBuilder::new().timeout(Duration::from_secs(1)).service(slow));
        assert_eq!(handler.handle(message()).await, Outcome::nack("request timed out"));
        let quick = service(HandlerService::new(|_: Message| async { Outcome::dead_letter("no") }));
        assert_eq!(quick.handle(message()).await, Outcome::dead_letter("no"));
    }

    #[test]
    fn a_detached_message_counts_the_senders_retries() {
        assert_eq!(message().attempt(), 3);
    }

    #[test]
    fn debug_shows_no_payload() {
        assert!(!format!("{:?}", message()).contains("hello"), "{:?}", message());
    }

    #[test]
    fn the_trace_of_the_sender_is_at_hand() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let envelope = Envelope::new(&1).unwrap().with_header("traceparent", parent);
        let traced = Message::detached(envelope, &"greetings".parse().unwrap());
        assert_eq!(traced.traceparent().unwrap().to_string(), parent);
        assert!(message().traceparent().is_none());
    }
}
