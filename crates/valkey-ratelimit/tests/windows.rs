//! What each algorithm promises, on random traces: the most in any trailing window, honest waiting times, sound refunds.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use valkey_ratelimit::{Algorithm, Answer, Ask, Mark, Quota, State};

/// Some instant of our days, in microseconds; windows that begin at multiples of something are hit anywhere.
const NOW: u64 = 1_800_000_000_123_457;

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(Ask),
    /// Gives back some of what an earlier request was charged.
    GiveBack {
        which: usize,
        amount: u64,
    },
    /// Waits so many thousandths of a window.
    Wait(u64),
    /// Waits until one more is granted.
    UntilNext(u64),
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::SlidingWindow),
        Just(Algorithm::SlidingLog),
        (1..40_u64).prop_map(|burst| Algorithm::Gcra { burst }),
        Just(Algorithm::SlidingCounter),
        Just(Algorithm::FixedWindow),
    ]
}

fn quota() -> impl Strategy<Value = Quota> {
    // Windows that 60 does not divide, too.
    let window = prop_oneof![Just(1_000), Just(60_000_000), Just(86_400_000_000), 1_000..100_000_000_u64];
    (1..40_u64, window)
        .prop_map(|(limit, us)| Quota::new(limit, Duration::from_micros(us)).expect("in range"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..5_u64, 0..12_u64).prop_map(|(cost, times)| Step::Ask(Ask::times(cost, times))),
        1 => (any::<usize>(), 1..6_u64).prop_map(|(which, amount)| Step::GiveBack { which, amount }),
        4 => (0..300_u64).prop_map(Step::Wait),
        1 => (900..1_100_u64).prop_map(Step::Wait),
        3 => (1..5_u64).prop_map(Step::UntilNext),
    ]
}

/// What was admitted, and what of it was given back.
#[derive(Default)]
struct Ledger {
    charges: Vec<Charge>,
}

struct Charge {
    at: u64,
    mark: Mark,
    kept: u64,
}

impl Ledger {
    /// The most in any stretch that begins at a charge and is shorter than the window.
    fn worst(&self, window: u64) -> u64 {
        let (mut inside, mut sum, mut worst) = (VecDeque::new(), 0, 0);
        for charge in &self.charges {
            inside.push_back(charge);
            sum += charge.kept;
            while inside.front().is_some_and(|first| first.at + window <= charge.at) {
                sum -= inside.pop_front().map_or(0, |gone| gone.kept);
            }
            worst = worst.max(sum);
        }
        worst
    }
}

