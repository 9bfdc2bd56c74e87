//! Tasks that ask a limit as fast as it answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::way::Asker;
use crate::failure::Failure;

/// So many tasks, about so many subjects, for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) tasks: usize,
    pub(crate) subjects: usize,
    pub(crate) time: Duration,
    /// One of so many checks is timed: looking at the clock takes as long as an answer out of memory.
    pub(crate) timed: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) checks: u64,
    pub(crate) admitted: u64,
    pub(crate) time: Duration,
    pub(crate) latencies: Vec<Duration>,
}

/// Beyond it something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is decided in process never waits; so often it lets others go on.
const TURN: u64 = 64;

// === impl Load ===

impl Load {
    pub(crate) async fn run(self, asker: &Arc<Asker>) -> Result<Done, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let mut tasks: JoinSet<Result<Done, Failure>> =
            (0..self.tasks).map(|number| self.task(number, Arc::clone(asker), Arc::clone(&stop))).collect();
        tokio::time::sleep(self.time).await;
        stop.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        let end = async {
            while let Some(ended) = tasks.join_next().await {
                let Done { checks, admitted, latencies, .. } =
                    ended.map_err(|error| Failure::Failed(error.to_string()))??;
                all.checks += checks;
                all.admitted += admitted;
                all.latencies.extend(latencies);
            }
            Ok::<(), Failure>(())
        };
        tokio::time::timeout(PATIENCE, end)
            .await
            .map_err(|_| Failure::Failed(format!("a check took longer than {PATIENCE:?}")))??;
        all.time = begun.elapsed();
        Ok(all)
    }

    async fn task(self, number: usize, asker: Arc<Asker>, stop: Arc<AtomicBool>) -> Result<Done, Failure> {
        let mut done = Done::default();
        let mut dice = Dice::new(number);
        while !stop.load(Ordering::Relaxed) {
            let begun = done.checks.is_multiple_of(self.timed).then(Instant::now);
            done.admitted += u64::from(asker.ask(dice.roll(self.subjects)).await?);
            done.latencies.extend(begun.map(|begun| begun.elapsed()));
            done.checks += 1;
            if done.checks.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(done)
    }
}

/// Xorshift: costs nothing beside what is measured.
struct Dice(u64);

impl Dice {
    fn new(seed: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_its_turn() {
        let mut counts = [0_u32; 1_000];
        let mut dice = Dice::new(0);
        for _ in 0..100_000 {
            counts[dice.roll(1_000)] += 1;
        }
        assert!(counts.iter().all(|count| (40..200).contains(count)), "{counts:?}");
    }
}
