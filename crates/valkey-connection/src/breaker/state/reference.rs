//! The breaker once more, as its documentation reads: it keeps everything that happened since the last change of state and
//! counts anew at each question. Slow, and simple enough to be right; the machine has to agree with it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Everything since the state last changed.
struct Reference {
    policy: BreakerPolicy,
    state: BreakerState,
    since: Instant,
    log: Vec<(Instant, Event)>,
    /// Changes of state so far: what an outcome belongs to.
    changes: usize,
    /// The store came back since the last success in `Closed`, or the last change to it.
    back: bool,
    /// When this period ends at the latest, if it is cut short.
    cut: Option<Instant>,
    /// All cuts so far: when each could have been at the earliest, and when it was.
    cuts: Vec<(Instant, Instant)>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Event {
    Admitted,
    Settled(Outcome),
}

impl Reference {
    fn new(policy: BreakerPolicy, now: Instant) -> Self {
        Self {
            policy,
            state: BreakerState::Closed,
            since: now,
            log: Vec::new(),
            changes: 0,
            back: false,
            cut: None,
            cuts: Vec::new(),
        }
    }

    fn until(&self) -> Instant {
        let whole = self.since + self.policy.timeout;
        self.cut.map_or(whole, |cut| cut.min(whole))
    }

    fn back(&mut self, now: Instant) {
        if self.state(now) == BreakerState::Open && !self.back {
            self.cut_short(now);
        }
        self.back = true;
    }

    fn start_afresh(&mut self, now: Instant) {
        let changes = self.changes + 1;
        *self = Self { changes, ..Self::new(self.policy, now) };
    }

    fn cut_short(&mut self, from: Instant) {
        let quiet = self.policy.interval.max(self.policy.timeout);
        let longest = self.policy.timeout.max(FIRST_PAUSE);
        let (mut in_a_row, mut free) = (0, None);
        let pause = |in_a_row: u32| (FIRST_PAUSE * 2_u32.pow(in_a_row.min(20))).min(longest);
        for &(asked, at) in &self.cuts {
            if free.is_some_and(|free| asked >= free + quiet) {
                in_a_row = 0;
            }
            free = Some(at + pause(in_a_row));
            in_a_row += 1;
        }
        let at = free.map_or(from, |free| from.max(free));
        self.cuts.push((from, at));
        self.cut = Some(at);
    }

    fn state(&self, now: Instant) -> BreakerState {
        let waited = now >= self.until();
        if self.state == BreakerState::Open && waited { BreakerState::HalfOpen } else { self.state }
    }

    /// The number of the period that the call was admitted in.
    fn acquire(&mut self, now: Instant) -> Result<usize, Duration> {
        if self.state == BreakerState::Open {
            if self.state(now) == BreakerState::Open {
                return Err(self.until() - now);
            }
            self.change(BreakerState::HalfOpen, now);
        }
        let at_once = self.policy.max_requests.max(1) as usize;
        if self.state == BreakerState::HalfOpen && self.in_flight() >= at_once {
            return Err(PROBES_BUSY);
        }
        self.log.push((now, Event::Admitted));
        Ok(self.changes)
    }

    fn settle(&mut self, admitted_in: usize, outcome: Outcome, now: Instant) {
        if admitted_in != self.changes {
            return;
        }
        self.log.push((now, Event::Settled(outcome)));
        match (self.state, outcome) {
            (BreakerState::Closed, Outcome::Success) => self.back = false,
            (BreakerState::Closed, Outcome::Failure) if self.row() > self.policy.failure_threshold => {
                self.change(BreakerState::Open, now);
            }
            (BreakerState::HalfOpen, Outcome::Failure) => self.change(BreakerState::Open, now),
            (BreakerState::HalfOpen, Outcome::Success)
                if self.times(Event::Settled(Outcome::Success))
                    >= self.policy.max_requests.max(1) as usize =>
            {
                self.change(BreakerState::Closed, now);
            }
            _ => {}
        }
    }

    fn change(&mut self, state: BreakerState, now: Instant) {
        (self.state, self.since, self.cut) = (state, now, None);
        self.log.clear();
        self.changes += 1;
        match state {
            BreakerState::Closed => self.back = false,
            BreakerState::Open if self.back => self.cut_short(now + FIRST_PAUSE),
            _ => {}
        }
    }

    fn times(&self, what: Event) -> usize {
        self.log.iter().filter(|(_, event)| *event == what).count()
    }

    fn in_flight(&self) -> usize {
        2 * self.times(Event::Admitted) - self.log.len()
    }

    /// Failures in a row. An interval begins with the period, and with the first call or failure after the last one's end.
    fn row(&self) -> u32 {
        let (mut begun, mut row) = (self.since, 0);
        for (at, event) in &self.log {
            let counts = matches!(event, Event::Admitted | Event::Settled(Outcome::Failure));
            if counts && *at >= begun + self.policy.interval {
                (begun, row) = (*at, 0);
            }
            match event {
                Event::Settled(Outcome::Failure) => row += 1,
                Event::Settled(Outcome::Success) => row = 0,
                _ => {}
            }
        }
        row
    }
}

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    Settle(usize, Outcome),
    Back,
    StartAfresh,
    Wait(u64),
}

fn policies() -> impl Strategy<Value = BreakerPolicy> {
    (0..5_u32, 0..40_u64, 0..20_u64, 0..5_u32).prop_map(
        |(failure_threshold, interval, timeout, max_requests)| BreakerPolicy {
            failure_threshold,
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
            max_requests,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome =
        prop_oneof![2 => Just(Outcome::Success), 4 => Just(Outcome::Failure), 1 => Just(Outcome::Neutral)];
    let step = prop_oneof![
        5 => Just(Step::Acquire),
        5 => (any::<usize>(), outcome).prop_map(|(at, outcome)| Step::Settle(at, outcome)),
        2 => Just(Step::Back),
        1 => (0..50_u8).prop_map(|dice| if dice == 0 { Step::StartAfresh } else { Step::Back }),
        2 => prop_oneof![0..2_000_u64, 0..25_000_u64].prop_map(Step::Wait),
    ];
    vec(step, 0..150)
}

proptest! {
    /// The same answers, to the millisecond, whatever the policy.
    #[test]
    fn the_machine_answers_as_its_documentation_reads(policy in policies(), steps in steps()) {
        let mut now = Instant::now();
        let (mut machine, mut reference) = (Machine::new(policy, now), Reference::new(policy, now));
        let mut tickets = Vec::new();
        for step in steps {
            match step {
                Step::Acquire => match (machine.acquire(now), reference.acquire(now)) {
                    (Ok(ticket), Ok(admitted_in)) => tickets.push((ticket, admitted_in)),
                    (Err(wait), Err(expected)) => prop_assert_eq!(wait, expected),
                    (ours, theirs) => {
                        let (ours, theirs) = (ours.is_ok(), theirs.is_ok());
                        return Err(TestCaseError::fail(format!("admitted: {ours}, expected: {theirs}")));
                    }
                },
                Step::Settle(at, outcome) if !tickets.is_empty() => {
                    let (ticket, admitted_in) = tickets.swap_remove(at % tickets.len());
                    machine.settle(&ticket, outcome, now);
                    reference.settle(admitted_in, outcome, now);
                }
                Step::Settle(..) => {}
                Step::Back => {
                    machine.back(now);
                    reference.back(now);
                }
                Step::StartAfresh => {
                    machine.start_afresh(now);
                    reference.start_afresh(now);
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            prop_assert_eq!(machine.state(now), reference.state(now));
        }
    }
}
