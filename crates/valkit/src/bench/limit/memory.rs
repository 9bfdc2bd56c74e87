//! What a subject takes of the server's memory.

use std::time::Duration;

use tokio::task::JoinSet;
use valkey_connection::Command;
use valkey_ratelimit::Quota;

use super::{
    rows::{Site, subjects},
    way::{Counting, Way},
};
use crate::failure::Failure;

/// So many charges within the window.
pub(crate) const CHARGES: [u32; 3] = [1, 10, 100];

/// `MEMORY USAGE` of a key after each number of charges, which are spread over the window: as large as it gets.
pub(crate) async fn measure(site: &Site, window: Duration) -> Result<Vec<(Way, [i64; 3])>, Failure> {
    let quota = Quota::new(1_000, window).map_err(|error| Failure::Failed(error.to_string()))?;
    let ways: Vec<Way> = std::iter::once(Way::Plain).chain(Counting::ALL.map(Way::Ours)).collect();
    let mut tasks = JoinSet::new();
    for (at, way) in ways.iter().enumerate() {
        for (column, charges) in CHARGES.into_iter().enumerate() {
            let prefix = format!("{}memory:{charges}:", site.prefix);
            let asker = way.asker(&site.connection, &site.limiter, &prefix, quota, subjects(1))?;
            let connection = site.connection.clone();
            tasks.spawn(async move {
                // Before the first of them leaves.
                let mut pace = tokio::time::interval(window.mul_f64(0.9) / charges);
                for _ in 0..charges {
                    pace.tick().await;
                    asker.ask(0).await?;
                }
                let key = asker.key(0).unwrap_or_default();
                let usage = Command::new("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
                Ok::<_, Failure>((at, column, connection.execute(usage).await?.as_int()?))
            });
        }
    }
    let mut found: Vec<(Way, [i64; 3])> = ways.into_iter().map(|way| (way, [0; 3])).collect();
    while let Some(ended) = tasks.join_next().await {
        let (at, column, bytes) = ended.map_err(|error| Failure::Failed(error.to_string()))??;
        found[at].1[column] = bytes;
    }
    Ok(found)
}
