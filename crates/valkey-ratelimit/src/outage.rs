//! Whether the store is asked, as a pure state machine: time and dice come in as arguments.
//!
//! ```text
//!  Healthy <--> Degraded --five failures in a row, or half of a second's--> Open --after a pause--> HalfOpen
//!     ^                                                                       ^---- a probe fails ----'|
//!     '----------- after two seconds ---------- Recovering <------------- three probes in a row -------'
//! ```
//!
//! **While it is open nobody waits for the store**: one probe at a time finds out whether it is back, and all others decide
//! without it. When it is back, a growing share goes to it, so that all nodes together do not fall upon it at once.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// Outcomes of a second of which half have to be failures to open it.
const ENOUGH: u32 = 20;
/// How long outcomes are counted together.
const WINDOW: Duration = Duration::from_secs(1);
/// Good probes in a row that end an outage.
const PROBES: u32 = 3;
/// The pauses between probes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long the share that goes to the store grows, from a tenth to all.
const RAMP: Duration = Duration::from_secs(2);
const FIRST_SHARE: f64 = 0.1;

/// How the store does, as this process sees it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers, and in time.
    Healthy,
    /// One answer of a hundred fails, or takes more than half of the time that checks wait.
    Degraded,
    /// It does not answer; nobody asks.
    Open,
    /// It does not answer as far as is known; one at a time asks.
    HalfOpen,
    /// It answers again; a growing share asks.
    Recovering,
}

/// What becomes of a check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Ask the store, and settle the turn with what comes of it.
    Store(Turn),
    /// Decide without it.
    Local,
}

/// One question to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    period: u64,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered { took: Duration },
    Failed,
}

#[derive(Debug)]
pub(crate) struct Machine {
    /// An answer that takes longer is slow.
    slow: Duration,
    state: State,
    /// Counts changes of state, so that late outcomes are recognised.
    period: u64,
    in_a_row: u32,
    counted: Counted,
    pause: Duration,
}

#[derive(Debug)]
enum State {
    Closed { degraded: bool },
    Open { until: Instant },
    HalfOpen { good: u32, probing: Option<Instant> },
    Recovering { since: Instant },
}

/// The outcomes of a second.
#[derive(Debug)]
struct Counted {
    since: Instant,
    total: u32,
    failed: u32,
    slow: u32,
}

impl Turn {
    pub(crate) fn of(period: u64) -> Self {
        Self { period }
    }
}

impl Machine {
    /// For checks that wait so long at most.
    pub(crate) fn new(deadline: Duration, now: Instant) -> Self {
        Self {
            slow: deadline / 2,
            state: State::Closed { degraded: false },
            period: 0,
            in_a_row: 0,
            counted: Counted::new(now),
            pause: PAUSES.0,
        }
    }

    pub(crate) fn health(&self) -> Health {
        match self.state {
            State::Closed { degraded: false } => Health::Healthy,
            State::Closed { degraded: true } => Health::Degraded,
            State::Open { .. } => Health::Open,
            State::HalfOpen { .. } => Health::HalfOpen,
            State::Recovering { .. } => Health::Recovering,
        }
    }

    /// Where a check goes. `dice` is from 0 to 1, below 1.
    pub(crate) fn route(&mut self, now: Instant, dice: f64) -> Route {
        // A question takes half as long at most.
        let lost = self.slow * 4;
        let to_store = match &mut self.state {
            State::Closed { .. } => true,
            State::Open { until } if now >= *until => {
                self.enter(State::HalfOpen { good: 0, probing: Some(now) }, now);
                true
            }
            State::HalfOpen { probing: probing @ None, .. } => {
                *probing = Some(now);
                true
            }
            // Nobody will tell what became of it: whoever probed is gone.
            &mut State::HalfOpen { probing: Some(since), good }
                if now.saturating_duration_since(since) > lost =>
            {
                self.enter(State::HalfOpen { good, probing: Some(now) }, now);
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
            State::Recovering { since } => {
                let grown = now.saturating_duration_since(*since).as_secs_f64() / RAMP.as_secs_f64();
                if grown >= 1.0 {
                    self.enter(State::Closed { degraded: false }, now);
                    true
                } else {
                    dice < FIRST_SHARE + (1.0 - FIRST_SHARE) * grown
                }
            }
        };
        if to_store { Route::Store(Turn { period: self.period }) } else { Route::Local }
    }

    /// The period, while every check goes to the store.
    pub(crate) fn period_of_all(&self) -> Option<u64> {
        matches!(self.state, State::Closed { .. }).then_some(self.period)
    }

    /// What came of a turn. Of one from before the last change of state nothing is learnt. The dice are thrown when a state
    /// begins or ends.
    pub(crate) fn settle(&mut self, turn: Turn, outcome: Outcome, now: Instant, dice: impl FnOnce() -> f64) {
        if turn.period != self.period {
            return;
        }
        match (&mut self.state, outcome) {
            (State::HalfOpen { good, probing }, Outcome::Answered { .. }) => {
                (*good, *probing) = (*good + 1, None);
                if *good >= PROBES {
                    // Each node begins its ramp at another moment.
                    self.enter(State::Recovering { since: now + RAMP.mul_f64(dice() / 4.0) }, now);
                    self.pause = PAUSES.0;
                }
            }
            (State::HalfOpen { .. }, Outcome::Failed) => self.open(now, dice),
            (State::Open { .. }, _) => {}
            (State::Closed { .. } | State::Recovering { .. }, outcome) => self.count(outcome, now, dice),
        }
    }

    /// A turn that was given up by who asked: nothing is learnt, and another may probe.
    pub(crate) fn give_up(&mut self, turn: Turn) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && turn.period == self.period
        {
            *probing = None;
        }
    }

