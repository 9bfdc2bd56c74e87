//! The store, which may be away when this process starts, and later: mail flows meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tracing::{info, warn};
use valkey_connection::Connection;
use valkey_ratelimit::{Health, LimitError, Limiter, NodeId, Rule, SlotSettings, Slots, Subject};
use valkit_service::Shutdown;

use crate::guard::GuardError;
use crate::settings::GuardSettings;

/// How often the store is looked at while all is well.
const LOOK: Duration = Duration::from_millis(500);
/// How often while it is not: whoever comes first when it is back should find the limits in force.
const LOOK_AWAY: Duration = Duration::from_millis(50);

/// So many looks in a row that fail, and people are told.
const FAILURES: u32 = 3;

/// The store that all services of this process share. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    slots: Slots,
    /// A limit that nobody is charged for.
    probe: Rule,
    /// Whether it has ever answered.
    was_there: AtomicBool,
    unchecked: AtomicU64,
}

impl Store {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings of the connection are wrong.
    pub fn open(settings: &GuardSettings, node: &NodeId) -> Result<Self, GuardError> {
        Self::over(Connection::connect_later(&settings.connection)?, settings, node)
    }

    /// Over a connection that is there.
    pub(crate) fn over(
        connection: Connection,
        settings: &GuardSettings,
        node: &NodeId,
    ) -> Result<Self, GuardError> {
        let deadline = settings.gate.check_timeout;
        let slots = SlotSettings::default().with_lease(settings.gate.lease).with_deadline(deadline);
        let wrong = |error: &dyn std::fmt::Display| GuardError::Limits(error.to_string());
        let probe = Rule::new(
            "probe".parse().map_err(|error| wrong(&error))?,
            "1/1s".parse().map_err(|error| wrong(&error))?,
        )
        .with_prefix(&settings.resources.valkey_key_prefix);
        Ok(Self {
            inner: Arc::new(Inner {
                limiter: Limiter::new(connection.clone()).with_deadline(deadline),
                slots: Slots::new(connection, node.clone(), slots),
                probe,
                was_there: AtomicBool::new(false),
                unchecked: AtomicU64::new(0),
            }),
        })
    }

    /// Asks limits; `None` before the store has answered for the first time.
    pub fn limiter(&self) -> Option<&Limiter> {
        self.inner.was_there.load(Ordering::Relaxed).then_some(&self.inner.limiter)
    }

    /// Asks limits, whether the store has ever answered or not: for rules that say themselves what happens then.
    pub(crate) fn limiter_from_the_start(&self) -> &Limiter {
        &self.inner.limiter
    }

    /// What is held at the same time.
    pub fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    /// Somebody passed although a limit could not be asked.
    pub(crate) fn note_unchecked(&self) {
        self.inner.unchecked.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks a limit that nobody is charged for.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn probe(&self) -> Result<(), LimitError> {
        let Inner { limiter, probe, was_there, .. } = &*self.inner;
        limiter.peek(probe, &Subject::text("probe"), 1).await?;
        was_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Watches the store, until the end is wished for: an outage is noticed before clients wait for it, and its end before they
    /// ask. Tells people of both.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.watch() => {}
            () = shutdown.draining() => {}
        }
    }

    async fn watch(&self) {
        let (mut failures, mut is_away) = (0_u32, false);
        loop {
            let answer = self.probe().await;
            failures = if answer.is_ok() { 0 } else { failures.saturating_add(1) };
            let is_healthy = matches!(self.inner.limiter.health(), Health::Healthy | Health::Degraded);
            match answer {
                Err(error) if failures == FAILURES && !is_away => {
                    is_away = true;
                    warn!(
                        reason = why(&error),
                        "limits cannot be asked: until they can, on_unavailable says what becomes of clients"
                    );
                }
                Ok(()) if is_away && is_healthy => {
                    is_away = false;
                    let unchecked = self.inner.unchecked.swap(0, Ordering::Relaxed);
                    info!(unchecked, "limits are in force again");
                }
                _ => {}
            }
            tokio::time::sleep(if is_away || failures > 0 { LOOK_AWAY } else { LOOK }).await;
        }
    }

    /// Tells the store what has been freed: otherwise it is free only when the lease ends.
    pub(crate) async fn close(&self) {
        if !self.inner.slots.flush().await {
            warn!(
                "the store does not know that the last connections have ended: they count until their lease ends"
            );
        }
    }
}

/// Why the store could not be asked, for an operator: whoever asked, and what for, is not the point.
pub(crate) fn why(error: &LimitError) -> String {
    match error {
        LimitError::Away { .. } => "it is known to be away".to_owned(),
        LimitError::Late { deadline, .. } => format!("no answer within {} ms", deadline.as_millis()),
        LimitError::Unavailable { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
