//! Chooses a handler by what a message says about itself, and hands it the payload as the type it asks for.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use valkey_envelope::DeadReason;

use crate::handler::{Handler, Message};
use crate::outcome::{IntoOutcome, Outcome};
use crate::telemetry::UNROUTABLE;

/// Routes messages to handlers by `kind` and headers.
///
/// Routes are tried in the order they were added; the first that matches takes the message. A handler names the
/// payload type it wants as its first argument, and may ask for the whole [`Message`] as its second. A payload that is
/// no such type is not worth a retry: it is dead-lettered as `undecodable`, with the place of the fault in the error.
/// A message that no route takes goes to the [`fallback`](Self::fallback), without one to the dead letters as
/// `unroutable`.
///
/// ```
/// use serde::Deserialize;
/// use valkey_receiver::{Message, Outcome, Router};
///
/// #[derive(Deserialize)]
/// struct Registration {
///     email: String,
/// }
///
/// async fn register(registration: Registration, message: Message) -> Result<(), std::io::Error> {
///     println!("{} (attempt {})", registration.email, message.attempt());
///     Ok(())
/// }
///
/// let router = Router::new()
///     .header("dry-run", "true", async |_: serde::de::IgnoredAny| {})
///     .kind("user.registration", register)
///     .fallback(async |message: Message| Outcome::dead_letter(format!("what is {:?}?", message.envelope().kind())));
/// ```
#[derive(Clone, Default)]
#[must_use = "a router routes nothing until it is served"]
pub struct Router {
    kinds: HashMap<String, (usize, Route)>,
    headers: Vec<HeaderRoute>,
    routes: usize,
    fallback: Option<Route>,
}

type Route = Arc<dyn Fn(Message) -> BoxFuture<'static, Outcome> + Send + Sync>;

#[derive(Clone)]
struct HeaderRoute {
    position: usize,
    name: String,
    value: String,
    route: Route,
}

impl Router {
    /// A router that knows no route: every message is `unroutable`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends messages of this `kind` to `handler`: an `async fn(T)`, an `async fn(T, Message)` for any deserialisable
    /// `T`, or an [`untyped`] handler.
    ///
    /// A handler of whole messages is none of them; it needs to be [`untyped`]:
    ///
    /// ```compile_fail,E0277
    /// use valkey_receiver::{Message, Router};
    ///
    /// async fn whole(_: Message) {}
    /// let router = Router::new().kind("a", whole);
    /// ```
    ///
    /// ```
    /// use valkey_receiver::{Message, Router, untyped};
    ///
    /// async fn whole(_: Message) {}
    /// let router = Router::new().kind("a", untyped(whole));
    /// ```
    ///
    /// Nor is one whose argument cannot be deserialised:
    ///
    /// ```compile_fail,E0277
    /// struct Opaque;
    ///
    /// async fn opaque(_: Opaque) {}
    /// let router = valkey_receiver::Router::new().kind("a", opaque);
    /// ```
    ///
    /// # Panics
    /// If there is a route for this kind already: the second would never be reached.
    pub fn kind<H, Args>(mut self, kind: impl Into<String>, handler: H) -> Self
    where
        H: PayloadHandler<Args>,
        Args: 'static,
    {
        let kind = kind.into();
        assert!(!self.kinds.contains_key(&kind), "there are two routes for messages of the kind `{kind}`");
        let position = self.next_position();
        self.kinds.insert(kind, (position, route(handler)));
        self
    }

    /// Sends messages whose header `name` is exactly `value` to `handler`; handlers as for [`kind`](Self::kind).
    ///
    /// # Panics
    /// If there is a route for this header and value already: the second would never be reached.
    pub fn header<H, Args>(mut self, name: impl Into<String>, value: impl Into<String>, handler: H) -> Self
    where
        H: PayloadHandler<Args>,
        Args: 'static,
    {
        let (name, value) = (name.into(), value.into());
        assert!(
            !self.headers.iter().any(|other| other.name == name && other.value == value),
            "there are two routes for messages with the header `{name}: {value}`"
        );
        let position = self.next_position();
        self.headers.push(HeaderRoute { position, name, value, route: route(handler) });
        self
    }