    fn count(&mut self, outcome: Outcome, now: Instant, dice: impl FnOnce() -> f64) {
        if now.saturating_duration_since(self.counted.since) >= WINDOW {
            let Counted { total, failed, slow, .. } = self.counted;
            if let State::Closed { degraded } = &mut self.state
                && total > 0
            {
                *degraded = (failed + slow) * 100 > total;
            }
            self.counted = Counted::new(now);
        }
        self.counted.total += 1;
        match outcome {
            Outcome::Answered { took } => {
                self.in_a_row = 0;
                self.counted.slow += u32::from(took > self.slow);
            }
            Outcome::Failed => {
                self.in_a_row += 1;
                self.counted.failed += 1;
                let Counted { total, failed, .. } = self.counted;
                if self.in_a_row >= IN_A_ROW || (total >= ENOUGH && failed * 2 >= total) {
                    self.open(now, dice);
                }
            }
        }
    }

    /// Each pause is somewhere between the shortest and three times the last one.
    fn open(&mut self, now: Instant, dice: impl FnOnce() -> f64) {
        let (shortest, longest) = PAUSES;
        let until = now + self.pause;
        let spread = (self.pause * 3).saturating_sub(shortest);
        self.pause = (shortest + spread.mul_f64(dice())).min(longest);
        self.enter(State::Open { until }, now);
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.period += 1;
        self.in_a_row = 0;
        self.counted = Counted::new(now);
    }
}

