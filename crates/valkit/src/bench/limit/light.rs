//! How long one check takes where nobody else asks.

use std::time::{Duration, Instant};

use valkey_connection::Command;
use valkey_ratelimit::Quota;

use super::{
    rows::{Site, subjects},
    way::{Counting, Way},
};
use crate::failure::Failure;

/// What is timed, in this order; the first is what the others are held against.
pub(crate) const WAYS: [Option<Way>; 5] = [
    None,
    Some(Way::Nothing),
    Some(Way::Plain),
    Some(Way::Ours(Counting::Gcra)),
    Some(Way::Ours(Counting::SlidingWindow)),
];

/// A bare round trip is a `PING`.
pub(crate) fn name(way: Option<Way>) -> &'static str {
    way.map_or("bare round trip: PING", Way::name)
}

/// One of each in turn, so that what disturbs the machine disturbs all alike.
pub(crate) async fn measure(site: &Site, samples: usize) -> Result<Vec<Vec<Duration>>, Failure> {
    let quota = Quota::new(1_000_000, Duration::from_secs(1));
    let quota = quota.map_err(|error| Failure::Failed(error.to_string()))?;
    let prefix = format!("{}light:", site.prefix);
    let askers = WAYS.map(|way| {
        way.map(|way| way.asker(&site.connection, &site.limiter, &prefix, quota, subjects(1))).transpose()
    });
    let askers: Vec<_> = askers.into_iter().collect::<Result<_, _>>()?;
    let connection = site.connection.clone();
    // In a task, as in a service: the thread that starts the runtime is woken in another way.
    let timing = tokio::spawn(async move {
        let mut latencies = vec![Vec::with_capacity(samples); askers.len()];
        for sample in 0..=samples {
            for (asker, latencies) in askers.iter().zip(&mut latencies) {
                let begun = Instant::now();
                match asker {
                    None => drop(connection.execute(Command::new("PING")).await?),
                    Some(asker) => drop(asker.ask(0).await?),
                }
                // The first call brings the script along.
                if sample > 0 {
                    latencies.push(begun.elapsed());
                }
            }
        }
        Ok(latencies)
    });
    timing.await.map_err(|error| Failure::Failed(error.to_string()))?
}