    /// Sends all other messages to `handler`, which sees them whole.
    ///
    /// # Panics
    /// If there is a fallback already.
    pub fn fallback<H: Handler>(mut self, handler: H) -> Self {
        assert!(self.fallback.is_none(), "there are two fallbacks");
        self.fallback = Some(route(untyped(handler)));
        self
    }

    fn next_position(&mut self) -> usize {
        self.routes += 1;
        self.routes
    }

    fn find(&self, message: &Message) -> Option<&Route> {
        let envelope = message.envelope();
        let by_kind = envelope.kind().and_then(|kind| self.kinds.get(kind));
        let before = by_kind.map_or(usize::MAX, |(position, _)| *position);
        self.headers
            .iter()
            .take_while(|header| header.position < before)
            .find(|header| envelope.header(&header.name) == Some(header.value.as_str()))
            .map(|header| &header.route)
            .or(by_kind.map(|(_, route)| route))
            .or(self.fallback.as_ref())
    }
}

impl Handler for Router {
    async fn handle(&self, message: Message) -> Outcome {
        match self.find(&message) {
            Some(route) => route(message).await,
            None => unroutable(&message),
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|header| (&header.name, &header.value)).collect();
        f.debug_struct("Router")
            .field("kinds", &self.kinds.keys().collect::<Vec<_>>())
            .field("headers", &headers)
            .field("fallback", &self.fallback.is_some())
            .finish_non_exhaustive()
    }
}

/// What a [`Router`] can send messages to: `async fn(T)`, `async fn(T, Message)`, or [`untyped`].
///
/// `Args` only tells these forms apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a route",
    label = "not a route",
    note = "a route is an `async fn(T)` or `async fn(T, Message)` where `T: DeserializeOwned`, answering `impl IntoOutcome`",
    note = "to route whole messages wrap the handler: `untyped(handler)`"
)]
pub trait PayloadHandler<Args>: Send + Sync + 'static {
    /// Decodes what it asks for and works on it.
    fn call(&self, message: Message) -> impl Future<Output = Outcome> + Send;
}

impl<F, Fut, T> PayloadHandler<(T,)> for F
where
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send,
    T: DeserializeOwned + Send,
{
    async fn call(&self, message: Message) -> Outcome {
        match decode(&message) {
            Ok(payload) => self(payload).await.into_outcome(),
            Err(outcome) => outcome,
        }
    }
}

impl<F, Fut, T> PayloadHandler<(T, Message)> for F
where
    F: Fn(T, Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send,
    T: DeserializeOwned + Send,
{
    async fn call(&self, message: Message) -> Outcome {
        match decode(&message) {
            Ok(payload) => self(payload, message).await.into_outcome(),
            Err(outcome) => outcome,
        }
    }
}

/// Uses a [`Handler`] of whole messages as a route, without decoding anything: another router, a tower
/// [`service`](crate::service), or a handler that wants the bytes.
pub fn untyped<H: Handler>(handler: H) -> Untyped<H> {
    Untyped { handler }
}

/// A [`Handler`] as a route; made by [`untyped`].
#[derive(Clone, Debug)]
pub struct Untyped<H> {
    handler: H,
}

/// Tells the untyped form of a route from the others.
#[derive(Debug)]
pub struct WholeMessage(PhantomData<()>);

impl<H: Handler> PayloadHandler<WholeMessage> for Untyped<H> {
    async fn call(&self, message: Message) -> Outcome {
        self.handler.handle(message).await
    }
}

fn route<H, Args>(handler: H) -> Route
where
    H: PayloadHandler<Args>,
    Args: 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |message| {
        let handler = Arc::clone(&handler);
        Box::pin(async move { handler.call(message).await })
    })
}

/// Decodes once; only a failure is decoded a second time, to learn its place. Both tell what was expected, never what
/// was found: payloads may be secrets, and errors go to logs.
fn decode<T: DeserializeOwned>(message: &Message) -> Result<T, Outcome> {
    let envelope = message.envelope();
    envelope.payload_as::<T>().map_err(|error| {
        let json = &mut serde_json::Deserializer::from_str(envelope.payload().get());
        let place = match serde_path_to_error::deserialize::<_, T>(json) {
            Err(error) if error.path().iter().len() > 0 => format!("at `{}`: ", error.path()),
            _ => String::new(),
        };
        Outcome::dead_letter_as(DeadReason::Undecodable, format!("{place}{error}"))
    })
}

