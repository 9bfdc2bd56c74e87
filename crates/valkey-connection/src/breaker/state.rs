//! The circuit breaker as a pure state machine: no clock, no lock, no async. Time comes in as an argument.
//!
//! ```text
//!  Closed --failures in a row--> Open --timeout, or the store is back--> HalfOpen --successes in a row--> Closed
//!                                 ^------------- a failure ----------------'
//! ```

use std::time::{Duration, Instant};

/// When to open, how long to stay open, how to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BreakerPolicy {
    /// Opens when **more** than this many calls in a row have failed.
    pub failure_threshold: u32,
    /// Closed: a row of failures is forgotten after this long (counted from the start of the interval).
    pub interval: Duration,
    /// Open: refuses for this long, then lets probes through; earlier when the store is back (see
    /// [`Breaker`](super::Breaker)).
    pub timeout: Duration,
    /// Half-open: so many probes at once, and so many successes in a row close it. At least 1.
    pub max_requests: u32,
}

/// What the breaker does at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// A few probes pass.
    HalfOpen,
    /// Nothing passes.
    Open,
}

impl BreakerState {
    /// The state as the word used in health reports: `closed`, `half-open`, `open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// How a permitted call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The store answered.
    Success,
    /// The store failed.
    Failure,
    /// Nothing was learnt: the call was dropped or failed for reasons of its own.
    Neutral,
}

/// Proof of admission. Belongs to the period it was handed out in: outcomes of an earlier period change nothing.
#[derive(Debug)]
#[must_use = "an admitted call has to be settled, else a half-open breaker keeps its probe slot"]
pub(super) struct Ticket {
    period: u64,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Machine {
    policy: BreakerPolicy,
    state: State,
    /// Counts state changes, so that late outcomes are recognised.
    period: u64,
    /// The store came back, and has not answered well since.
    back: bool,
    /// Before this instant no period is cut short because the store is back.
    patient_until: Instant,
    /// How much later than one cut the next may come; doubled with each.
    pause: Duration,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32, since: Instant },
    HalfOpen { in_flight: u32, successes: u32 },
    Open { until: Instant },
}

/// How long a caller should wait when all probe slots are taken: no deadline is known, the probes decide.
const PROBES_BUSY: Duration = Duration::from_millis(100);

/// The shortest pause between two periods that are cut short.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

