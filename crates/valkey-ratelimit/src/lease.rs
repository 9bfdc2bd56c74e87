//! What a process holds of a limit in advance.
//!
//! ```text
//!  a check finds nothing held --> the call that asks for it asks for some more, if the subject is busy
//!       (of the limit itself, and of what may be held: a sliding window as long as a lease is good for)
//!  the next checks take of it: no round trip --> what is left when its time is over goes back
//! ```
//!
//! **No more than the share of the limit is ever held by all processes together**, since no more is leased in any stretch of
//! time as long as a lease is good for, by the store's own count. What is held was charged when it was leased. So the requests
//! of any trailing window were charged within it, which is the limit at most, or were held when it began, which is the share at
//! most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::algorithm::Answer;
use crate::scripts::{Charge, Limit};

/// Units of cost that were charged and may be spent, until their time is over.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Of what, and where it was charged.
    pub(crate) charged: (Limit, Charge),
    /// What the store said when it was charged.
    pub(crate) answer: Answer,
    granted: u64,
    left: AtomicU64,
    asked: Instant,
    until: Instant,
}

/// What may be held of a limit by all processes together, and for how long: a window of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) limit: Limit,
}

impl Held {
    pub(crate) fn most(&self) -> u64 {
        self.limit.terms.quota.limit()
    }

    /// How long a lease is good for.
    pub(crate) fn valid(&self) -> Duration {
        self.limit.terms.quota.window()
    }
}

/// What a subject that begins to be busy is given in advance.
const FIRST: u64 = 8;
/// No process takes more of what may be held, or of what is left of the limit, than one part of so many at once.
const PARTS: u64 = 4;

impl Lease {
    /// So much was charged by a call that was made after `asked`. Of nothing it only says when the subject came.
    pub(crate) fn new(
        charged: (Limit, Charge),
        answer: Answer,
        granted: u64,
        asked: Instant,
        valid: Duration,
    ) -> Self {
        Self { charged, answer, granted, left: AtomicU64::new(granted), asked, until: asked + valid }
    }