fn unroutable(message: &Message) -> Outcome {
    let kind = match message.envelope().kind() {
        Some(kind) => format!("of the kind `{kind}`"),
        None => "without a kind".to_owned(),
    };
    Outcome::dead_letter_as(DeadReason::from(UNROUTABLE), format!("no route for messages {kind}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::{Deserialize, Serialize};
    use valkey_envelope::Envelope;

    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Registration {
        user: User,
    }

    #[derive(Deserialize, Serialize)]
    struct User {
        email: String,
        age: u8,
    }

    async fn register(registration: Registration, message: Message) -> Result<(), String> {
        Err(format!("{} {}", registration.user.email, message.attempt()))
    }

    fn says(word: &'static str) -> impl PayloadHandler<(serde::de::IgnoredAny,)> {
        move |_: serde::de::IgnoredAny| async move { Outcome::nack(word) }
    }

    fn message(payload: &serde_json::Value) -> Envelope {
        Envelope::new(payload).unwrap()
    }

    async fn ask(router: &Router, envelope: Envelope) -> Outcome {
        router.handle(Message::detached(envelope, &"q".parse().unwrap())).await
    }

    #[tokio::test]
    async fn the_payload_arrives_as_the_type_asked_for() {
        let router = Router::new()
            .kind("user.registration", register)
            .kind("user.age", async |user: User| Outcome::nack(user.age));
        let payload = serde_json::json!({"user": {"email": "a@b", "age": 7}});
        let envelope = message(&payload).with_kind("user.registration");
        assert_eq!(ask(&router, envelope).await, Outcome::nack("a@b 1"));
        let envelope = message(&payload["user"]).with_kind("user.age");
        assert_eq!(ask(&router, envelope).await, Outcome::nack("7"));
    }

    #[tokio::test]
    async fn an_undecodable_payload_is_a_dead_letter_that_names_the_place() {
        let router = Router::new().kind("user.registration", register);
        let payload = serde_json::json!({"user": {"email": "a@b", "age": 700}});
        let outcome = ask(&router, message(&payload).with_kind("user.registration")).await;
        let Outcome::DeadLetter { reason: DeadReason::Undecodable, error: Some(error) } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            error.starts_with("at `user.age`: payload is no ") && error.contains("Registration"),
            "{error}"
        );
        assert!(!error.contains("700"), "payloads do not go into errors: {error}");
    }

    #[tokio::test]
    async fn the_first_route_that_matches_takes_the_message() {
        let router = Router::new().header("x", "1", says("header x")).kind("k", says("kind k")).header(
            "y",
            "1",
            says("header y"),
        );
        let base = || message(&serde_json::json!(1));
        assert_eq!(
            ask(&router, base().with_kind("k").with_header("x", "1")).await,
            Outcome::nack("header x")
        );
        assert_eq!(ask(&router, base().with_kind("k").with_header("y", "1")).await, Outcome::nack("kind k"));
        assert_eq!(
            ask(&router, base().with_kind("z").with_header("y", "1")).await,
            Outcome::nack("header y")
        );
        assert_eq!(ask(&router, base().with_kind("k").with_header("x", "2")).await, Outcome::nack("kind k"));
    }

    #[tokio::test]
    async fn what_no_route_takes_goes_to_the_fallback_or_to_the_dead_letters() {
        let unrouted = ask(&Router::new(), message(&serde_json::json!(1)).with_kind("k")).await;
        let expected = Outcome::dead_letter_as("unroutable".into(), "no route for messages of the kind `k`");
        assert_eq!(unrouted, expected);
        let router = Router::new().fallback(async |message: Message| Outcome::nack(message.attempt()));
        assert_eq!(ask(&router, message(&serde_json::json!(1))).await, Outcome::nack("1"));
    }

    #[tokio::test]
    async fn routers_nest() {
        let inner = Router::new().header("x", "1", says("inner"));
        let router = Router::new().kind("k", untyped(inner));
        let envelope = message(&serde_json::json!(1)).with_kind("k").with_header("x", "1");
        assert_eq!(ask(&router, envelope).await, Outcome::nack("inner"));
    }

    #[test]
    #[should_panic(expected = "two routes for messages of the kind `k`")]
    fn two_routes_for_one_kind_are_refused() {
        let _ = Router::new().kind("k", says("one")).kind("k", says("two"));
    }
}
