//! Waiting without asking: an idle consumer parks in a blocking move, and listens for the bell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use valkey_connection::{Connection, DedicatedConnection, Error, Unblocker};
use valkey_envelope::QueueKeys;

/// A park ends by itself after this time at the latest: what must be noticed without a push or a bell is noticed then.
pub(crate) const LONGEST_PARK: Duration = Duration::from_secs(1);

/// A task with a connection of its own that parks when told to.
///
/// The move goes into `woken`, which every take of every consumer drains first: whatever becomes of this connection or
/// this process, a message that was moved is found. So its reply carries no data for us, only "take now".
#[derive(Debug)]
pub(crate) struct Parker {
    orders: mpsc::Sender<Duration>,
    returns: mpsc::Receiver<Result<bool, Error>>,
    unblocker: Unblocker,
    parked: bool,
    task: JoinHandle<()>,
}

impl Parker {
    pub(crate) async fn start(connection: &Connection, keys: &QueueKeys) -> Result<Self, Error> {
        let mut link = connection.dedicated().await?;
        let unblocker = link.unblocker();
        let (orders, mut ordered) = mpsc::channel::<Duration>(1);
        let (report, returns) = mpsc::channel(1);
        let keys = keys.clone();
        let task = tokio::spawn(async move {
            while let Some(timeout) = ordered.recv().await {
                let moved = park(&mut link, &keys, timeout).await;
                if report.send(moved).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { orders, returns, unblocker, parked: false, task })
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.parked
    }

    /// Parks for at most `timeout`, unless it does already.
    pub(crate) fn park(&mut self, timeout: Duration) {
        if !self.parked && self.orders.try_send(timeout.min(LONGEST_PARK)).is_ok() {
            self.parked = true;
        }
    }

    /// The end of the current park: whether something was moved. Never ends while not parked. Cancel safe.
    pub(crate) async fn returned(&mut self) -> Result<bool, Error> {
        match self.returns.recv().await {
            Some(moved) => {
                self.parked = false;
                moved
            }
            None => std::future::pending().await,
        }
    }

    /// Ends the current park, if there is one, and waits for its end. What it moved waits in `woken`.
    pub(crate) async fn end(&mut self) {
        // Told too early, the server knows of no park yet; so it is told again until the park has ended. If nobody
        // hears it, the park ends by its own timeout.
        const AGAIN: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + 2 * LONGEST_PARK;
        while self.parked && Instant::now() < deadline {
            let _ = tokio::time::timeout(LONGEST_PARK, self.unblocker.unblock()).await;
            let _ = tokio::time::timeout(AGAIN, self.returned()).await;
        }
    }

    /// Ends the task for good.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

async fn park(link: &mut DedicatedConnection, keys: &QueueKeys, timeout: Duration) -> Result<bool, Error> {
    Ok(link.blocking_move(keys.public(), keys.woken(), timeout).await?.is_some())
}

/// Rings when somebody left work behind. A hint only: it may be lost, and parks end without it.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Bell {
    pub(crate) fn start(connection: &Connection, keys: &QueueKeys) -> Self {
        const FIRST: Duration = Duration::from_secs(1);
        let rung = Arc::new(Notify::new());
        let (connection, keys, notify) = (connection.clone(), keys.clone(), Arc::clone(&rung));
        let task = tokio::spawn(async move {
            let mut wait = FIRST;
            loop {
                match connection.listen(keys.bell()).await {
                    Ok(mut listener) => loop {
                        listener.recv().await;
                        notify.notify_one();
                    },
                    Err(error) => {
                        tracing::debug!(%error, channel = keys.bell(), "no bell; looking once a second instead");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(30 * FIRST);
                    }
                }
            }
        });
        Self { rung, task }
    }

    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.task.abort();
    }
}