impl Counted {
    fn new(since: Instant) -> Self {
        Self { since, total: 0, failed: 0, slow: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEADLINE: Duration = Duration::from_millis(50);
    const QUICK: Outcome = Outcome::Answered { took: Duration::from_millis(1) };
    const SLOW: Outcome = Outcome::Answered { took: Duration::from_millis(40) };

    fn turn(machine: &mut Machine, now: Instant) -> Turn {
        match machine.route(now, 0.0) {
            Route::Store(turn) => turn,
            Route::Local => panic!("{:?}", machine.health()),
        }
    }

    fn ask(machine: &mut Machine, now: Instant, outcome: Outcome) {
        let turn = turn(machine, now);
        machine.settle(turn, outcome, now, || 0.5);
    }

    #[test]
    fn five_in_a_row_open_it_and_three_probes_close_it() {
        let mut now = Instant::now();
        let mut machine = Machine::new(DEADLINE, now);
        ask(&mut machine, now, QUICK);
        for _ in 0..IN_A_ROW {
            assert_eq!(machine.health(), Health::Healthy);
            ask(&mut machine, now, Outcome::Failed);
        }
        assert_eq!(machine.health(), Health::Open);
        assert_eq!(machine.route(now, 0.0), Route::Local);
        now += PAUSES.0;
        for _ in 0..PROBES {
            let probe = turn(&mut machine, now);
            assert_eq!(machine.route(now, 0.0), Route::Local, "one at a time");
            machine.settle(probe, QUICK, now, || 0.0);
        }
        assert_eq!(machine.health(), Health::Recovering);
        let share = |machine: &mut Machine, now: Instant| {
            (0..1_000).filter(|dice| machine.route(now, f64::from(*dice) / 1_000.0) != Route::Local).count()
        };
        assert_eq!(share(&mut machine, now), 100);
        assert_eq!(share(&mut machine, now + RAMP / 2), 550);
        assert_eq!(share(&mut machine, now + RAMP), 1_000);
        assert_eq!(machine.health(), Health::Healthy);
    }

    #[test]
    fn half_of_a_second_opens_it_though_some_answer() {
        let now = Instant::now();
        let mut machine = Machine::new(DEADLINE, now);
        for number in 0..ENOUGH {
            assert_eq!(machine.health(), Health::Healthy, "{number}");
            ask(&mut machine, now, if number % 2 == 0 { QUICK } else { Outcome::Failed });
        }
        assert_eq!(machine.health(), Health::Open);
    }

    #[test]
    fn slow_answers_degrade_it_and_quick_ones_mend_it() {
        let mut now = Instant::now();
        let mut machine = Machine::new(DEADLINE, now);
        for (outcomes, health) in [((98, 2), Health::Degraded), ((99, 1), Health::Healthy)] {
            for _ in 0..outcomes.0 {
                ask(&mut machine, now, QUICK);
            }
            for _ in 0..outcomes.1 {
                ask(&mut machine, now, SLOW);
            }
            now += WINDOW;
            ask(&mut machine, now, QUICK);
            assert_eq!(machine.health(), health);
            now += WINDOW;
            ask(&mut machine, now, QUICK);
        }
    }

    #[test]
    fn a_probe_that_is_given_up_does_not_keep_others_from_probing() {
        let mut now = Instant::now();
        let mut machine = Machine::new(DEADLINE, now);
        for _ in 0..IN_A_ROW {
            ask(&mut machine, now, Outcome::Failed);
        }
        now += PAUSES.0;
        let probe = turn(&mut machine, now);
        machine.give_up(probe);
        let next = turn(&mut machine, now);
        machine.settle(next, Outcome::Failed, now, || 0.99);
        machine.settle(probe, QUICK, now, || 0.0);
        assert_eq!(machine.health(), Health::Open);
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_any_more_is_followed_by_another() {
        let mut now = Instant::now();
        let mut machine = Machine::new(DEADLINE, now);
        for _ in 0..IN_A_ROW {
            ask(&mut machine, now, Outcome::Failed);
        }
        now += PAUSES.0;
        let lost = turn(&mut machine, now);
        now += DEADLINE * 2;
        assert_eq!(machine.route(now, 0.0), Route::Local, "it may have been answered at the last moment");
        now += Duration::from_millis(1);
        let next = turn(&mut machine, now);
        assert_ne!(next, lost, "what is heard of the first says nothing any more");
        assert_eq!(machine.route(now, 0.0), Route::Local);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Route(f64),
        Settle(usize, bool, f64),
        GiveUp(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0.0..1.0).prop_map(Step::Route),
            5 => (any::<usize>(), prop::bool::weighted(0.4), 0.0..1.0)
                .prop_map(|(which, good, dice)| Step::Settle(which, good, dice)),
            1 => any::<usize>().prop_map(Step::GiveUp),
            2 => (0..3_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens: while it is open or half open at most one question is under way that counts, pauses are within
        /// their bounds, and a store that answers from some moment on is asked by everybody again.
        #[test]
        fn it_neither_floods_a_store_that_is_away_nor_forgets_one_that_is_back(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut now = Instant::now();
            let mut machine = Machine::new(DEADLINE, now);
            let mut turns: Vec<Turn> = Vec::new();
            for step in steps {
                match step {
                    Step::Route(dice) => {
                        let before = machine.health();
                        if let Route::Store(turn) = machine.route(now, dice) {
                            if matches!(before, Health::Open | Health::HalfOpen) {
                                let same = turns.iter().filter(|other| other.period == turn.period).count();
                                prop_assert!(same == 0, "{same} more probes are under way");
                                prop_assert_eq!(machine.route(now, 0.0), Route::Local);
                            }
                            turns.push(turn);
                        }
                    }
                    Step::Settle(which, good, dice) if !turns.is_empty() => {
                        let turn = turns.swap_remove(which % turns.len());
                        machine.settle(turn, if good { QUICK } else { Outcome::Failed }, now, || dice);
                    }
                    Step::GiveUp(which) if !turns.is_empty() => {
                        let turn = turns.swap_remove(which % turns.len());
                        machine.give_up(turn);
                    }
                    Step::Settle(..) | Step::GiveUp(_) => {}
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                }
                prop_assert!((PAUSES.0..=PAUSES.1).contains(&machine.pause), "{:?}", machine.pause);
            }
            for turn in turns.drain(..) {
                machine.give_up(turn);
            }
            for _ in 0..100 {
                now += Duration::from_millis(100);
                if let Route::Store(turn) = machine.route(now, 0.0) {
                    machine.settle(turn, QUICK, now, || 0.0);
                }
            }
            prop_assert!(matches!(machine.health(), Health::Healthy | Health::Degraded), "{:?}", machine.health());
        }
    }
}
