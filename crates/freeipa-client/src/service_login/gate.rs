//! How often the service may try to log in, so that it never locks its own account.

use std::time::{Duration, Instant, SystemTime};

use super::outcome::LoginRejected;

/// The pause after the first rejection whose reason is not known: it may have been no rejection at all.
const SECOND_TRY: Duration = Duration::from_secs(30);

/// As many attempts there may be, in flight and rejected, within the pause. Six wrong ones lock the account.
const MOST: usize = 2;

/// As many attempts may come to nothing that anybody knows before there are pauses: a connection that breaks once is no outage.
const UNCLEAR_AT_ONCE: usize = 2;

/// All that were rejected, or may have been, within the pause: one less than what locks the account.
const MOST_IN_ALL: usize = 5;

/// How long a server that has had its turn leaves the next one to others that were turned away since.
const COURTESY: Duration = Duration::from_mins(1);

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
    /// What was sent, within the pause, and may have been rejected: nobody knows.
    unclear: Vec<Unclear>,
    /// Servers that had to wait since the last attempt.
    turned_away: Vec<String>,
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

#[derive(Debug)]
struct Unclear {
    at: Instant,
    server: String,
}

/// What an attempt told about the credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    Nothing,
    Accepted,
    Rejected(LoginRejected),
    /// They were sent, and whether they were rejected is not known.
    Unclear,
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
    /// Not for so long: too many came to nothing that anybody knows.
    Unclear { wait: Duration },
}