/// Plays the steps, holding each answer against what it says.
fn play(algorithm: Algorithm, quota: Quota, steps: &[Step]) -> (State, Ledger, u64) {
    let mut state = algorithm.start(quota);
    let (mut now, mut ledger) = (NOW, Ledger::default());
    let ask = |state: &mut State, now: u64, ask: Ask, ledger: &mut Ledger| {
        let left = state.ask(now, Ask::peek(1)).remaining;
        let answer = state.ask(now, ask);
        assert_eq!(
            answer.granted,
            ask.times.min(left / ask.cost),
            "{algorithm:?}: all that fits and no more"
        );
        assert_eq!(answer.remaining, left - answer.granted * ask.cost, "{algorithm:?}");
        if answer.granted > 0 {
            ledger.charges.push(Charge { at: now, mark: answer.mark, kept: answer.granted * ask.cost });
        }
        answer
    };
    for step in steps {
        match *step {
            Step::Ask(asked) => drop(ask(&mut state, now, asked, &mut ledger)),
            Step::GiveBack { which, amount } if !ledger.charges.is_empty() => {
                let which = which % ledger.charges.len();
                let charge = &mut ledger.charges[which];
                charge.kept -= state.give_back(now, charge.mark, amount.min(charge.kept));
            }
            Step::GiveBack { .. } => {}
            Step::Wait(thousandths) => now += quota.window_us() * thousandths / 1_000,
            Step::UntilNext(cost) => {
                let Answer { next_after, .. } = state.ask(now, Ask::peek(cost));
                if next_after == Answer::NEVER {
                    continue;
                }
                if next_after > 0 {
                    let early = state.clone().ask(now + next_after - 1, Ask::one(cost));
                    assert_eq!(early.granted, 0, "{algorithm:?}: {next_after} us are too many");
                }
                now += next_after;
                let answer = ask(&mut state, now, Ask::one(cost), &mut ledger);
                assert_eq!(answer.granted, 1, "{algorithm:?}: {next_after} us are too few");
            }
        }
    }
    (state, ledger, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_window_holds_more_than_the_worst(
        algorithm in algorithm(),
        quota in quota(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let (_, ledger, _) = play(algorithm, quota, &steps);
        let most = ledger.worst(quota.window_us());
        prop_assert!(most <= algorithm.worst(quota), "{most} in a window");
    }

    #[test]
    fn after_the_reset_nothing_is_remembered(
        algorithm in algorithm(),
        quota in quota(),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let (mut state, _, now) = play(algorithm, quota, &steps);
        let fresh = algorithm.start(quota).ask(now, Ask::peek(1)).remaining;
        let Answer { reset_after, remaining, .. } = state.ask(now, Ask::peek(1));
        if reset_after > 0 {
            let early = state.clone().ask(now + reset_after - 1, Ask::peek(1)).reset_after;
            prop_assert!(early > 0, "{} us were too many", reset_after);
        } else {
            prop_assert_eq!(remaining, fresh);
        }
        let after = state.ask(now + reset_after, Ask::peek(1));
        prop_assert_eq!((after.remaining, after.reset_after), (fresh, 0));
    }

    /// The ring refuses what the log grants only for as long as a sub-window.
    #[test]
    fn the_ring_is_a_log_of_a_window_that_is_a_sub_window_longer(
        quota in quota(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let part = quota.window_us().div_ceil(60);
        let longer = Quota::new(quota.limit(), Duration::from_micros(part * 61)).expect("a bit longer");
        let (mut ring, mut log) = (Algorithm::SlidingWindow.start(quota), Algorithm::SlidingLog.start(longer));
        let mut now = NOW;
        for step in steps {
            match step {
                Step::Ask(ask) => {
                    let granted = log.clone().ask(now, ask).granted;
                    let both = ring.ask(now, ask).granted;
                    prop_assert!(granted <= both, "the log grants {granted}, the ring {both}");
                    log.ask(now, Ask { times: both.min(granted), ..ask });
                    // What only the ring granted is the log's as well, so that both remember the same.
                    prop_assume!(both == granted);
                }
                Step::Wait(thousandths) => now += quota.window_us() * thousandths / 1_000,
                Step::GiveBack { .. } | Step::UntilNext(_) => {}
            }
        }
    }

    /// A clock that steps back locks nobody out for longer than a window and a bit, and forgets nothing.
    #[test]
    fn a_clock_that_steps_back_neither_forgets_nor_locks(
        algorithm in algorithm(),
        quota in quota(),
        steps in proptest::collection::vec(step(), 1..40),
        back in 1..1_000_000_000_000_u64,
    ) {
        let (mut state, _, now) = play(algorithm, quota, &steps);
        let before = state.ask(now, Ask::peek(1)).remaining;
        let stepped = state.clone().ask(now - back, Ask::peek(1));
        if matches!(algorithm, Algorithm::SlidingWindow | Algorithm::SlidingLog | Algorithm::Gcra { .. }) {
            prop_assert!(stepped.remaining <= before, "{} of {before} are left", stepped.remaining);
        }
        if algorithm != Algorithm::SlidingLog {
            let longest = quota.window_us() * 2 + quota.window_us() / 30 + 100;
            let burst = if let Algorithm::Gcra { burst } = algorithm { burst / quota.limit() + 1 } else { 0 };
            prop_assert!(stepped.reset_after <= longest * (burst + 1), "{} us", stepped.reset_after);
        }
    }
}

/// The greedy adversary who knows the rule: asks for all there is, just before and just after each border.
#[test]
fn an_adversary_gets_what_is_stated_and_no_more() {
    let quota: Quota = "100/1m".parse().expect("a quota");
    for (algorithm, got) in [
        (Algorithm::SlidingWindow, 100),
        (Algorithm::SlidingLog, 100),
        (Algorithm::Gcra { burst: 1 }, 100),
        (Algorithm::Gcra { burst: 50 }, 149),
        (Algorithm::Gcra { burst: 100 }, 199),
        (Algorithm::SlidingCounter, 199),
        (Algorithm::FixedWindow, 200),
    ] {
        let mut state = algorithm.start(quota);
        let mut ledger = Ledger::default();
        let window = quota.window_us();
        // The last microsecond of a window, and all that is within a window of it; then every tenth of a second.
        let border = NOW / window * window + window;
        let instants = [border - 1, border, border + window - 2].into_iter();
        let instants = instants.chain((1..1_200).map(|tick| border + window + tick * 100_000));
        for now in instants {
            let Answer { granted, mark, .. } = state.ask(now, Ask::times(1, 1_000));
            ledger.charges.push(Charge { at: now, mark, kept: granted });
        }
        assert_eq!(ledger.worst(window), got, "{algorithm:?}");
        assert!(got <= algorithm.worst(quota), "{algorithm:?}");
    }
}

/// Numbers as large as they come stay exact where scripts count in doubles.
#[test]
fn the_largest_quotas_count_to_the_end() {
    for (limit, window) in
        [(u64::from(u32::MAX), 366 * 86_400), (4_294_967_291, 1), (999_983, 86_400), (1, 366 * 86_400)]
    {
        let quota = Quota::new(limit, Duration::from_secs(window)).expect("in range");
        for algorithm in [
            Algorithm::SlidingWindow,
            Algorithm::Gcra { burst: limit },
            Algorithm::SlidingCounter,
            Algorithm::FixedWindow,
        ] {
            let mut state = algorithm.start(quota);
            let first = state.ask(NOW, Ask::times(1, u64::MAX));
            assert_eq!((first.granted, first.remaining), (limit, 0), "{algorithm:?} {quota}");
            let later = NOW + first.next_after;
            assert!(state.ask(later, Ask::one(1)).granted == 1, "{algorithm:?} {quota}");
            assert!(
                first.reset_after <= quota.window_us() * 2 + quota.window_us() / 30,
                "{algorithm:?} {quota}"
            );
        }
    }
}
