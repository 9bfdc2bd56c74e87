//! The wish to end, in two steps.

use tokio_util::sync::CancellationToken;

/// Tells everything that runs to end: first gracefully, then at once. Cloning gives another handle of the same wish.
///
/// ```
/// use valkit_service::Shutdown;
///
/// let (shutdown, seen_by_a_part) = { let shutdown = Shutdown::new(); (shutdown.clone(), shutdown) };
/// shutdown.drain();
/// assert!(seen_by_a_part.is_draining());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
}

impl Shutdown {
    /// Nobody wishes anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Take nothing new, let what runs come to its end.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// End at once.
    pub fn now(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    /// Whether nothing new is to be taken.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Ends when nothing new is to be taken. Cancel safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Ends when everything is to end. Cancel safe.
    pub async fn ending(&self) {
        self.now.cancelled().await;
    }
}
