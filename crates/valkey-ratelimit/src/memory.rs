//! What a process knows of limits without asking: who is refused, and what it holds in advance.
//!
//! **A refusal is repeated only while the store would refuse, too**, as long as nothing is given back: the time that was told counts
//! from a moment before the store was asked, and others can only make it longer. What another process gives back, or a reset,
//! is noticed after [`staleness`] at the latest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::algorithm::Answer;
use crate::lease::Lease;
use crate::quota::Quota;
use crate::scripts::{Limit, Sought};

/// Limits that are remembered. Beyond them the one that was asked least is forgotten, and the store is asked.
const MOST: usize = 100_000;

/// No refusal is repeated for longer.
const LONGEST: Duration = Duration::from_secs(5);

pub(crate) struct Memory {
    known: Cache<Limit, Known, UnitWeighter, RandomState>,
}

#[derive(Clone)]
enum Known {
    Refused(Denial),
    /// Also when all of it is spent or its time is over: how much of it was of use says how much to ask for next.
    Leased(Arc<Lease>),
}

#[derive(Clone, Copy)]
struct Denial {
    /// What was refused; what costs as much or more is, too.
    cost: u64,
    answer: Answer,
    asked: Instant,
    until: Instant,
}

/// What can be said without asking.
pub(crate) enum Recalled {
    /// What the store would say.
    Refused(Answer),
    /// Taken from what is held.
    Taken { lease: Arc<Lease>, left: u64 },
    /// The store has to be asked; this was held last, or is.
    Unknown(Option<Arc<Lease>>),
}

impl Default for Memory {
    fn default() -> Self {
        let lifecycle = DefaultLifecycle::default();
        let known = Cache::with(MOST, MOST as u64, UnitWeighter, RandomState::default(), lifecycle);
        Self { known }
    }
}

impl Memory {
    /// What is known of a request that costs so much. What is taken of a lease is taken.
    pub(crate) fn recall(&self, limit: &Sought<'_>, cost: u64, now: Instant) -> Recalled {
        match self.known.get(limit) {
            Some(Known::Refused(denial)) => match denial.at(cost, now) {
                Some(answer) => Recalled::Refused(answer),
                None => Recalled::Unknown(None),
            },
            Some(Known::Leased(lease)) => match lease.take(cost, now) {
                Some(left) => Recalled::Taken { lease, left },
                None => Recalled::Unknown(Some(lease)),
            },
            None => Recalled::Unknown(None),
        }
    }

    /// What the store would say to a request that costs so much, if that is known to be a refusal.
    pub(crate) fn refusal(&self, limit: &Limit, cost: u64, now: Instant) -> Option<Answer> {
        match self.known.get(limit)? {
            Known::Refused(denial) => denial.at(cost, now),
            Known::Leased(_) => None,
        }
    }

    /// Notes what the store said to a request that costs so much, which was made after `asked`. Also what is granted may tell
    /// that the next one will not be.
    pub(crate) fn note(&self, limit: &Limit, cost: u64, answer: &Answer, asked: Instant) {
        if answer.next_after == 0 || answer.next_after == Answer::NEVER {
            return;
        }
        let until = asked + Duration::from_micros(answer.next_after).min(staleness(limit.terms.quota));
        self.known.insert(limit.clone(), Known::Refused(Denial { cost, answer: *answer, asked, until }));
    }

    /// Something is held.
    pub(crate) fn hold(&self, limit: &Limit, lease: Arc<Lease>) {
        self.known.insert(limit.clone(), Known::Leased(lease));
    }

    /// Something was given back.
    pub(crate) fn forget_refusal(&self, limit: &Limit) {
        self.known.remove_if(limit, |known| matches!(known, Known::Refused(_)));
    }

    /// All was forgotten in the store.
    pub(crate) fn forget(&self, limit: &Limit) {
        self.known.remove(limit);
    }
}

impl Denial {
    fn at(self, cost: u64, now: Instant) -> Option<Answer> {
        let Self { answer, asked, .. } = self;
        let elapsed = now.saturating_duration_since(asked).as_micros() as u64;
        (cost >= self.cost && now < self.until).then(|| Answer {
            granted: 0,
            next_after: answer.next_after.saturating_sub(elapsed),
            reset_after: answer.reset_after.saturating_sub(elapsed),
            ..answer
        })
    }
}

/// How long it may take until what another process gave back is seen here: a tenth of the window, at most 5 s.
fn staleness(quota: Quota) -> Duration {
    (quota.window() / 10).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::{Algorithm, Ask};
    use crate::scripts::Terms;

    const NOW: u64 = 1_800_000_000_123_457;

    fn algorithm() -> impl Strategy<Value = Algorithm> {
        prop_oneof![
            Just(Algorithm::SlidingWindow),
            Just(Algorithm::SlidingLog),
            (1..20_u64).prop_map(|burst| Algorithm::Gcra { burst }),
            Just(Algorithm::SlidingCounter),
            Just(Algorithm::FixedWindow),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// We ask through what we know, others ask the store; each takes a while to get there.
        #[test]
        fn nobody_is_refused_whom_the_store_would_admit(
            algorithm in algorithm(),
            limit in 1..20_u64,
            window_ms in 10..100_000_u64,
            steps in proptest::collection::vec((any::<bool>(), 1..5_u64, 0..400_u64, 0..2_000_u64), 1..120),
        ) {
            let quota = Quota::new(limit, Duration::from_millis(window_ms)).expect("in range");
            let (memory, mut store) = (Memory::default(), algorithm.start(quota));
            let terms = Arc::new(Terms::new(algorithm, quota));
            let limit = Limit { key: Bytes::from_static(b"k"), terms };
            let (begin, mut us) = (Instant::now(), 0);
            for (ours, cost, thousandths, way) in steps {
                us += quota.window_us() * thousandths / 1_000;
                let asked = begin + Duration::from_micros(us);
                if !ours {
                    store.ask(NOW + us, Ask::one(cost));
                    continue;
                }
                let known = memory.refusal(&limit, cost, asked);
                us += way;
                if let Some(known) = known {
                    // Had it been asked, it would have been at once.
                    let there = store.clone().ask(NOW + us - way, Ask::one(cost));
                    prop_assert_eq!(there.granted, 0, "{:?} was known", known);
                    prop_assert!(known.next_after <= there.next_after, "{:?} {:?}", known, there);
                    continue;
                }
                let answer = store.ask(NOW + us, Ask::one(cost));
                memory.note(&limit, cost, &answer, asked);
            }
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let quota: Quota = "1/1h".parse().expect("a quota");
        let memory = Memory::default();
        let terms = Arc::new(Terms::new(Algorithm::SlidingWindow, quota));
        let limit = |number: usize| Limit { key: Bytes::from(number.to_string()), terms: Arc::clone(&terms) };
        let mut store = Algorithm::SlidingWindow.start(quota);
        let full = store.ask(NOW, Ask::one(1));
        let now = Instant::now();
        for number in 0..2 * MOST {
            memory.note(&limit(number), 1, &full, now);
        }
        assert!(memory.known.len() <= MOST, "{}", memory.known.len());
        let last = limit(2 * MOST);
        memory.note(&last, 1, &full, now);
        assert!(memory.refusal(&last, 1, now).is_some());
        assert!(memory.refusal(&last, 1, now + LONGEST).is_none(), "another may have given back");
        memory.forget_refusal(&last);
        assert!(memory.refusal(&last, 1, now).is_none());
    }
}
