//! Where the engine of one queue and everybody else meet: settles to carry out, wishes, and the tallies.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use valkey_envelope::QueueName;

use crate::error::{ReceiveError, SettleError};
use crate::outcome::Disposition;
use crate::take::Claim;
use crate::telemetry::QueueMetrics;

/// One life of a consumer: from a join to the loss of its lease, or to its leave.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) cid: String,
    /// Cancelled when the lease is lost: whatever this consumer still holds belongs to others.
    /// Shared as a whole: a clone of a token costs a lock, and each message carries one.
    pub(crate) lost: Arc<CancellationToken>,
    /// It ended because the server's state was deleted: then nothing is delivered again.
    pub(crate) deleted: AtomicBool,
    pub(crate) desk: Arc<Desk>,
}

/// A message on its way from the engine to a handler.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) claim: Claim,
    pub(crate) epoch: Arc<Epoch>,
}

/// A decision about a message, on its way to the engine.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) claim: Claim,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) disposition: Disposition,
    pub(crate) answer: Option<oneshot::Sender<Result<(), SettleError>>>,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) queue: QueueName,
    tray: Mutex<Tray>,
    /// The engine is woken by the first settle, and again by the one that fills a batch; those in between ride along.
    batch: usize,
    waiting: AtomicUsize,
    pub(crate) wake: Notify,
    pub(crate) paused: AtomicBool,
    pub(crate) draining: AtomicBool,
    pub(crate) finishing: AtomicBool,
    /// How many messages the engine holds on the server.
    pub(crate) held: watch::Sender<usize>,
    /// The server's clock when `start` was, in ms: the local wall clock plays no part, so its jumps do not either.
    server_start_ms: AtomicI64,
    start: Instant,
    /// What the server said last, if it does not let the queue be served at present.
    refusal: Mutex<Option<ReceiveError>>,
    pub(crate) tally: Tally,
    pub(crate) metrics: QueueMetrics,
}

#[derive(Debug)]
struct Tray {
    settles: Vec<Settle>,
    /// The engine has left: nobody will carry out anything any more.
    closed: bool,
}

/// What was confirmed by the server, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acked: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) uncertain: AtomicU64,
}

impl Epoch {
    pub(crate) fn new(cid: String, desk: Arc<Desk>) -> Self {
        Self { cid, lost: Arc::default(), deleted: AtomicBool::new(false), desk }
    }

    /// What a decision is told that comes after the end.
    pub(crate) fn too_late(&self) -> SettleError {
        if self.deleted.load(Ordering::Relaxed) { SettleError::Uncertain } else { SettleError::LeaseLost }
    }
}

impl Desk {
    pub(crate) fn new(queue: QueueName, batch: usize) -> Self {
        Self {
            metrics: QueueMetrics::new(&queue),
            queue,
            tray: Mutex::new(Tray { settles: Vec::with_capacity(batch), closed: false }),
            batch,
            waiting: AtomicUsize::new(0),
            wake: Notify::new(),
            paused: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            held: watch::Sender::new(0),
            server_start_ms: AtomicI64::new(0),
            start: Instant::now(),
            refusal: Mutex::default(),
            tally: Tally::default(),
        }
    }

    /// Puts a decision on the desk. Never waits. After the engine has left it is answered at once.
    pub(crate) fn put(&self, settle: Settle) {
        let mut tray = self.tray();
        if tray.closed {
            drop(tray);
            if let Some(waiting) = settle.answer {
                let _ = waiting.send(Err(SettleError::Stopped));
            }
            return;
        }
        tray.settles.push(settle);
        let count = tray.settles.len();
        self.waiting.store(count, Ordering::Release);
        drop(tray);
        if count == 1 || count == self.batch {
            self.wake.notify_one();
        }
    }

    /// Everything on the desk.
    pub(crate) fn clear(&self) -> Vec<Settle> {
        if self.waiting() == 0 {
            return Vec::new();
        }
        let mut tray = self.tray();
        self.waiting.store(0, Ordering::Release);
        std::mem::replace(&mut tray.settles, Vec::with_capacity(self.batch))
    }

    /// The last clearing: from now on every decision comes too late.
    pub(crate) fn close(&self) -> Vec<Settle> {
        let mut tray = self.tray();
        tray.closed = true;
        self.waiting.store(0, Ordering::Release);
        std::mem::take(&mut tray.settles)
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        // A panic while it was held left a vector in order: pushing and taking are all that is done under it.
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub(crate) fn takes_no_more(&self) -> bool {
        self.paused.load(Ordering::Acquire) || self.draining.load(Ordering::Acquire)
    }

    /// The server answers, and lets the queue be served.
    pub(crate) fn serves(&self) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn note_refusal(&self, why: ReceiveError) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the queue is not served at present.
    pub(crate) fn refusal(&self) -> Option<ReceiveError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn learn_clock(&self, server_ms: u64) {
        let server_ms = i64::try_from(server_ms).unwrap_or(i64::MAX);
        self.server_start_ms.store(server_ms.saturating_sub(self.elapsed_ms()), Ordering::Relaxed);
    }

    /// The server's time of day as last learnt, carried on with the local monotonic clock.
    pub(crate) fn server_ms(&self) -> u64 {
        let now = self.server_start_ms.load(Ordering::Relaxed).saturating_add(self.elapsed_ms());
        u64::try_from(now).unwrap_or(0)
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_clock_is_carried_on() {
        let desk = Desk::new("q".parse().expect("valid"), 8);
        let ahead = 1_700_000_000_000;
        desk.learn_clock(ahead);
        let read = desk.server_ms();
        assert!((ahead..ahead + 60_000).contains(&read), "{read} is not just after {ahead}");
    }
}
