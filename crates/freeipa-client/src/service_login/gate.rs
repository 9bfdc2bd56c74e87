//! How often the service may try to log in, so that it never locks its own account.

use std::time::{Duration, Instant, SystemTime};

use super::outcome::LoginRejected;

/// The pause after the first rejection whose reason is not known: it may have been no rejection at all.
const SECOND_TRY: Duration = Duration::from_secs(30);

/// As many attempts there may be, in flight and rejected, within the pause. Six wrong ones lock the account.
const MOST: usize = 2;

/// How the service account stands with the servers.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServiceLogin {
    /// Nobody has tried yet, with these credentials.
    Untried,
    /// The last login that told anything was accepted.
    Accepted,
    /// It was rejected. Nobody tries again before `next_attempt`, unless the credentials are
    /// [replaced](crate::Client::replace_credentials).
    Rejected {
        /// Since when.
        since: SystemTime,
        /// Why.
        why: LoginRejected,
        /// When somebody may try again.
        next_attempt: SystemTime,
    },
}

/// The gate that every attempt passes, whichever server it goes to. Pure: the clock is an argument.
#[derive(Debug)]
pub(crate) struct Gate {
    pause: Duration,
    verdict: Verdict,
    /// When attempts were rejected, within the pause.
    rejections: Vec<Instant>,
    in_flight: usize,
    /// Of the credentials. What is learnt about former ones is not held against these.
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Untried,
    Accepted,
    Rejected { since: Instant, why: LoginRejected, until: Instant },
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Admission {
    /// Yes. Whoever has it says what came of it, by this number of the credentials.
    Go(u64),
    /// When one of those in flight is through.
    Wait,
    /// Not for so long.
    Closed { why: LoginRejected, wait: Duration },
}

impl Gate {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, verdict: Verdict::Untried, rejections: Vec::new(), in_flight: 0, epoch: 0 }
    }

    /// Whether an attempt would be refused now.
    pub(crate) fn closed(&self, now: Instant) -> Option<Admission> {
        match self.verdict {
            Verdict::Rejected { why, until, .. } if until > now => {
                Some(Admission::Closed { why, wait: until - now })
            }
            _ => None,
        }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        if let Some(closed) = self.closed(now) {
            return closed;
        }
        self.forget(now);
        // What is not proven is tried by one at a time, so that most mistakes cost a single attempt.
        let abreast = if matches!(self.verdict, Verdict::Accepted) { MOST } else { 1 };
        if self.in_flight >= abreast || self.in_flight + self.rejections.len() >= MOST {
            return Admission::Wait;
        }
        self.in_flight += 1;
        Admission::Go(self.epoch)
    }

    /// An attempt is through. `told` is what it told about the credentials: `None` if nothing.
    pub(crate) fn settle(&mut self, now: Instant, epoch: u64, told: Option<Result<(), LoginRejected>>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if epoch != self.epoch {
            return;
        }
        match told {
            None => {}
            Some(Ok(())) => self.verdict = Verdict::Accepted,
            Some(Err(why)) => {
                self.forget(now);
                self.rejections.push(now);
                let until = match why {
                    LoginRejected::Unrecognized if self.rejections.len() < MOST => now + SECOND_TRY,
                    _ => now + self.pause,
                };
                let since = match self.verdict {
                    Verdict::Rejected { since, .. } => since,
                    Verdict::Untried | Verdict::Accepted => now,
                };
                self.verdict = Verdict::Rejected { since, why, until };
            }
        }
    }

    /// There are other credentials.
    pub(crate) fn renew(&mut self) {
        self.epoch += 1;
        self.verdict = Verdict::Untried;
        self.rejections.clear();
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How it stands, by the clock on the wall, which shows `wall` at `now`.
    pub(crate) fn standing(&self, now: Instant, wall: SystemTime) -> ServiceLogin {
        match self.verdict {
            Verdict::Untried => ServiceLogin::Untried,
            Verdict::Accepted => ServiceLogin::Accepted,
            Verdict::Rejected { since, why, until } => ServiceLogin::Rejected {
                since: wall
                    .checked_sub(now.saturating_duration_since(since))
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                why,
                next_attempt: wall + until.saturating_duration_since(now),
            },
        }
    }

    fn forget(&mut self, now: Instant) {
        let pause = self.pause;
        self.rejections.retain(|at| now.saturating_duration_since(*at) < pause);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_mins(10);
    const WRONG: LoginRejected = LoginRejected::WrongPassword;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_rejection_closes_it_for_the_pause() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        assert_eq!(gate.admit(start), Admission::Go(0));
        gate.settle(start, 0, Some(Err(WRONG)));
        assert_eq!(
            gate.admit(after(start, 599)),
            Admission::Closed { why: WRONG, wait: Duration::from_secs(1) }
        );
        assert_eq!(gate.admit(after(start, 600)), Admission::Go(0));
    }

    #[test]
    fn what_is_not_proven_is_tried_by_one_at_a_time() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        assert_eq!(gate.admit(start), Admission::Go(0));
        assert_eq!(gate.admit(start), Admission::Wait);
        gate.settle(start, 0, Some(Ok(())));
        assert_eq!([gate.admit(start), gate.admit(start)], [Admission::Go(0); 2]);
        assert_eq!(gate.admit(start), Admission::Wait);
    }

    #[test]
    fn since_is_when_it_began() {
        let (mut gate, start, wall) = (Gate::new(PAUSE), Instant::now(), SystemTime::now());
        for seconds in [0, 600] {
            assert_eq!(gate.admit(after(start, seconds)), Admission::Go(0));
            gate.settle(after(start, seconds), 0, Some(Err(WRONG)));
        }
        let standing = gate.standing(after(start, 700), wall + Duration::from_secs(700));
        let next_attempt = wall + Duration::from_mins(20);
        assert_eq!(standing, ServiceLogin::Rejected { since: wall, why: WRONG, next_attempt });
    }

    #[test]
    fn other_credentials_open_it_and_answers_to_the_old_ones_do_not_close_it() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        assert_eq!(gate.admit(start), Admission::Go(0));
        gate.settle(start, 0, Some(Ok(())));
        for _ in 0..2 {
            assert_eq!(gate.admit(start), Admission::Go(0));
        }
        gate.settle(start, 0, Some(Err(WRONG)));
        gate.renew();
        assert_eq!(gate.admit(start), Admission::Wait, "one of the old ones is in flight");
        gate.settle(start, 0, Some(Err(WRONG)));
        assert_eq!(gate.admit(start), Admission::Go(1));
        gate.settle(start, 1, Some(Ok(())));
        assert_eq!(gate.standing(start, SystemTime::now()), ServiceLogin::Accepted);
    }

    #[test]
    fn a_reason_that_is_not_known_gets_a_second_try_and_no_third() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        let unknown = Some(Err(LoginRejected::Unrecognized));
        assert_eq!(gate.admit(start), Admission::Go(0));
        gate.settle(start, 0, unknown);
        assert!(matches!(gate.admit(after(start, 29)), Admission::Closed { .. }));
        assert_eq!(gate.admit(after(start, 30)), Admission::Go(0));
        assert_eq!(gate.admit(after(start, 30)), Admission::Wait, "two at once would make three");
        gate.settle(after(start, 30), 0, unknown);
        assert!(matches!(gate.admit(after(start, 629)), Admission::Closed { .. }));
        assert_eq!(gate.admit(after(start, 630)), Admission::Go(0));
    }

    #[test]
    fn an_outage_closes_nothing() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        for second in 0..100 {
            assert_eq!(gate.admit(after(start, second)), Admission::Go(0));
            gate.settle(after(start, second), 0, None);
        }
        assert_eq!(gate.standing(start, SystemTime::now()), ServiceLogin::Untried);
    }

    proptest! {
        /// Whatever happens, and however many servers are asked: never three rejections within the pause.
        #[test]
        fn never_three_within_the_pause(steps in prop::collection::vec((0_u64..700, 0_u8..5), 1..200)) {
            let (mut gate, mut now) = (Gate::new(PAUSE), Instant::now());
            let (mut in_flight, mut rejected) = (0, Vec::new());
            for (seconds, what) in steps {
                now = after(now, seconds / 4);
                match what {
                    0 | 1 => in_flight += usize::from(matches!(gate.admit(now), Admission::Go(_))),
                    _ if in_flight == 0 => {}
                    2 | 3 => {
                        in_flight -= 1;
                        gate.settle(now, 0, (what == 3).then_some(Ok(())));
                    }
                    _ => {
                        in_flight -= 1;
                        rejected.push(now);
                        let why = if seconds % 2 == 0 { WRONG } else { LoginRejected::Unrecognized };
                        gate.settle(now, 0, Some(Err(why)));
                    }
                }
            }
            for three in rejected.windows(3) {
                prop_assert!(three[2] - three[0] >= PAUSE, "{:?}", three[2] - three[0]);
            }
        }
    }
}
