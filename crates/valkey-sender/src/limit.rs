//! Limits around services: those of `tower::limit`, and a rate limit that clones share.
//!
//! tower's [`RateLimit`] counts for one value of a service, and cannot be cloned. A [`Sender`](crate::Sender) is
//! cloned all the time, and its configured rate is one for all clones: [`SharedRateLimit`] puts tower's limiter
//! behind a fair lock.
//!
//! ```no_run
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use valkey_sender::{Sender, limit::SharedRateLimitLayer};
//!
//! # async fn run(sender: Sender, envelope: valkey_envelope::Envelope) -> Result<(), Box<dyn std::error::Error>> {
//! let limited = ServiceBuilder::new()
//!     .layer(SharedRateLimitLayer::new(100, Duration::from_secs(1)))
//!     .service(sender);
//! // However many clones there are, 100 messages a second leave in all.
//! let receipt = limited.clone().oneshot(envelope).await?;
//! # Ok(())
//! # }
//! ```

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Mutex;
use tower::{Layer, Service};

pub use tower::limit::{
    ConcurrencyLimit, ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer, RateLimit, RateLimitLayer,
    rate::Rate,
};

/// Lets at most `num` calls through in each period of time, over all clones of the services it makes.
#[derive(Clone, Debug)]
pub struct SharedRateLimitLayer {
    turns: Turns,
}

/// A service whose clones share one rate limit.
pub struct SharedRateLimit<S> {
    inner: S,
    turns: Turns,
    state: State,
}

/// The turns of one limit, handed out in the order they are asked for.
#[derive(Clone)]
pub(crate) struct Turns {
    num: u64,
    per: Duration,
    /// Made at the first turn, since a limiter owns a timer, and that needs a runtime.
    limiter: Arc<Mutex<Option<RateLimit<Gate>>>>,
}

enum State {
    /// No turn is asked for.
    Idle,
    /// A turn is asked for.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
    /// A turn is held for the next call.
    Ready,
}

/// What tower's limiter guards here: nothing, in no time.
struct Gate;

impl Service<()> for Gate {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

// === impl Turns ===

impl Turns {
    fn new(num: u64, per: Duration) -> Self {
        Self { num, per, limiter: Arc::default() }
    }

    /// Waits for one turn. Dropping the future gives the place in the line up and uses no turn.
    pub(crate) async fn next(&self) {
        let mut limiter = self.limiter.lock().await;
        let limiter = limiter.get_or_insert_with(|| RateLimit::new(Gate, Rate::new(self.num, self.per)));
        let Ok(()) = poll_fn(|cx| limiter.poll_ready(cx)).await;
        let Ok(()) = limiter.call(()).await;
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("num", &self.num).field("per", &self.per).finish_non_exhaustive()
    }
}

// === impl SharedRateLimitLayer ===

impl SharedRateLimitLayer {
    /// `num` calls in each `per`.
    ///
    /// A window begins with its first call; around the edge of two, twice `num` can pass in a short time.
    ///
    /// # Panics
    ///
    /// If `num` or `per` is zero, as in [`Rate::new`].
    pub fn new(num: u64, per: Duration) -> Self {
        // Panics here rather than at the first call.
        let _ = Rate::new(num, per);
        Self { turns: Turns::new(num, per) }
    }

    /// `requests` a second on average, of which `burst` may come at once.
    ///
    /// # Panics
    ///
    /// If one of them is zero.
    pub fn with_burst(requests: u32, burst: u32) -> Self {
        assert!(requests > 0, "a rate of zero would let nothing through, ever");
        Self::new(burst.into(), Duration::from_secs(burst.into()) / requests)
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }
}

impl<S> Layer<S> for SharedRateLimitLayer {
    type Service = SharedRateLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SharedRateLimit { inner, turns: self.turns.clone(), state: State::Idle }
    }
}

// === impl SharedRateLimit ===

impl<S: Service<Request>, Request> Service<Request> for SharedRateLimit<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        loop {
            match &mut self.state {
                State::Idle => {
                    let turns = self.turns.clone();
                    self.state = State::Waiting(Box::pin(async move { turns.next().await }));
                }
                State::Waiting(turn) => {
                    ready!(turn.as_mut().poll(cx));
                    self.state = State::Ready;
                }
                State::Ready => return self.inner.poll_ready(cx),
            }
        }
    }

    /// # Panics
    ///
    /// If [`poll_ready`](Service::poll_ready) has not said that the service is ready.
    fn call(&mut self, request: Request) -> Self::Future {
        assert!(
            matches!(self.state, State::Ready),
            "a service is called only after it said that it is ready"
        );
        self.state = State::Idle;
        self.inner.call(request)
    }
}

/// A clone has no turn yet.
impl<S: Clone> Clone for SharedRateLimit<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), turns: self.turns.clone(), state: State::Idle }
    }
}

impl<S: fmt::Debug> fmt::Debug for SharedRateLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRateLimit")
            .field("inner", &self.inner)
            .field("turns", &self.turns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;
    use tower::{ServiceExt, service_fn};

    fn limited(
        num: u64,
    ) -> impl Service<u32, Response = u32, Error = Infallible, Future: Send> + Clone + Send {
        let inner = service_fn(|n: u32| ready(Ok::<_, Infallible>(n)));
        SharedRateLimitLayer::new(num, Duration::from_secs(1)).layer(inner)
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_one_limit() {
        let service = limited(2);
        let start = Instant::now();
        let calls: Vec<_> = (0..6).map(|n| tokio::spawn(service.clone().oneshot(n))).collect();
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.await.expect("no panic"), Ok(n));
        }
        // Two at once, two after a second, two after another one.
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_given_up_is_not_spent() {
        let service = limited(1);
        assert_eq!(service.clone().oneshot(1).await, Ok(1));
        let waiting = tokio::spawn(service.clone().oneshot(2));
        tokio::task::yield_now().await;
        waiting.abort();
        let start = Instant::now();
        assert_eq!(service.clone().oneshot(3).await, Ok(3));
        assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_repaid_by_waiting() {
        let turns = SharedRateLimitLayer::with_burst(10, 20).turns().clone();
        let start = Instant::now();
        for _ in 0..60 {
            turns.next().await;
        }
        assert_eq!(start.elapsed().as_secs(), 4);
    }

    #[test]
    fn it_can_be_built_without_a_runtime() {
        drop(limited(1));
    }
}
