//! The loop that takes, calls the handler and settles; and how it ends.
//!
//! ```text
//!            +--> worker 1: next -> handler -> policy -> settle --+
//!   source --+--> ...                                             +--> engine
//!            +--> worker n: next -> handler -> policy -> settle --+
//! ```
//!
//! The workers are tasks that live as long as the service; nothing is spawned for a message. Stopping has two phases:
//! nothing new is started and running handlers may finish; then, when the drain timeout is over, they are dropped and
//! their messages handed back.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::error::ReceiveError;
use crate::handle::EngineHandle;
use crate::report::DrainReport;
use crate::settings::ReceiverSettings;
use crate::source::Source;
use crate::work::{Shared, Work};

/// How long dropped handlers get to be gone. Only one that blocks its thread needs longer, and that one cannot be
/// stopped at all: it is left behind and its message handed back.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// A receiver at work: await it.
///
/// Made by [`Receiver::serve`](crate::Receiver::serve). It ends when the shutdown signal comes, when a
/// [`ReceiverHandle`](crate::ReceiverHandle) drains it, or when the receiver cannot go on.
///
/// One that is not awaited serves nothing, and the compiler warns of it:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # async fn handle(_: valkey_receiver::Message) {}
/// async fn run(receiver: valkey_receiver::Receiver) {
///     receiver.serve(handle);
/// }
/// ```
///
/// ```no_run
/// #![deny(unused_must_use)]
/// # async fn handle(_: valkey_receiver::Message) {}
/// async fn run(receiver: valkey_receiver::Receiver) {
///     let _report = receiver.serve(handle).await;
/// }
/// ```
///
/// # Cancel safety
/// Dropping it (or the future made of it) drops the running handlers; their messages go back uncounted, but nobody
/// waits for the server to know it. Prefer [`with_graceful_shutdown`](Self::with_graceful_shutdown).
#[must_use = "a receiver serves nothing until it is awaited"]
pub struct Serve<W> {
    source: Source,
    engine: EngineHandle,
    settings: Arc<ReceiverSettings>,
    work: W,
    signal: Option<BoxFuture<'static, ()>>,
}

// === impl Serve ===

impl<W> Serve<W> {
    pub(crate) fn new(
        source: Source,
        engine: EngineHandle,
        settings: Arc<ReceiverSettings>,
        work: W,
    ) -> Self {
        Self { source, engine, settings, work, signal: None }
    }

    /// Starts a graceful stop when `signal` completes: nothing new is taken, prefetched messages go back uncounted,
    /// running handlers get the drain timeout to finish, then they are dropped and their messages go back uncounted
    /// too.
    pub fn with_graceful_shutdown<F>(mut self, signal: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.signal = Some(signal.boxed());
        self
    }
}

impl<W: Work> Serve<W> {
    async fn run(self) -> Result<DrainReport, ReceiveError> {
        let Self { source, engine, settings, work, signal } = self;
        let shared = Arc::new(Shared::new(&settings, engine.abort_handlers_token().clone()));
        let work = Arc::new(work);
        let mut workers = JoinSet::new();
        for _ in 0..work.workers(&settings).max(1) {
            let worker = shared.worker(source.clone());
            let work = Arc::clone(&work);
            workers.spawn(async move { work.work(worker).await });
        }
        drop((work, source));

        let mut bug = None;
        tokio::select! {
            () = signal.unwrap_or_else(|| std::future::pending().boxed()) => {}
            () = engine.drained().cancelled() => {}
            // The source has ended by itself: the engines are gone.
            ended = workers.join_next() => bug = panic_of(ended),
        }

        let stopping = Instant::now();
        engine.begin_drain();
        let drained = timeout(settings.drain_timeout, all(&mut workers, &mut bug)).await.is_ok();
        let mut stuck = 0;
        if !drained {
            tracing::warn!(
                running = workers.len(),
                timeout = ?settings.drain_timeout,
                "the drain timeout is over: dropping the running handlers, their messages go back"
            );
            shared.abort();
            if timeout(ABORT_GRACE, all(&mut workers, &mut bug)).await.is_err() {
                stuck = workers.len() as u64;
                tracing::warn!(
                    stuck,
                    "handlers that block their thread are left behind, their messages go back"
                );
                workers.detach_all();
            }
        }
        let books = engine.finish().await?;
        if let Some(bug) = bug {
            resume_unwind(bug.into_panic());
        }
        Ok(DrainReport {
            acked: books.acked,
            retried: books.retried,
            dead: books.dead,
            handed_back: books.released,
            aborted: shared.aborted() + stuck,
            uncertain: books.uncertain,
            duration: stopping.elapsed(),
        })
    }
}

impl<W: Work> IntoFuture for Serve<W> {
    type Output = Result<DrainReport, ReceiveError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.run().boxed()
    }
}

impl<W> fmt::Debug for Serve<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("graceful_shutdown", &self.signal.is_some()).finish_non_exhaustive()
    }
}

async fn all(workers: &mut JoinSet<()>, bug: &mut Option<JoinError>) {
    while let Some(ended) = workers.join_next().await {
        *bug = bug.take().or(panic_of(Some(ended)));
    }
}

/// Handlers' panics are caught, so this is a panic of ours, or of a handler's destructor: reported when all is safe.
fn panic_of(ended: Option<Result<(), JoinError>>) -> Option<JoinError> {
    ended.and_then(Result::err).filter(JoinError::is_panic)
}
