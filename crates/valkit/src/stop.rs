//! The signals that ask a verb to end.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// How long what is decided may take to be carried out once the end is wished for.
const GRACE: Duration = Duration::from_secs(5);

/// Cancelled by the first SIGINT or SIGTERM; the second one cancels the other token.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// Take nothing new, finish what is held.
    pub(crate) drain: CancellationToken,
    /// Finish nothing more.
    pub(crate) now: CancellationToken,
}

impl Stop {
    /// Listens from here on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let wrong = |error| Failure::io("listening for signals", error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
        let stop = Self { drain: CancellationToken::new(), now: CancellationToken::new() };
        let tokens = [stop.drain.clone(), stop.now.clone()];
        tokio::spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(stop)
    }

    /// Ends a while after the wish to end: when both it and this call are that old.
    pub(crate) async fn overdue(&self) {
        self.drain.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }
}
