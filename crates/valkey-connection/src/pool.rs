//! A few multiplexed links, each with a watchdog that replaces it when it no longer answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

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
    pub(crate) async fn start(driver: Arc<Driver>, closed: CancellationToken) -> Result<Arc<Self>, Error> {
        let first = driver.connect().await?;
        let size = driver.settings().pool_size.max(1) as usize;
        let slots: Vec<Slot> = (0..size).map(|_| Slot::empty()).collect();
        slots[0].link.store(Some(Arc::new(first)));
        let pool = Arc::new(Self {
            driver,
            slots,
            next: AtomicUsize::new(0),
            stats: Stats::new(),
            changed: watch::Sender::new(()),
            closed,
        });
        for at in 0..size {
            tokio::spawn(watchdog(Arc::clone(&pool), at));
        }
        Ok(pool)
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

/// Keeps one slot filled with a link that answers, until the pool is closed.
async fn watchdog(pool: Arc<Pool>, at: usize) {
    let closed = pool.closed.clone();
    closed.run_until_cancelled(keep(&pool, &pool.slots[at])).await;
}

async fn keep(pool: &Pool, slot: &Slot) {
    let mut cause = Cause::Missing;
    loop {
        if let Some(link) = slot.link.load_full() {
            cause = observe(pool, slot, &link).await;
            tracing::warn!(
                server = pool.driver.origin().server,
                cause = cause.as_str(),
                "connection has to be replaced"
            );
        }
        replace(pool, slot, cause).await;
    }
}

/// Watches a link until there is a reason to replace it.
async fn observe(pool: &Pool, slot: &Slot, link: &Link) -> Cause {
    let settings = pool.driver.settings();
    let (mut errors, mut reconnects) = (link.errors(), link.reconnects());
    let mut misses = 0;
    // A fresh link is not asked to leave again at once: a replica that answers READONLY to everything would be
    // reconnected to for every single command.
    let settled = Instant::now() + Duration::from_secs(1);
    loop {
        let pause = if misses == 0 { jittered(settings.probe_interval) } else { Duration::ZERO };
        tokio::select! {
            event = errors.recv() => {
                if let Ok((error, _)) = event {
                    let error = pool.driver.connect_error(&error);
                    let refused = error.kind() == ErrorKind::Auth && !link.seems_connected();
                    *slot.lock_error() = Some(error);
                    if refused {
                        // The driver would knock every five seconds; we do it less often.
                        link.cut();
                        return Cause::Auth;
                    }
                } else if link.is_finished() {
                    return Cause::Watchdog;
                }
                continue;
            }
            event = reconnects.recv() => {
                if event.is_ok() {
                    telemetry::reconnected("lost");
                    *slot.lock_error() = None;
                    pool.changed.send_replace(());
                    link.introduce(settings).await;
                } else if link.is_finished() {
                    return Cause::Watchdog;
                }
                continue;
            }
            () = slot.suspicion.notified() => {}
            () = sleep(pause) => {}
        }
        if let Some(cause) = slot.take_verdict() {
            tokio::time::sleep_until(settled).await;
            slot.take_verdict();
            return cause;
        }
        match link.probe(settings.probe_timeout).await {
            Ok(()) => {
                misses = 0;
                *slot.lock_error() = None;
            }
            Err(error) => {
                misses += 1;
                if misses >= settings.probe_misses || link.is_finished() {
                    return Cause::Watchdog;
                }
                if error.is_not_sent() {
                    // The driver knows that it is not connected and is at it: no need to hurry.
                    sleep(jittered(settings.probe_interval.min(Duration::from_secs(1)))).await;
                }
            }
        }
    }
}

/// Puts a fresh link into the slot, trying until it works. Ends early when the old one has come back by itself.
async fn replace(pool: &Pool, slot: &Slot, cause: Cause) {
    let settings = pool.driver.settings();
    let mut pause = Duration::from_millis(100);
    if cause != Cause::Missing {
        // After an outage many processes come back at the same time.
        sleep(pause.mul_f64(rand::random())).await;
    }
    loop {
        match pool.driver.connect().await {
            Ok(link) => {
                let old = slot.link.swap(Some(Arc::new(link)));
                *slot.lock_error() = None;
                if let Some(old) = old {
                    telemetry::reconnected(cause.as_str());
                    retire(old, cause, settings.read_timeout);
                }
                pool.changed.send_replace(());
                return;
            }
            Err(error) => {
                telemetry::store_error(&error);
                pool.stats.failed(&error);
                tracing::warn!(%error, "connecting failed; trying again");
                // The server logs every refused login, and only a person can make the next one succeed.
                let longest = if error.kind() == ErrorKind::Auth { 10 } else { 5 };
                *slot.lock_error() = Some(error);
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(Duration::from_secs(longest));
            }
        }
        if cause == Cause::Watchdog
            && let Some(old) = slot.link.load_full()
            && old.seems_connected()
            && old.probe(settings.probe_timeout).await.is_ok()
        {
            *slot.lock_error() = None;
            pool.changed.send_replace(());
            return;
        }
    }
}

/// A link that answers may finish what is in flight; a dead one is cut at once, so that its callers learn of it.
fn retire(old: Arc<Link>, cause: Cause, patience: Duration) {
    if cause == Cause::Watchdog {
        old.cut();
        return;
    }
    tokio::spawn(async move {
        let give_up = Instant::now() + patience;
        while old.in_flight() > 0 && Instant::now() < give_up {
            sleep(LOOK_AGAIN).await;
        }
        old.quit().await;
    });
}

/// Between 80 % and 120 %, so that many processes do not knock at the same time.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.8..1.2))
}