    /// Takes so much of what is held, and says what is left.
    pub(crate) fn take(&self, cost: u64, now: Instant) -> Option<u64> {
        if now >= self.until {
            return None;
        }
        let left =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost));
        left.ok().map(|before| before - cost)
    }

    /// When what is left goes back.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Takes all that is left.
    pub(crate) fn take_rest(&self) -> u64 {
        self.left.swap(0, Ordering::Relaxed)
    }

    /// How much to lease next, of `most` that all processes may hold.
    ///
    /// Twice as much where all was spent in time, and what was spent where it was not: so it follows what the subject needs.
    pub(crate) fn next(&self, most: u64, now: Instant) -> u64 {
        let good = self.until.saturating_duration_since(self.asked);
        if now.saturating_duration_since(self.until) > good {
            // It was quiet for longer than a lease lasts.
            return 0;
        }
        let left = self.left.load(Ordering::Relaxed);
        let wanted = if self.granted == 0 {
            FIRST
        } else if left == 0 {
            self.granted * 2
        } else {
            self.granted.saturating_sub(left)
        };
        // Near the limit each process asks for what it needs, so that nothing is held while others are refused.
        let wanted = wanted.min(most / PARTS).min(self.answer.remaining / PARTS);
        if wanted > 1 { wanted } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestCaseError, TestRunner};

    use super::*;
    use crate::algorithm::{Algorithm, Ask, Mark, State};
    use crate::quota::Quota;
    use crate::rule::Share;
    use crate::scripts::Terms;

    const NOW: u64 = 1_800_000_000_123_457;

    /// What one of several processes does next.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Spends all it holds, and no more.
        Spend,
        /// Asks for one request and a lease, on a way that takes so many microseconds.
        Ask { lease: u64, way: u64 },
        /// Gives back the rest of what it holds, its time being over or not.
        Return,
        /// Dies, and is started again.
        Crash,
        /// So many thousandths of the time that a lease is good for.
        Wait(u64),
        /// So many thousandths of a window.
        WaitLong(u64),
    }

    #[derive(Clone, Debug)]
    struct Trace {
        quota: Quota,
        algorithm: Algorithm,
        share: Share,
        steps: Vec<(usize, Step)>,
    }

    fn trace() -> impl Strategy<Value = Trace> {
        let step = prop_oneof![
            4 => Just(Step::Spend),
            6 => (0..100_u64, 0..3_000_u64).prop_map(|(lease, way)| Step::Ask { lease, way }),
            1 => Just(Step::Return),
            1 => Just(Step::Crash),
            2 => (0..1_500_u64).prop_map(Step::Wait),
            2 => (0..1_100_u64).prop_map(Step::WaitLong),
        ];
        let algorithm = prop_oneof![
            Just(Algorithm::SlidingWindow),
            (1..100_u64).prop_map(|burst| Algorithm::Gcra { burst }),
            Just(Algorithm::FixedWindow),
        ];
        (
            100..500_u64,
            1_000..100_000_u64,
            algorithm,
            4..50_u64,
            proptest::collection::vec((0..5_usize, step), 1..150),
        )
            .prop_map(|(limit, ms, algorithm, percent, steps)| Trace {
                quota: Quota::new(limit, Duration::from_millis(ms)).expect("in range"),
                algorithm,
                share: format!("{percent}%").parse().expect("a share"),
                steps,
            })
    }

    /// Plays a trace; `counted`: the store counts what is held.
    fn play(trace: &Trace, counted: bool) -> Result<(), TestCaseError> {
        let Trace { quota, algorithm, share, .. } = *trace;
        let Some(held) = share.held(quota) else { return Ok(()) };
        let bound = algorithm.worst(quota) + share.of(quota.limit());
        let limit = Limit { key: Bytes::from_static(b"k"), terms: Arc::new(Terms::new(algorithm, quota)) };
        let (mut store, mut of_held): (State, State) =
            (algorithm.start(quota), Algorithm::SlidingWindow.start(held));
        let mut leases: Vec<Option<Lease>> = (0..5).map(|_| None).collect();
        let (begin, mut us) = (Instant::now(), 0);
        let mut admitted: VecDeque<(u64, u64)> = VecDeque::new();
        for (process, step) in &trace.steps {
            let now = begin + Duration::from_micros(us);
            let mut spend = |us: u64, units: u64| {
                while admitted.front().is_some_and(|(at, _)| at + quota.window_us() <= us) {
                    admitted.pop_front();
                }
                admitted.push_back((us, units));
                let in_window: u64 = admitted.iter().map(|(_, units)| units).sum();
                prop_assert!(in_window <= bound, "{in_window} within a window, {bound} at most");
                Ok(())
            };
            let lease = &mut leases[*process];
            match *step {
                Step::Spend => {
                    let mut units = 0;
                    while lease.as_ref().is_some_and(|lease| lease.take(1, now).is_some()) {
                        units += 1;
                    }
                    spend(us, units)?;
                }
                Step::Ask { lease: wanted, way } => {
                    us += way;
                    let answer = store.ask(NOW + us, Ask::one(1));
                    spend(us, answer.granted)?;
                    let room = store.clone().ask(NOW + us, Ask::times(1, wanted)).granted;
                    let may = of_held.clone().ask(NOW + us, Ask::times(1, room)).granted;
                    let granted = if counted { may } else { room };
                    of_held.ask(NOW + us, Ask::times(1, granted));
                    let answer = store.ask(NOW + us, Ask::times(1, granted));
                    let charge = Charge { nonce: Bytes::new(), mark: answer.mark };
                    let charged = (limit.clone(), charge);
                    *lease = Some(Lease::new(charged, answer, granted, now, held.window()));
                }
                Step::Return => {
                    if let Some(lease) = lease.take() {
                        let Mark(mark) = lease.charged.1.mark;
                        store.give_back(NOW + us, Mark(mark), lease.take_rest());
                    }
                }
                Step::Crash => *lease = None,
                Step::Wait(thousandths) => us += held.window_us() * thousandths / 1_000,
                Step::WaitLong(thousandths) => us += quota.window_us() * thousandths / 1_000,
            }
            let now = begin + Duration::from_micros(us);
            let outstanding: u64 = leases
                .iter()
                .flatten()
                .filter(|lease| now < lease.until)
                .map(|lease| lease.left.load(Ordering::Relaxed))
                .sum();
            prop_assert!(!counted || outstanding <= share.of(quota.limit()), "{outstanding} are held");
        }
        Ok(())
    }

    #[test]
    fn no_window_admits_more_than_the_limit_and_the_share() {
        let config = Config { failure_persistence: None, ..Config::with_cases(1_000) };
        TestRunner::new(config)
            .run(&trace(), |trace| play(&trace, true))
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// All of the limit is leased, admitted at the last moment, and leased again as soon as it has left the window.
    #[test]
    fn without_a_count_of_what_is_held_a_window_would_admit_more() {
        let each = |step: Step| (0..5).map(move |process| (process, step));
        let lease = || each(Step::Ask { lease: 79, way: 0 });
        let steps = lease()
            .chain([(0, Step::Wait(950))])
            .chain(each(Step::Spend))
            .chain([(0, Step::WaitLong(965))])
            .chain(lease())
            .chain(each(Step::Spend));
        let trace = Trace {
            quota: "400/10s".parse().expect("a quota"),
            algorithm: Algorithm::SlidingWindow,
            share: "50%".parse().expect("a share"),
            steps: steps.collect(),
        };
        assert!(play(&trace, true).is_ok());
        let error = play(&trace, false).expect_err("more than the limit and its half");
        assert!(error.to_string().contains("within a window, 600 at most"), "{error}");
    }

    #[test]
    fn a_lease_follows_what_is_needed() {
        let answer = Answer { granted: 0, remaining: 10_000, next_after: 0, reset_after: 0, mark: Mark(0) };
        let terms = Terms::new(Algorithm::SlidingWindow, "10000/1m".parse().expect("a quota"));
        let limit = Limit { key: Bytes::from_static(b"k"), terms: Arc::new(terms) };
        let (now, valid) = (Instant::now(), Duration::from_millis(100));
        let lease = |granted: u64| {
            let charge = Charge { nonce: Bytes::new(), mark: Mark(0) };
            Lease::new((limit.clone(), charge), answer, granted, now, valid)
        };
        assert_eq!(lease(0).next(400, now + valid), FIRST, "it came twice within the time of a lease");
        assert_eq!(lease(0).next(400, now + valid * 3), 0, "it was quiet meanwhile");
        let used_up = lease(20);
        assert_eq!(used_up.take(20, now), Some(0));
        assert_eq!((used_up.next(400, now), used_up.next(100, now)), (40, 25));
        let half = lease(20);
        assert_eq!((half.take(10, now), half.take(11, now)), (Some(10), None));
        assert_eq!(half.take(1, now + valid), None, "its time is over");
        assert_eq!((half.next(400, now + valid), half.take_rest(), half.take_rest()), (10, 10, 0));
    }
}