impl Machine {
    /// A closed breaker.
    pub(super) fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let policy = BreakerPolicy { max_requests: policy.max_requests.max(1), ..policy };
        Self {
            policy,
            state: State::Closed { failures: 0, since: now },
            period: 0,
            back: false,
            patient_until: now,
            pause: FIRST_PAUSE,
        }
    }

    /// Closes it and forgets all failures, also those of calls that are still under way: they are another server's.
    pub(super) fn start_afresh(&mut self, now: Instant) {
        let period = self.period + 1;
        *self = Self { period, ..Self::new(self.policy, now) };
    }

    /// The store was away and is back, perhaps as another server. An open breaker tries it now, and again with growing
    /// pauses. A closed one changes nothing, except that calls which fail from now on do not keep it open for long: those
    /// of the time before fail late, and a server that has just started is not ready at once.
    pub(super) fn back(&mut self, now: Instant) {
        // One whose time is over is tried anyway, and costs none of the later cuts.
        if let State::Open { until } = self.state
            && until > now
            && !self.back
        {
            self.state = State::Open { until: until.min(self.cut(now)) };
        }
        self.back = true;
    }

    /// Whether calls have failed since the last success.
    pub(super) fn is_in_doubt(&self) -> bool {
        !matches!(self.state, State::Closed { failures: 0, .. })
    }

    /// When the next period may be over that is cut short, not before `from`. However often the store comes back, cuts
    /// become as rare as periods are long.
    fn cut(&mut self, from: Instant) -> Instant {
        let quiet = self.policy.interval.max(self.policy.timeout);
        if from.saturating_duration_since(self.patient_until) >= quiet {
            self.pause = FIRST_PAUSE;
        }
        let at = from.max(self.patient_until);
        self.patient_until = at + self.pause;
        self.pause = (self.pause * 2).min(self.policy.timeout.max(FIRST_PAUSE));
        at
    }

    /// The state at `now`.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { until } if now >= until => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Asks for admission.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub(super) fn acquire(&mut self, now: Instant) -> Result<Ticket, Duration> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(until - now);
            }
            self.enter(State::HalfOpen { in_flight: 0, successes: 0 });
        }
        match &mut self.state {
            State::Closed { failures, since } => {
                if now.saturating_duration_since(*since) >= self.policy.interval {
                    (*failures, *since) = (0, now);
                }
            }
            State::HalfOpen { in_flight, .. } => {
                if *in_flight >= self.policy.max_requests {
                    return Err(PROBES_BUSY);
                }
                *in_flight += 1;
            }
            State::Open { .. } => unreachable!("an open breaker was left above"),
        }
        Ok(Ticket { period: self.period })
    }

    /// Reports how an admitted call ended.
    pub(super) fn settle(&mut self, ticket: &Ticket, outcome: Outcome, now: Instant) {
        if ticket.period != self.period {
            return;
        }
        match &mut self.state {
            State::Closed { failures, since } => match outcome {
                Outcome::Success => {
                    *failures = 0;
                    self.back = false;
                }
                Outcome::Failure => {
                    if now.saturating_duration_since(*since) >= self.policy.interval {
                        (*failures, *since) = (0, now);
                    }
                    *failures += 1;
                    if *failures > self.policy.failure_threshold {
                        self.open(now);
                    }
                }
                Outcome::Neutral => {}
            },
            State::HalfOpen { in_flight, successes } => {
                *in_flight = in_flight.saturating_sub(1);
                match outcome {
                    Outcome::Success => {
                        *successes += 1;
                        if *successes >= self.policy.max_requests {
                            self.back = false;
                            self.enter(State::Closed { failures: 0, since: now });
                        }
                    }
                    Outcome::Failure => self.open(now),
                    Outcome::Neutral => {}
                }
            }
            State::Open { .. } => {}
        }
    }

    fn open(&mut self, now: Instant) {
        let mut until = now + self.policy.timeout;
        if self.back {
            until = until.min(self.cut(now + FIRST_PAUSE));
        }
        self.enter(State::Open { until });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.period += 1;
    }
}

