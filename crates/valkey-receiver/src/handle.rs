//! The reins of a running receiver.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::error::ReceiveError;

/// Pauses, resumes and drains one receiver of this process. Cheap to clone; works from any task or thread.
///
/// This is local: the queue goes on for other consumers. (To pause a queue for everybody, see `valkey-admin`.)
#[derive(Clone, Debug)]
pub struct ReceiverHandle {
    engine: EngineHandle,
}

/// The engines of one receiver, one per queue.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    desks: Arc<[Arc<Desk>]>,
    /// True once the engines' thread has ended; closed without it, the thread has died.
    ended: watch::Receiver<bool>,
    drained: CancellationToken,
    abort_handlers: CancellationToken,
}

/// What the server confirmed, over all queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineReport {
    pub(crate) acked: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    pub(crate) released: u64,
    pub(crate) uncertain: u64,
}

// === impl ReceiverHandle ===

impl ReceiverHandle {
    pub(crate) fn new(engine: EngineHandle) -> Self {
        Self { engine }
    }

    /// Takes nothing more until [`resume`](Self::resume). Prefetched messages go back to the head of their queue,
    /// uncounted; running handlers finish and are settled; the lease goes on.
    pub fn pause(&self) {
        self.engine.set(|desk| desk.paused.store(true, Ordering::Release));
    }

    /// Takes again.
    pub fn resume(&self) {
        self.engine.set(|desk| desk.paused.store(false, Ordering::Release));
    }

    /// Whether [`pause`](Self::pause) is in force.
    pub fn is_paused(&self) -> bool {
        self.engine.desks.iter().any(|desk| desk.paused.load(Ordering::Acquire))
    }

    /// Takes nothing more, for good: `serve` then stops as at its shutdown signal, `recv` ends with `None`.
    pub fn drain(&self) {
        self.engine.begin_drain();
    }

    /// Whether the receiver is draining or has stopped.
    pub fn is_draining(&self) -> bool {
        self.engine.is_draining()
    }

    /// The queues that cannot be served at present, each with the server's last word about it; empty when all is well.
    ///
    /// A right is missing, a foreign key is in the way, the server is away: the receiver goes on asking, the other queues
    /// are served meanwhile, and a queue is gone from here with the first answer that lets it be served. Something for a
    /// readiness probe.
    pub fn unserved(&self) -> Vec<ReceiveError> {
        self.engine.desks.iter().filter_map(|desk| desk.refusal()).collect()
    }
}

// === impl EngineHandle ===

impl EngineHandle {
    pub(crate) fn new(
        desks: Arc<[Arc<Desk>]>,
        ended: watch::Receiver<bool>,
        abort_handlers: CancellationToken,
    ) -> Self {
        Self { desks, ended, drained: CancellationToken::new(), abort_handlers }
    }

    /// Cancelled when nothing more will be taken: sources end once they are empty.
    pub(crate) fn drained(&self) -> &CancellationToken {
        &self.drained
    }

    /// Cancelled by whoever runs handlers, when they have to go.
    pub(crate) fn abort_handlers_token(&self) -> &CancellationToken {
        &self.abort_handlers
    }

    /// Messages that are claimed and not settled yet.
    pub(crate) fn held(&self) -> u64 {
        self.desks.iter().map(|desk| *desk.held.borrow() as u64).sum()
    }

    /// Waits until nothing is held. Cancel safe.
    pub(crate) async fn idle(&self) {
        for desk in self.desks.iter() {
            // Closed means that the desk is gone, and with it all that was held.
            let _ = desk.held.subscribe().wait_for(|held| *held == 0).await;
        }
    }

    fn set(&self, wish: impl Fn(&Desk)) {
        for desk in self.desks.iter() {
            wish(desk);
            desk.wake.notify_one();
        }
    }

    /// Takes nothing more; what no handler has begun goes back. Sources end once they are empty.
    pub(crate) fn begin_drain(&self) {
        self.set(|desk| desk.draining.store(true, Ordering::Release));
        self.drained.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.desks.iter().any(|desk| desk.draining.load(Ordering::Acquire))
    }

    /// Ends the engines without waiting for it.
    pub(crate) fn abandon(&self) {
        self.begin_drain();
        self.set(|desk| desk.finishing.store(true, Ordering::Release));
    }

    /// Settles what is decided, gives back the rest, and leaves.
    ///
    /// # Errors
    /// If the engines' thread died.
    pub(crate) async fn finish(&self) -> Result<EngineReport, ReceiveError> {
        self.abandon();
        let mut ended = self.ended.clone();
        if ended.wait_for(|ended| *ended).await.is_err() {
            return Err(ReceiveError::Thread("it ended before its time, see the log".to_owned()));
        }
        Ok(self.report())
    }

    fn report(&self) -> EngineReport {
        let mut sum = EngineReport::default();
        for desk in self.desks.iter() {
            let tally = &desk.tally;
            sum.acked += tally.acked.load(Ordering::Relaxed);
            sum.retried += tally.retried.load(Ordering::Relaxed);
            sum.dead += tally.dead.load(Ordering::Relaxed);
            sum.released += tally.released.load(Ordering::Relaxed);
            sum.uncertain += tally.uncertain.load(Ordering::Relaxed);
        }
        sum
    }
}
