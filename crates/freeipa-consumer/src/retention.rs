//! Dead letters hold personal data, and are not kept for ever.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{MissedTickBehavior, interval};
use valkey_admin::{Admin, DeadFilter, DeadSelection, Execution};
use valkey_envelope::QueueName;

use crate::telemetry;

/// How often it is looked for those whose time is over, at most and at least.
const SELDOM: Duration = Duration::from_hours(1);
const OFTEN: Duration = Duration::from_mins(1);

/// Removes dead letters of these queues that are older than `retention`. Runs until it is dropped.
///
/// Every consumer does so, and it does no harm when several do.
pub(crate) async fn purge(admin: Admin, queues: Vec<QueueName>, retention: Duration) {
    let mut ticks = interval((retention / 24).clamp(OFTEN, SELDOM));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for queue in &queues {
            match purge_once(&admin, queue, retention).await {
                Ok(0) => {}
                Ok(removed) => {
                    tracing::info!(%queue, removed, "dead letters removed: their retention is over");
                }
                Err(error) => {
                    tracing::warn!(%queue, %error, "dead letters whose retention is over could not be removed");
                }
            }
        }
    }
}

async fn purge_once(
    admin: &Admin,
    queue: &QueueName,
    retention: Duration,
) -> Result<u64, valkey_admin::Error> {
    let until =
        SystemTime::now().checked_sub(retention).and_then(|until| until.duration_since(UNIX_EPOCH).ok());
    let Some(until) = until else { return Ok(0) };
    let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
    let filter = DeadFilter { until_ms: Some(until_ms), ..DeadFilter::default() };
    let selection = DeadSelection::Matching(filter);
    let tally = admin.purge_dead(queue, &selection, Execution::Run, |_| ()).await?;
    telemetry::purged(tally.done());
    Ok(tally.done())
}
