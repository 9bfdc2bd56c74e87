//! Whether the trouble is over: somebody looks, less and less often.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Park, Standing, Trouble};

/// How long nothing may go wrong before what was tried is believed.
const PROVEN: Duration = Duration::from_mins(1);

/// What is looked at.
pub(crate) trait Probe: Send + Sync {
    /// Whether everybody could be served, as far as can be said without serving anybody.
    fn probe(&self) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// Looks whether trouble is over, as long as there is any. Runs until it is dropped.
pub(crate) async fn watch_over(park: Park, probe: impl Probe) {
    let mut states = park.inner.state.subscribe();
    let mut is_first = true;
    loop {
        let standing = states.borrow_and_update().standing.clone();
        match standing {
            Standing::Parked { .. } => {
                // Nobody has looked yet: no reason to wait.
                if !std::mem::take(&mut is_first) {
                    sleep(park.pause()).await;
                }
                match probe.probe().await {
                    Ok(()) => park.reopen(),
                    Err(trouble) => park.still(trouble),
                }
            }
            Standing::Trying { .. } => {
                if timeout(PROVEN, states.changed()).await.is_err() {
                    park.went_well();
                }
            }
            Standing::Open => {
                // The sender is in `park`.
                if states.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
