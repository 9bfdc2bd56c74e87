//! What is known to be refused: whoever is over a limit costs no round trip until there may be room again.
//!
//! **A refusal is repeated only while the store would refuse, too**, as long as nothing is given back: the time that was told counts
//! from a moment before the store was asked, and others can only make it longer. What another process gives back, or a reset,
//! is noticed after [`staleness`] at the latest.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::algorithm::Answer;
use crate::quota::Quota;
use crate::scripts::Limit;

/// Keys that are remembered. Beyond them the store is asked.
const MOST: usize = 100_000;

/// No refusal is repeated for longer.
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Denials {
    known: Mutex<HashMap<Limit, Denial>>,
}

#[derive(Clone, Copy, Debug)]
struct Denial {
    /// What was refused; what costs as much or more is, too.
    cost: u64,
    answer: Answer,
    asked: Instant,
    until: Instant,
}

impl Denials {
    /// What the store would say to a request that costs so much, if that is known to be a refusal.
    pub(crate) fn of(&self, limit: &Limit, cost: u64, now: Instant) -> Option<Answer> {
        let Denial { answer, asked, .. } =
            self.known().get(limit).copied().filter(|denial| cost >= denial.cost && now < denial.until)?;
        let elapsed = now.saturating_duration_since(asked).as_micros() as u64;
        Some(Answer {
            granted: 0,
            next_after: answer.next_after.saturating_sub(elapsed),
            reset_after: answer.reset_after.saturating_sub(elapsed),
            ..answer
        })
    }

    /// Notes what the store said to a request that costs so much, which was made after `asked`. Also what is granted may tell
    /// that the next one will not be.
    pub(crate) fn note(&self, limit: &Limit, cost: u64, answer: &Answer, asked: Instant) {
        if answer.next_after == 0 || answer.next_after == Answer::NEVER {
            return;
        }
        let until = asked + Duration::from_micros(answer.next_after).min(staleness(limit.terms.quota));
        let denial = Denial { cost, answer: *answer, asked, until };
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(limit) {
            known.retain(|_, denial| denial.until > asked);
            if known.len() >= MOST {
                return;
            }
        }
        known.insert(limit.clone(), denial);
    }

    /// Something was given back.
    pub(crate) fn forget(&self, limit: &Limit) {
        self.known().remove(limit);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Limit, Denial>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long it may take until what another process gave back is seen here: a tenth of the window, at most 5 s.
fn staleness(quota: Quota) -> Duration {
    (quota.window() / 10).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
            let (denials, mut store) = (Denials::default(), algorithm.start(quota));
            let limit = Limit { key: Bytes::from_static(b"k"), terms: Arc::new(Terms::new(algorithm, quota)) };
            let (begin, mut us) = (Instant::now(), 0);
            for (ours, cost, thousandths, way) in steps {
                us += quota.window_us() * thousandths / 1_000;
                let asked = begin + Duration::from_micros(us);
                if !ours {
                    store.ask(NOW + us, Ask::one(cost));
                    continue;
                }
                let known = denials.of(&limit, cost, asked);
                us += way;
                if let Some(known) = known {
                    // Had it been asked, it would have been at once.
                    let there = store.clone().ask(NOW + us - way, Ask::one(cost));
                    prop_assert_eq!(there.granted, 0, "{:?} was known", known);
                    prop_assert!(known.next_after <= there.next_after, "{:?} {:?}", known, there);
                    continue;
                }
                let answer = store.ask(NOW + us, Ask::one(cost));
                denials.note(&limit, cost, &answer, asked);
            }
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let quota: Quota = "1/1h".parse().expect("a quota");
        let denials = Denials::default();
        let terms = Arc::new(Terms::new(Algorithm::SlidingWindow, quota));
        let limit = |number: usize| Limit { key: Bytes::from(number.to_string()), terms: Arc::clone(&terms) };
        let mut store = Algorithm::SlidingWindow.start(quota);
        let full = store.ask(NOW, Ask::one(1));
        let now = Instant::now();
        for number in 0..=MOST {
            denials.note(&limit(number), 1, &full, now);
        }
        assert!(denials.of(&limit(0), 1, now).is_some() && denials.of(&limit(MOST), 1, now).is_none());
        let later = now + LONGEST;
        denials.note(&limit(MOST), 1, &full, later);
        assert!(denials.of(&limit(0), 1, later).is_none() && denials.of(&limit(MOST), 1, later).is_some());
        assert_eq!(denials.known().len(), 1);
        denials.forget(&limit(MOST));
        assert!(denials.of(&limit(MOST), 1, later).is_none());
    }
}
