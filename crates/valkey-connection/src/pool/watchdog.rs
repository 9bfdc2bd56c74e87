//! Keeps a slot filled: watches its link, and replaces it by a fresh one when it has to go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Cause, LOOK_AGAIN, Pool, Slot};
use crate::driver::Link;
use crate::error::ErrorKind;
use crate::telemetry;

/// Between the first two tries to connect; doubled with each, up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A failure that goes on is told again so often: logs must not be what an outage fills.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// Keeps one slot filled with a link that answers, until the pool is closed.
pub(super) async fn keep_filled(pool: Arc<Pool>, at: usize) {
    let closed = pool.closed.clone();
    closed.run_until_cancelled(keep(&pool, &pool.slots[at])).await;
}

async fn keep(pool: &Pool, slot: &Slot) {
    let mut cause = Cause::Missing;
    let mut leads_to = LeadsTo::Primary;
    loop {
        if let Some(link) = slot.link.load_full() {
            cause = observe(pool, slot, &link, leads_to).await;
            tracing::warn!(
                server = pool.driver.origin().server,
                cause = cause.as_str(),
                "connection has to be replaced"
            );
        }
        leads_to = replace(pool, slot, cause).await;
    }
}

/// Whose address it is, as far as is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LeadsTo {
    Primary,
    Replica,
}

/// Tells the breaker that the store is back, unless a replica is there instead: one that is told to be one, while nobody
/// names another, refuses every write, however well it answers the watchdog.
async fn welcome(pool: &Pool, link: &Link) -> LeadsTo {
    let fixed = !link.is_clustered() && link.primary().is_none();
    if fixed && pool.breaker.is_in_doubt() {
        let role = link.check_primary(pool.driver.settings().probe_timeout).await;
        if role.is_err_and(|error| error.kind() == ErrorKind::RoleChange) {
            return LeadsTo::Replica;
        }
    }
    pool.breaker.store_is_back();
    LeadsTo::Primary
}

/// Watches a link until there is a reason to replace it.
async fn observe(pool: &Pool, slot: &Slot, link: &Link, mut leads_to: LeadsTo) -> Cause {
    let settings = pool.driver.settings();
    let (mut errors, mut reconnects) = (link.errors(), link.reconnects());
    // Some node is connected again.
    let mut returning = false;
    let mut misses = 0;
    // A fresh link is not asked to leave again at once: a replica that answers READONLY to everything would be
    // reconnected to for every single command.
    let settled = Instant::now() + Duration::from_secs(1);
    let mut next_probe = Instant::now() + jittered(settings.probe_interval);
    loop {
        tokio::select! {
            event = errors.recv() => {
                match event {
                    Ok((error, _)) => {
                        let error = pool.driver.connect_error(&error);
                        let refused = error.kind() == ErrorKind::Auth && !link.seems_connected();
                        *slot.lock_error() = Some(error);
                        if refused {
                            // The driver would knock every five seconds; we do it less often.
                            link.cut();
                            return Cause::Auth;
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Cause::Watchdog,
                }
                continue;
            }
            event = reconnects.recv() => {
                if let Err(RecvError::Closed) = event {
                    return Cause::Watchdog;
                }
                telemetry::reconnected("lost");
                *slot.lock_error() = None;
                pool.changed.send_replace(());
                returning = true;
                link.introduce(settings).await;
                continue;
            }
            () = link.whole(), if returning => {
                returning = false;
                leads_to = welcome(pool, link).await;
                continue;
            }
            () = link.over() => {
                return match link.primary() {
                    None => Cause::Watchdog,
                    believed if pool.driver.believed().as_ref() == believed => Cause::Lost,
                    Some(_) => Cause::RoleChange,
                };
            }
            () = slot.suspicion.notified() => {}
            () = sleep_until(next_probe) => {}
        }
        if let Some(cause) = slot.take_verdict() {
            sleep_until(settled).await;
            slot.take_verdict();
            return cause;
        }
        next_probe = match link.probe(settings.probe_timeout).await {
            Ok(()) => {
                if misses > 0 || leads_to == LeadsTo::Replica {
                    leads_to = welcome(pool, link).await;
                }
                // By now the address may lead elsewhere.
                if leads_to == LeadsTo::Replica && Instant::now() >= settled {
                    return Cause::RoleChange;
                }
                misses = 0;
                *slot.lock_error() = None;
                Instant::now() + jittered(settings.probe_interval)
            }
            Err(error) => {
                misses += 1;
                if misses >= settings.probe_misses || link.is_finished() {
                    return Cause::Watchdog;
                }
                // Where the driver knows that it is not connected, it is at it: no need to hurry. Silence has taken its
                // time already.
                let pause = if error.is_not_sent() {
                    settings.probe_interval.min(Duration::from_secs(1))
                } else {
                    Duration::ZERO
                };
                Instant::now() + jittered(pause)
            }
        };
    }
}

/// Puts a fresh link into the slot, trying until it works. Ends early when the old one has come back by itself.
async fn replace(pool: &Pool, slot: &Slot, cause: Cause) -> LeadsTo {
    let settings = pool.driver.settings();
    let mut pause = FIRST_PAUSE;
    let mut told: Option<(ErrorKind, Instant)> = None;
    if cause != Cause::Missing {
        // After an outage many processes come back at the same time.
        sleep(pause.mul_f64(rand::random())).await;
    }
    loop {
        let believed = pool.driver.believed();
        match pool.driver.connect().await {
            Ok(link) => {
                let primary = link.primary().cloned();
                let link = Arc::new(link);
                let old = slot.link.swap(Some(Arc::clone(&link)));
                *slot.lock_error() = None;
                pool.changed.send_replace(());
                let Some(old) = old else { return LeadsTo::Primary };
                let elsewhere = old.primary() != primary.as_ref();
                if elsewhere {
                    pool.breaker.start_afresh();
                }
                telemetry::reconnected(cause.as_str());
                retire(old, cause, settings.read_timeout);
                return if elsewhere { LeadsTo::Primary } else { welcome(pool, &link).await };
            }
            Err(error) => {
                telemetry::store_error(&error);
                pool.stats.failed(&error);
                let now = Instant::now();
                if told.is_none_or(|(kind, at)| kind != error.kind() || now - at >= TOLD_AGAIN) {
                    tracing::warn!(%error, "connecting failed; trying again");
                    told = Some((error.kind(), now));
                } else {
                    tracing::debug!(%error, "connecting failed; trying again");
                }
                // The server logs every refused login, and only a person can make the next one succeed.
                let factor = if error.kind() == ErrorKind::Auth { 2 } else { 1 };
                let longest = settings.longest_pause.saturating_mul(factor);
                *slot.lock_error() = Some(error);
                tokio::select! {
                    () = sleep(jittered(pause)) => pause = (pause * 2).min(longest),
                    () = pool.driver.until_elsewhere(believed) => pause = FIRST_PAUSE,
                }
            }
        }
        if cause == Cause::Watchdog
            && let Some(old) = slot.link.load_full()
            && old.seems_connected()
            && old.probe(settings.probe_timeout).await.is_ok()
        {
            *slot.lock_error() = None;
            pool.changed.send_replace(());
            return welcome(pool, &old).await;
        }
    }
}

/// A link that answers may finish what is in flight; a dead one is cut at once, so that its callers learn of it.
fn retire(old: Arc<Link>, cause: Cause, patience: Duration) {
    if matches!(cause, Cause::Watchdog | Cause::Lost) || old.is_finished() {
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