#[cfg(test)]
mod reference;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failure_threshold: 3,
        interval: Duration::from_mins(2),
        timeout: Duration::from_mins(1),
        max_requests: 5,
    };

    fn fail(machine: &mut Machine, now: Instant, times: u32) {
        for _ in 0..times {
            let ticket = machine.acquire(now).unwrap();
            machine.settle(&ticket, Outcome::Failure, now);
        }
    }

    fn opened(now: Instant) -> Machine {
        let mut machine = Machine::new(POLICY, now);
        fail(&mut machine, now, 4);
        machine
    }

    #[test]
    fn more_than_three_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut machine = Machine::new(POLICY, now);
        fail(&mut machine, now, 3);
        assert_eq!(machine.state(now), BreakerState::Closed);
        fail(&mut machine, now, 1);
        assert_eq!(machine.state(now), BreakerState::Open);
        assert_eq!(machine.acquire(now + Duration::from_secs(20)).unwrap_err(), Duration::from_secs(40));
    }

    #[test]
    fn a_success_or_the_end_of_the_interval_forgets_the_row() {
        let now = Instant::now();
        let mut machine = Machine::new(POLICY, now);
        fail(&mut machine, now, 3);
        let ticket = machine.acquire(now).unwrap();
        machine.settle(&ticket, Outcome::Success, now);
        fail(&mut machine, now, 3);
        let later = now + POLICY.interval;
        fail(&mut machine, later, 3);
        assert_eq!(machine.state(later), BreakerState::Closed);
    }

    #[test]
    fn five_good_probes_close_it_and_a_bad_one_opens_it_again() {
        let now = Instant::now();
        let later = now + POLICY.timeout;
        let mut machine = opened(now);
        let tickets: Vec<_> = (0..5).map(|_| machine.acquire(later).unwrap()).collect();
        assert_eq!(machine.acquire(later).unwrap_err(), PROBES_BUSY);
        for ticket in &tickets {
            machine.settle(ticket, Outcome::Success, later);
        }
        assert_eq!(machine.state(later), BreakerState::Closed);

        let mut machine = opened(now);
        let ticket = machine.acquire(later).unwrap();
        machine.settle(&ticket, Outcome::Failure, later);
        assert_eq!(machine.state(later), BreakerState::Open);
        assert_eq!(machine.acquire(later).unwrap_err(), POLICY.timeout);
    }

    #[test]
    fn outcomes_of_an_earlier_period_change_nothing() {
        let now = Instant::now();
        let later = now + POLICY.timeout;
        let mut machine = Machine::new(POLICY, now);
        let stale = machine.acquire(now).unwrap();
        fail(&mut machine, now, 4);
        let probe = machine.acquire(later).unwrap();
        machine.settle(&stale, Outcome::Failure, later);
        assert_eq!(machine.state(later), BreakerState::HalfOpen);
        machine.settle(&probe, Outcome::Neutral, later);
    }

    #[test]
    fn a_store_that_is_back_is_tried_at_once_and_then_with_growing_pauses() {
        let opened_at = Instant::now();
        let mut machine = opened(opened_at);
        let mut now = opened_at + Duration::from_secs(4);
        assert_eq!(machine.state(now), BreakerState::Open);
        machine.back(now);
        assert_eq!(machine.state(now), BreakerState::HalfOpen);
        for pause in [250, 500, 1_000, 2_000] {
            fail(&mut machine, now, 1);
            assert_eq!(machine.acquire(now).unwrap_err(), Duration::from_millis(pause));
            now += Duration::from_millis(pause);
        }
        for _ in 0..POLICY.max_requests {
            let ticket = machine.acquire(now).unwrap();
            machine.settle(&ticket, Outcome::Success, now);
        }
        assert_eq!(machine.state(now), BreakerState::Closed);
        fail(&mut machine, now, 4);
        assert_eq!(machine.acquire(now).unwrap_err(), POLICY.timeout, "it answered well in between");
    }

    #[test]
    fn a_store_that_is_back_when_it_is_tried_anyway_is_not_waited_for_longer_later() {
        let opened_at = Instant::now();
        let mut machine = opened(opened_at);
        let now = opened_at + POLICY.timeout;
        machine.back(now);
        fail(&mut machine, now, 1);
        assert_eq!(machine.acquire(now).unwrap_err(), FIRST_PAUSE);
        fail(&mut machine, now + FIRST_PAUSE, 1);
        assert_eq!(machine.acquire(now + FIRST_PAUSE).unwrap_err(), FIRST_PAUSE);
    }

    #[test]
    fn what_fails_late_or_while_the_store_starts_is_not_waited_for_long() {
        let now = Instant::now();
        let mut machine = Machine::new(POLICY, now);
        fail(&mut machine, now, 2);
        machine.back(now);
        fail(&mut machine, now, 2);
        assert_eq!(machine.acquire(now).unwrap_err(), FIRST_PAUSE);
    }

    #[test]
    fn a_store_that_comes_and_goes_is_spared_all_the_same() {
        let begin = Instant::now();
        let mut machine = opened(begin);
        let mut rounds = Vec::new();
        for step in 0..60 * 60 * 10 {
            let now = begin + step * Duration::from_millis(100);
            machine.back(now);
            if let Ok(ticket) = machine.acquire(now) {
                rounds.push(step / 600);
                machine.settle(&ticket, Outcome::Failure, now);
            }
        }
        let in_minute = |minute| rounds.iter().filter(|round| **round == minute).count();
        assert!(in_minute(0) <= 9, "{rounds:?}");
        assert!((1..60).all(|minute| in_minute(minute) <= 2), "{rounds:?}");
        assert!(rounds.len() <= 9 + 60, "{rounds:?}");
    }

    #[test]
    fn a_store_that_works_for_a_moment_each_time_is_spared_as_well() {
        let begin = Instant::now();
        let mut machine = opened(begin);
        let (mut now, mut rounds) = (begin, 0);
        while now < begin + Duration::from_hours(1) {
            machine.back(now);
            while machine.state(now) == BreakerState::HalfOpen {
                let ticket = machine.acquire(now).unwrap();
                machine.settle(&ticket, Outcome::Success, now);
            }
            if machine.state(now) == BreakerState::Closed {
                fail(&mut machine, now, 4);
                rounds += 1;
            }
            now += Duration::from_millis(100);
        }
        assert!(rounds <= 9 + 60, "{rounds}");
    }

    #[test]
    fn what_is_still_under_way_to_another_server_is_not_held_against_this_one() {
        let now = Instant::now();
        let mut machine = Machine::new(POLICY, now);
        let late: Vec<_> = (0..9).map(|_| machine.acquire(now).unwrap()).collect();
        machine.start_afresh(now);
        for ticket in &late {
            machine.settle(ticket, Outcome::Failure, now);
        }
        assert_eq!(machine.state(now), BreakerState::Closed);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Acquire,
        Settle(usize, Outcome),
        Back,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let outcome = prop_oneof![Just(Outcome::Success), Just(Outcome::Failure), Just(Outcome::Neutral)];
        let step = prop_oneof![
            4 => Just(Step::Acquire),
            4 => (any::<usize>(), outcome).prop_map(|(at, outcome)| Step::Settle(at, outcome)),
            1 => Just(Step::Back),
            1 => (0_u64..90).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever happens: never more probes than allowed, open lets nothing through, and once all
        /// tickets are settled the breaker is never stuck.
        #[test]
        fn it_never_overflows_and_never_sticks(steps in steps()) {
            let mut now = Instant::now();
            let mut machine = Machine::new(POLICY, now);
            let mut tickets = Vec::new();
            for step in steps {
                match step {
                    Step::Acquire => {
                        let before = machine.state(now);
                        match machine.acquire(now) {
                            Ok(ticket) => {
                                prop_assert_ne!(before, BreakerState::Open);
                                tickets.push(ticket);
                            }
                            Err(wait) => {
                                prop_assert_ne!(before, BreakerState::Closed);
                                prop_assert!(wait > Duration::ZERO && wait <= POLICY.timeout);
                            }
                        }
                        if let State::HalfOpen { in_flight, .. } = machine.state {
                            prop_assert!(in_flight <= POLICY.max_requests);
                            let live = tickets.iter().filter(|ticket| ticket.period == machine.period).count();
                            prop_assert_eq!(live, in_flight as usize);
                        }
                    }
                    Step::Settle(at, outcome) if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(at % tickets.len());
                        machine.settle(&ticket, outcome, now);
                    }
                    Step::Settle(..) => {}
                    Step::Back => machine.back(now),
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
            }
            for ticket in &tickets {
                machine.settle(ticket, Outcome::Neutral, now);
            }
            now += POLICY.timeout;
            for _ in 0..POLICY.max_requests {
                let ticket = machine.acquire(now);
                prop_assert!(ticket.is_ok());
                machine.settle(&ticket.unwrap(), Outcome::Success, now);
            }
            prop_assert_eq!(machine.state(now), BreakerState::Closed);
        }
    }
}
