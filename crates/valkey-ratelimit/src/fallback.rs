//! Counts by this process alone, while the store cannot be asked.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quick_cache::sync::Cache;

use crate::algorithm::{Algorithm, Answer, Ask, State};
use crate::quota::Quota;
use crate::scripts::Limit;

/// Subjects that are counted. Beyond them the one that came least is forgotten.
const MOST: usize = 100_000;

/// A bucket for each subject, of the size of this process's share.
pub(crate) struct Fallback {
    counts: Cache<Limit, Arc<Mutex<State>>>,
    /// The same instant on two clocks: time goes on evenly from there.
    begun: (Instant, Duration),
}

impl Default for Fallback {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { counts: Cache::new(MOST), begun: (Instant::now(), since) }
    }
}

impl Fallback {
    /// Charges a request to the share of one of so many nodes, if there is room.
    pub(crate) fn ask(&self, limit: &Limit, cost: u64, nodes: NonZeroU32, now: Instant) -> Answer {
        // What costs more than the share takes all of it.
        let cost = cost.min(part(limit.terms.most(), nodes));
        self.with(limit, nodes, now, |state, us| state.ask(us, Ask::one(cost)))
    }

    /// Takes back what was charged a moment ago.
    pub(crate) fn give_back(
        &self,
        limit: &Limit,
        cost: u64,
        answer: &Answer,
        nodes: NonZeroU32,
        now: Instant,
    ) {
        let cost = cost.min(part(limit.terms.most(), nodes));
        self.with(limit, nodes, now, |state, us| state.give_back(us, answer.mark, cost));
    }

    fn with<T>(
        &self,
        limit: &Limit,
        nodes: NonZeroU32,
        now: Instant,
        what: impl FnOnce(&mut State, u64) -> T,
    ) -> T {
        let (begun, since) = self.begun;
        let us = (since + now.saturating_duration_since(begun)).as_micros() as u64;
        let count = self.counts.get(limit).unwrap_or_else(|| {
            let count = Arc::new(Mutex::new(share(limit, nodes)));
            self.counts.insert(limit.clone(), Arc::clone(&count));
            count
        });
        let mut state = count.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut state, us)
    }
}

/// A bucket that holds the share of a window, and drains it in a window.
fn share(limit: &Limit, nodes: NonZeroU32) -> State {
    let quota = limit.terms.quota;
    let of_one = Quota::new(part(quota.limit(), nodes), quota.window()).unwrap_or(quota);
    Algorithm::Gcra { burst: part(limit.terms.most(), nodes) }.start(of_one)
}

fn part(of: u64, nodes: NonZeroU32) -> u64 {
    (of / u64::from(nodes.get())).max(1)
}