impl Gate {
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            pause,
            verdict: Verdict::Untried,
            rejections: Vec::new(),
            unclear: Vec::new(),
            turned_away: Vec::new(),
            in_flight: 0,
            epoch: 0,
        }
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

    /// Whether an attempt may be made at this server.
    pub(crate) fn admit(&mut self, now: Instant, server: &str) -> Admission {
        if let Some(closed) = self.closed(now) {
            return closed;
        }
        self.forget(now);
        // What is not proven is tried by one at a time, so that most mistakes cost a single attempt.
        let is_proven = matches!(self.verdict, Verdict::Accepted) && self.unclear.is_empty();
        let abreast = if is_proven { MOST } else { 1 };
        if self.in_flight >= abreast || self.in_flight + self.rejections.len() >= MOST {
            return Admission::Wait;
        }
        if let Some(until) = self.unclear_until(now, server) {
            if !self.turned_away.iter().any(|other| other == server) {
                self.turned_away.push(server.to_owned());
            }
            return Admission::Unclear { wait: until - now };
        }
        self.turned_away.clear();
        self.in_flight += 1;
        Admission::Go(self.epoch)
    }

    /// How long nobody tries at this server, for what is not known.
    fn unclear_until(&self, now: Instant, server: &str) -> Option<Instant> {
        let last = self.unclear.last()?.at;
        let mut until = now;
        if self.unclear.len() >= UNCLEAR_AT_ONCE {
            // Evenly, so that an outage that ends is noticed soon, and the bound below is hardly ever met.
            until = last + self.pause / 4;
            // One server that fails must not use up what would show that another is well.
            let last_at = |server: &str| {
                self.unclear.iter().rev().find(|unclear| unclear.server == server).map(|unclear| unclear.at)
            };
            if self.turned_away.iter().any(|other| last_at(other) < last_at(server)) {
                until += COURTESY;
            }
        }
        if self.unclear.len() + self.rejections.len() >= MOST_IN_ALL {
            let first =
                self.unclear.iter().map(|unclear| unclear.at).chain(self.rejections.iter().copied()).min();
            until = until.max(first? + self.pause);
        }
        (until > now).then_some(until)
    }

    /// An attempt at this server is through.
    pub(crate) fn settle(&mut self, now: Instant, epoch: u64, server: &str, told: Told) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if epoch != self.epoch {
            return;
        }
        match told {
            Told::Nothing => {}
            Told::Accepted => {
                self.verdict = Verdict::Accepted;
                // The server counts anew.
                self.unclear.clear();
            }
            Told::Unclear => {
                self.forget(now);
                self.unclear.push(Unclear { at: now, server: server.to_owned() });
            }
            Told::Rejected(why) => {
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
        self.unclear.clear();
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
        self.unclear.retain(|unclear| now.saturating_duration_since(unclear.at) < pause);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_mins(10);
    const AT: &str = "ipa1.example.org";
    const WRONG: LoginRejected = LoginRejected::WrongPassword;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_rejection_closes_it_for_the_pause() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        assert_eq!(gate.admit(start, AT), Admission::Go(0));
        gate.settle(start, 0, AT, Told::Rejected(WRONG));
        assert_eq!(
            gate.admit(after(start, 599), AT),
            Admission::Closed { why: WRONG, wait: Duration::from_secs(1) }
        );
        assert_eq!(gate.admit(after(start, 600), AT), Admission::Go(0));
    }

    #[test]
    fn what_is_not_proven_is_tried_by_one_at_a_time() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        assert_eq!(gate.admit(start, AT), Admission::Go(0));
        assert_eq!(gate.admit(start, AT), Admission::Wait);
        gate.settle(start, 0, AT, Told::Accepted);
        assert_eq!([gate.admit(start, AT), gate.admit(start, AT)], [Admission::Go(0); 2]);
        assert_eq!(gate.admit(start, AT), Admission::Wait);
    }

    #[test]
    fn since_is_when_it_began() {
        let (mut gate, start, wall) = (Gate::new(PAUSE), Instant::now(), SystemTime::now());
        for seconds in [0, 600] {
            assert_eq!(gate.admit(after(start, seconds), AT), Admission::Go(0));
            gate.settle(after(start, seconds), 0, AT, Told::Rejected(WRONG));
        }
        let standing = gate.standing(after(start, 700), wall + Duration::from_secs(700));
        let next_attempt = wall + Duration::from_mins(20);
        assert_eq!(standing, ServiceLogin::Rejected { since: wall, why: WRONG, next_attempt });
    }

    #[test]
    fn other_credentials_open_it_and_answers_to_the_old_ones_do_not_close_it() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        assert_eq!(gate.admit(start, AT), Admission::Go(0));
        gate.settle(start, 0, AT, Told::Accepted);
        for _ in 0..2 {
            assert_eq!(gate.admit(start, AT), Admission::Go(0));
        }
        gate.settle(start, 0, AT, Told::Rejected(WRONG));
        gate.renew();
        assert_eq!(gate.admit(start, AT), Admission::Wait, "one of the old ones is in flight");
        gate.settle(start, 0, AT, Told::Rejected(WRONG));
        assert_eq!(gate.admit(start, AT), Admission::Go(1));
        gate.settle(start, 1, AT, Told::Accepted);
        assert_eq!(gate.standing(start, SystemTime::now()), ServiceLogin::Accepted);
    }

    #[test]
    fn a_reason_that_is_not_known_gets_a_second_try_and_no_third() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        let unknown = Told::Rejected(LoginRejected::Unrecognized);
        assert_eq!(gate.admit(start, AT), Admission::Go(0));
        gate.settle(start, 0, AT, unknown);
        assert!(matches!(gate.admit(after(start, 29), AT), Admission::Closed { .. }));
        assert_eq!(gate.admit(after(start, 30), AT), Admission::Go(0));
        assert_eq!(gate.admit(after(start, 30), AT), Admission::Wait, "two at once would make three");
        gate.settle(after(start, 30), 0, AT, unknown);
        assert!(matches!(gate.admit(after(start, 629), AT), Admission::Closed { .. }));
        assert_eq!(gate.admit(after(start, 630), AT), Admission::Go(0));
    }

    #[test]
    fn an_outage_closes_nothing() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        for second in 0..100 {
            assert_eq!(gate.admit(after(start, second), AT), Admission::Go(0));
            gate.settle(after(start, second), 0, AT, Told::Nothing);
        }
        assert_eq!(gate.standing(start, SystemTime::now()), ServiceLogin::Untried);
    }

    #[test]
    fn what_is_not_known_is_tried_twice_and_then_four_times_in_ten_minutes() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        let mut tried = Vec::new();
        for second in 0..2_000 {
            let now = after(start, second);
            if gate.admit(now, AT) == Admission::Go(0) {
                tried.push(second);
                gate.settle(now, 0, AT, Told::Unclear);
            }
        }
        assert_eq!(tried[..7], [0, 1, 151, 301, 451, 601, 751]);
        assert_eq!(gate.standing(start, SystemTime::now()), ServiceLogin::Untried);
        assert!(matches!(gate.admit(after(start, 2_000), AT), Admission::Unclear { .. }));
        gate.renew();
        assert_eq!(gate.admit(after(start, 2_000), AT), Admission::Go(1));
        gate.settle(after(start, 2_000), 1, AT, Told::Accepted);
        assert_eq!(
            [gate.admit(after(start, 2_000), AT), gate.admit(after(start, 2_000), AT)],
            [Admission::Go(1); 2]
        );
    }

    #[test]
    fn a_server_that_fails_leaves_the_next_turn_to_another() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        for second in [0, 1] {
            assert_eq!(gate.admit(after(start, second), "a"), Admission::Go(0));
            gate.settle(after(start, second), 0, "a", Told::Unclear);
        }
        assert!(matches!(gate.admit(after(start, 2), "b"), Admission::Unclear { .. }));
        assert!(matches!(gate.admit(after(start, 200), "a"), Admission::Unclear { .. }));
        assert_eq!(gate.admit(after(start, 200), "b"), Admission::Go(0));
        gate.settle(after(start, 200), 0, "b", Told::Accepted);
        assert_eq!(gate.admit(after(start, 201), "a"), Admission::Go(0));
    }

    #[test]
    fn a_server_that_nobody_waits_for_any_more_holds_nobody_up() {
        let (mut gate, start) = (Gate::new(PAUSE), Instant::now());
        for second in [0, 1] {
            assert_eq!(gate.admit(after(start, second), "a"), Admission::Go(0));
            gate.settle(after(start, second), 0, "a", Told::Unclear);
        }
        assert!(matches!(gate.admit(after(start, 2), "b"), Admission::Unclear { .. }));
        assert_eq!(gate.admit(after(start, 211), "a"), Admission::Go(0));
    }

    proptest! {
        /// Whatever comes of attempts, and however many servers there are: never six that may have been wrong within the pause.
        #[test]
        fn never_six_that_may_have_been_wrong(steps in prop::collection::vec((0_u64..400, 0_u8..6, 0_u8..3), 1..300)) {
            let (mut gate, mut now) = (Gate::new(PAUSE), Instant::now());
            let (mut in_flight, mut maybe): (Vec<String>, Vec<Instant>) = (Vec::new(), Vec::new());
            for (seconds, what, server) in steps {
                now = after(now, seconds / 4);
                if what < 3 {
                    let server = format!("ipa{server}");
                    if let Admission::Go(_) = gate.admit(now, &server) {
                        in_flight.push(server);
                    }
                } else if let Some(server) = in_flight.pop() {
                    maybe.push(now);
                    let told = match seconds % 3 {
                        0 => Told::Rejected(WRONG),
                        1 => Told::Rejected(LoginRejected::Unrecognized),
                        _ => Told::Unclear,
                    };
                    gate.settle(now, 0, &server, told);
                }
            }
            for six in maybe.windows(6) {
                prop_assert!(six[5] - six[0] >= PAUSE, "{:?}", six[5] - six[0]);
            }
        }

        /// Whatever happens, and however many servers are asked: never three rejections within the pause.
        #[test]
        fn never_three_within_the_pause(steps in prop::collection::vec((0_u64..700, 0_u8..5), 1..200)) {
            let (mut gate, mut now) = (Gate::new(PAUSE), Instant::now());
            let (mut in_flight, mut rejected) = (0, Vec::new());
            for (seconds, what) in steps {
                now = after(now, seconds / 4);
                match what {
                    0 | 1 => in_flight += usize::from(matches!(gate.admit(now, AT), Admission::Go(_))),
                    _ if in_flight == 0 => {}
                    2 | 3 => {
                        in_flight -= 1;
                        gate.settle(now, 0, AT, if what == 3 { Told::Accepted } else { Told::Nothing });
                    }
                    _ => {
                        in_flight -= 1;
                        rejected.push(now);
                        let why = if seconds % 2 == 0 { WRONG } else { LoginRejected::Unrecognized };
                        gate.settle(now, 0, AT, Told::Rejected(why));
                    }
                }
            }
            for three in rejected.windows(3) {
                prop_assert!(three[2] - three[0] >= PAUSE, "{:?}", three[2] - three[0]);
            }
        }
    }
}
