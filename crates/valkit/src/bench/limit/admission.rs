//! How many are admitted at most, while many ask as fast as they can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use valkey_ratelimit::Quota;

use super::{
    rows::{Site, subjects},
    way::{Asker, Counting, Way},
};
use crate::failure::Failure;

/// When somebody was admitted: not before the request, not after the answer.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    asked: Duration,
    answered: Duration,
}

/// What one way admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    pub(crate) way: Way,
    /// The most that the algorithm says there may be in any trailing window.
    pub(crate) stated: u64,
    /// So many were admitted within some window, wherever between request and answer the server decided.
    pub(crate) at_least: u64,
    /// And there were never more, wherever it did.
    pub(crate) at_most: u64,
    pub(crate) checks: u64,
    pub(crate) admitted: u64,
}

/// The server's clock counts whole microseconds, ours does not.
const GRAIN: Duration = Duration::from_micros(2);

/// Each way for three windows and a bit, one after the other.
pub(crate) async fn measure(site: &Site, quota: Quota, tasks: usize) -> Result<Vec<Admission>, Failure> {
    let ways = std::iter::once(Way::Plain).chain(Counting::ALL.map(Way::Ours));
    let mut found = Vec::new();
    for way in ways {
        let prefix = format!("{}admission:", site.prefix);
        let asker = way.asker(&site.connection, &site.limiter, &prefix, quota, subjects(1))?;
        let (checks, admitted) = hammer(&asker, tasks, quota.window() * 3 + quota.window() / 10).await?;
        site.clear(&asker, 1).await?;
        let stated = match way {
            Way::Ours(counting) => counting.algorithm(quota).worst(quota),
            _ => quota.limit(),
        };
        let (at_least, at_most) = most(&admitted, quota.window());
        found.push(Admission { way, stated, at_least, at_most, checks, admitted: admitted.len() as u64 });
    }
    Ok(found)
}

async fn hammer(limit: &Arc<Asker>, tasks: usize, time: Duration) -> Result<(u64, Vec<Admitted>), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (limit, stop) = (Arc::clone(limit), Arc::clone(&stop));
        running.spawn(async move {
            let (mut checks, mut admitted) = (0_u64, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let asked = begun.elapsed();
                checks += 1;
                if limit.ask(0).await? {
                    admitted.push(Admitted { asked, answered: begun.elapsed() });
                } else {
                    // A refusal out of memory waits for nothing; the others want to ask, too.
                    tokio::task::yield_now().await;
                }
            }
            Ok::<_, Failure>((checks, admitted))
        });
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let (mut checks, mut admitted) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        let (more, also) = ended.map_err(|error| Failure::Failed(error.to_string()))??;
        checks += more;
        admitted.extend(also);
    }
    Ok((checks, admitted))
}

/// The most in any stretch that is shorter than the window: what is certain, and what is possible.
fn most(admitted: &[Admitted], window: Duration) -> (u64, u64) {
    let window = window.saturating_sub(GRAIN);
    // Whoever waited for longer than the window may be in any of them, which makes nothing certain.
    let brief = || admitted.iter().filter(|one| one.answered.saturating_sub(one.asked) < window);
    let sorted = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times
    };
    let before = |times: &[Duration], time: Duration| times.partition_point(|other| *other < time);

    let (asked, answered) =
        (sorted(brief().map(|one| one.asked).collect()), sorted(brief().map(|one| one.answered).collect()));
    // Of those answered before the end, the ones asked before the begin may have been before it.
    let certain = asked
        .iter()
        .enumerate()
        .map(|(earlier, begin)| before(&answered, *begin + window).saturating_sub(earlier));
    let certain = certain.max().unwrap_or(0);

    let window = window + 2 * GRAIN;
    let (asked, answered) = (
        sorted(admitted.iter().map(|one| one.asked).collect()),
        sorted(admitted.iter().map(|one| one.answered).collect()),
    );
    // The most is where a window begins at the last moment in which somebody can have been admitted.
    let possible = answered.iter().map(|begin| before(&asked, *begin + window) - before(&answered, *begin));
    (certain as u64, possible.max().unwrap_or(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(times: &[(u64, u64)]) -> Vec<Admitted> {
        let ms = Duration::from_millis;
        times
            .iter()
            .map(|(asked, answered)| Admitted { asked: ms(*asked), answered: ms(*answered) })
            .collect()
    }

    #[test]
    fn what_is_certain_and_what_is_possible() {
        let second = Duration::from_secs(1);
        assert_eq!(most(&[], second), (0, 0));
        // Twice the limit around the change of a window.
        let burst = at(&[(900, 910), (901, 911), (902, 912), (1_010, 1_020), (1_011, 1_021), (1_012, 1_022)]);
        assert_eq!(most(&burst, second), (6, 6));
        // A window apart, or a little more, or a little less: nobody can tell.
        let unclear = at(&[(0, 10), (0, 10), (1_005, 1_015), (1_005, 1_015)]);
        assert_eq!(most(&unclear, second), (2, 4));
        let apart = at(&[(0, 10), (0, 10), (1_015, 1_025), (1_015, 1_025)]);
        assert_eq!(most(&apart, second), (2, 2));
        // Who waited for ever is no proof of anything.
        assert_eq!(most(&at(&[(0, 5_000), (10, 20), (2_000, 2_010)]), second), (1, 2));
    }
}
