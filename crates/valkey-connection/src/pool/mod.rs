//! A few multiplexed links, each with a watchdog that replaces it when it no longer answers.

mod watchdog;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::driver::{Driver, Link, Request};
use crate::error::{Error, ErrorKind, Progress};
use crate::health::{ConnectionState, PoolHealth, Stats, is_answer};
use crate::reply::Reply;
use crate::telemetry;

/// How often a waiting call looks by itself, should it miss the news.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// The links that all clones of a connection share.
pub(crate) struct Pool {
    driver: Arc<Driver>,
    slots: Vec<Slot>,
    next: AtomicUsize,
    stats: Stats,
    breaker: Breaker,
    /// Told whenever a slot may have become usable.
    changed: watch::Sender<()>,
    closed: CancellationToken,
}

/// A place for one link.
pub(crate) struct Slot {
    link: ArcSwapOption<Link>,
    /// Wakes the watchdog: a call has had a bad experience.
    suspicion: Notify,
    /// Why the link has to go although it answers.
    verdict: Mutex<Option<Cause>>,
    /// Why there is no connection, as of the last attempt.
    last_error: Mutex<Option<Error>>,
}

/// Why a link was replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// The server wants another login.
    Auth,
    /// It broke, or belongs to a primary that is none any more, and does not come back by itself.
    Lost,
    /// There was none.
    Missing,
    /// The node is not the primary any more.
    RoleChange,
    /// It did not answer.
    Watchdog,
}

impl Cause {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Lost => "lost",
            Self::Missing => "missing",
            Self::RoleChange => "role_change",
            Self::Watchdog => "watchdog",
        }
    }

    /// What a server's answer says about the connection it came over.
    fn of(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::RoleChange => Some(Self::RoleChange),
            ErrorKind::Auth => Some(Self::Auth),
            _ => None,
        }
    }
}

impl Pool {
    /// A pool with its first link; the others follow in the background.
    pub(crate) async fn start(
        driver: Arc<Driver>,
        breaker: Breaker,
        closed: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let first = driver.connect_when_ready().await?;
        Ok(Self::fill(driver, breaker, closed, Some(first)))
    }

    /// A pool whose links follow in the background, those it has not been given.
    pub(crate) fn fill(
        driver: Arc<Driver>,
        breaker: Breaker,
        closed: CancellationToken,
        first: Option<Link>,
    ) -> Arc<Self> {
        let size = driver.settings().pool_size.max(1) as usize;
        let slots: Vec<Slot> = (0..size).map(|_| Slot::empty()).collect();
        slots[0].link.store(first.map(Arc::new));
        let pool = Arc::new(Self {
            driver,
            slots,
            next: AtomicUsize::new(0),
            stats: Stats::new(),
            breaker,
            changed: watch::Sender::new(()),
            closed,
        });
        for at in 0..size {
            tokio::spawn(watchdog::keep_filled(Arc::clone(&pool), at));
        }
        pool
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// A slot with a link that seems usable, waiting for one until the deadline.
    ///
    /// # Errors
    /// Why there is none; nothing was sent.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<(&Slot, Arc<Link>), Error> {
        if let Some(found) = self.pick() {
            self.stats.hit();
            return Ok(found);
        }
        let mut news = self.changed.subscribe();
        loop {
            if self.is_closed() {
                return Err(self.closed_error());
            }
            if let Some(found) = self.pick() {
                self.stats.missed(false);
                return Ok(found);
            }
            let reason = self.why_not();
            // These do not pass by waiting a moment.
            let hopeless = reason.as_ref().is_some_and(|error| {
                matches!(
                    error.kind(),
                    ErrorKind::Auth | ErrorKind::Tls | ErrorKind::Configuration | ErrorKind::Denied
                )
            });
            if hopeless || Instant::now() >= deadline {
                self.stats.missed(true);
                let error = reason.unwrap_or_else(|| {
                    Error::new(ErrorKind::Disconnected, Progress::NotSent, "not connected")
                });
                return Err(error.with_progress(Progress::NotSent).with_origin(self.driver.origin()));
            }
            let _ = timeout_at(deadline.min(Instant::now() + LOOK_AGAIN), news.changed()).await;
        }
    }

    fn pick(&self) -> Option<(&Slot, Arc<Link>)> {
        if self.is_closed() {
            return None;
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.slots.len()).find_map(|step| {
            let slot = &self.slots[start.wrapping_add(step) % self.slots.len()];
            let link = slot.link.load_full().filter(|link| link.seems_connected())?;
            Some((slot, link))
        })
    }

    fn why_not(&self) -> Option<Error> {
        self.slots.iter().find_map(|slot| slot.lock_error().clone())
    }

    pub(crate) fn closed_error(&self) -> Error {
        Error::new(ErrorKind::Closed, Progress::NotSent, "closed").with_origin(self.driver.origin())
    }

    /// Runs one request on one link and draws the conclusions.
    pub(crate) async fn run(&self, slot: &Slot, link: &Link, request: Request) -> Result<Reply, Error> {
        let operation = request.operation;
        self.watch(slot, operation, link.call(request)).await
    }

    /// As [`run`](Self::run), for a call already made.
    pub(crate) async fn watch(
        &self,
        slot: &Slot,
        operation: &'static str,
        call: impl Future<Output = Result<Reply, Error>>,
    ) -> Result<Reply, Error> {
        let started = std::time::Instant::now();
        let result = call.await;
        self.conclude(operation, started, &result);
        if let Err(error) = &result {
            slot.note(error);
        }
        result
    }

    /// Metrics and health of one finished call.
    pub(crate) fn conclude(
        &self,
        operation: &'static str,
        started: std::time::Instant,
        result: &Result<Reply, Error>,
    ) {
        let now = std::time::Instant::now();
        telemetry::command_finished(operation, now - started, result.as_ref().err());
        if is_answer(result) {
            self.stats.answered(now);
        }
        if let Err(error) = result
            && error.is_store_failure()
        {
            self.stats.failed(error);
        }
    }

    pub(crate) fn health(&self) -> (PoolHealth, ConnectionState) {
        let mut pool = PoolHealth { total: self.slots.len(), ..PoolHealth::default() };
        for slot in &self.slots {
            match slot.link.load_full().filter(|link| link.seems_connected()) {
                Some(link) if link.in_flight() == 0 => pool.idle += 1,
                Some(_) => {}
                None => pool.stale += 1,
            }
        }
        let state = if self.is_closed() {
            ConnectionState::Closed
        } else if pool.stale < pool.total {
            ConnectionState::Connected
        } else {
            ConnectionState::Reconnecting
        };
        (self.stats.fill(pool), state)
    }

    /// Ends the watchdogs and says goodbye on every link.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        let links: Vec<_> = self.slots.iter().filter_map(|slot| slot.link.swap(None)).collect();
        futures::future::join_all(links.iter().map(|link| link.quit())).await;
    }
}

impl Slot {
    fn empty() -> Self {
        Self {
            link: ArcSwapOption::empty(),
            suspicion: Notify::new(),
            verdict: Mutex::new(None),
            last_error: Mutex::new(None),
        }
    }

    /// What an error says about the link it came over.
    fn note(&self, error: &Error) {
        if is_answer::<()>(&Err(error.clone())) {
            if let Some(cause) = Cause::of(error.kind()) {
                *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
                self.suspicion.notify_one();
            }
        } else if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Disconnected) {
            self.suspicion.notify_one();
        }
    }

    fn take_verdict(&self) -> Option<Cause> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn lock_error(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
