//! The consumer's own view of its lease: a pure clock arithmetic, fed with instants.

use std::time::{Duration, Instant};

/// What a consumer may conclude from its own monotonic clock.
///
/// The deadline that decides lives on the server; this one is earlier by construction. It counts from the moment a
/// successful renewal was *sent*, so the server's deadline is never before it.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    length: Duration,
    heartbeat: Duration,
    renewed: Instant,
    /// Set after a gap in contact, or a leap of the server's clock: since then there was neither.
    back_since: Option<Instant>,
    /// What the server's clock said last, and the earliest moment at which that can have been.
    heard: Option<(u64, Instant)>,
}

impl Lease {
    pub(crate) fn new(length: Duration, heartbeat: Duration, joined: Instant) -> Self {
        Self { length, heartbeat, renewed: joined, back_since: None, heard: None }
    }

    /// A fresh lease after one that was lost: a gap in contact by itself.
    pub(crate) fn after_gap(self) -> Self {
        Self { back_since: Some(self.renewed), ..self }
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// A renewal that was sent at `sent`, and answered at `answered`, succeeded.
    pub(crate) fn renew(&mut self, sent: Instant, answered: Instant) {
        // By the answer: between the wish to send and the sending lies the making of a connection.
        let gap = (self.length / 2).max(self.heartbeat + self.length / 8);
        if answered.saturating_duration_since(self.renewed) > gap {
            self.back_since = Some(answered);
        }
        self.renewed = self.renewed.max(sent);
    }

    /// The server said what time it was, in a call that was sent at `sent` and answered at `answered`.
    ///
    /// If its clock went on by more than can have passed, it leapt, and all deadlines are nearer than they were meant to
    /// be: the others get one lease to renew theirs, as after a gap. How long the calls were under way is nobody's leap.
    pub(crate) fn hear_clock(&mut self, server_ms: u64, sent: Instant, answered: Instant) {
        if let Some((before_ms, since)) = self.heard {
            let told = Duration::from_millis(server_ms.saturating_sub(before_ms));
            if told > answered.saturating_duration_since(since) + self.length / 8 {
                self.back_since = Some(answered);
            }
        }
        self.heard = Some((server_ms, sent));
    }

    /// When the next renewal is due if nothing else renews.
    pub(crate) fn renew_at(&self) -> Instant {
        self.renewed + self.heartbeat
    }

    /// From here on the consumer fences itself: with three quarters of the lease gone, another may soon take over.
    pub(crate) fn fence_at(&self) -> Instant {
        self.renewed + self.length * 3 / 4
    }

    /// How long to wait for one answer: there must be time to ask again, and no waiting beyond the end.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let left = self.fence_at().saturating_duration_since(now);
        (self.length / 5).min(left).max(Duration::from_millis(1))
    }

    pub(crate) fn is_spent(&self, now: Instant) -> bool {
        now >= self.fence_at()
    }

    /// Whether this consumer may call another one dead.
    ///
    /// After a gap in its own contact (the server was away, or stopped) the others had the same gap, and a clock that leaps
    /// takes the lease of all: each gets one lease to come back before anybody counts a crash against it.
    pub(crate) fn may_reap(&self, now: Instant) -> bool {
        self.back_since.is_none_or(|since| now.saturating_duration_since(since) >= self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(12);

    #[test]
    fn fences_itself_at_three_quarters() {
        let start = Instant::now();
        let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
        assert!(!lease.is_spent(start + Duration::from_millis(8_999)));
        assert!(lease.is_spent(start + Duration::from_secs(9)));
        let at = start + Duration::from_secs(5);
        lease.renew(at, at);
        assert!(!lease.is_spent(start + Duration::from_secs(13)));
    }

    #[test]
    fn reaps_from_the_start_but_not_right_after_a_gap() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
        assert!(lease.may_reap(at(0)));
        lease.renew(at(6), at(6));
        assert!(lease.may_reap(at(6)), "half a lease is no gap");
        lease.renew(at(13), at(13));
        assert!(!lease.may_reap(at(13)), "seven seconds are");
        lease.renew(at(18), at(18));
        assert!(!lease.may_reap(at(24)));
        assert!(lease.may_reap(at(25)));
    }

    #[test]
    fn a_gap_shows_in_when_the_answer_came_not_in_when_it_was_asked_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
        lease.renew(at(1), at(11));
        assert!(!lease.may_reap(at(22)));
        assert!(lease.may_reap(at(23)));
    }

    #[test]
    fn after_a_leap_of_the_servers_clock_nobody_is_reaped_for_a_lease() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let hear =
            |lease: &mut Lease, server_s: u64, now| lease.hear_clock(server_s * 1_000, at(now), at(now));
        let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
        hear(&mut lease, 1_000, 0);
        hear(&mut lease, 1_003, 3);
        assert!(lease.may_reap(at(3)));
        hear(&mut lease, 1_005, 4);
        assert!(lease.may_reap(at(4)), "a second too many is within what leases have to spare");
        hear(&mut lease, 4_605, 5);
        assert!(!lease.may_reap(at(16)), "an hour is not");
        assert!(lease.may_reap(at(17)));
        hear(&mut lease, 4_617, 17);
        assert!(lease.may_reap(at(17)));
        hear(&mut lease, 1_017, 18);
        hear(&mut lease, 1_018, 19);
        assert!(lease.may_reap(at(19)), "a step back takes nobody's lease");
    }

    #[test]
    fn a_call_that_was_long_under_way_is_no_leap() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
        // Read at once and told late, then read late: five seconds lie between the two readings, one between the answers.
        lease.hear_clock(1_000_000, at(0), at(4));
        lease.hear_clock(1_005_000, at(4), at(5));
        assert!(lease.may_reap(at(5)));
    }

    #[test]
    fn a_slow_heartbeat_is_no_gap() {
        let start = Instant::now();
        let mut lease = Lease::new(LENGTH, LENGTH * 7 / 10, start);
        let beat = start + LENGTH * 7 / 10;
        lease.renew(beat, beat + LENGTH / 100);
        assert!(lease.may_reap(beat + LENGTH / 100));
    }

    #[test]
    fn nobody_waits_for_an_answer_beyond_the_end_of_the_lease() {
        let start = Instant::now();
        let lease = Lease::new(LENGTH, LENGTH / 5, start);
        assert_eq!(lease.patience(start), LENGTH / 5);
        assert_eq!(lease.patience(start + LENGTH * 7 / 10), LENGTH / 20);
        assert_eq!(lease.patience(start + LENGTH), Duration::from_millis(1));
    }

    #[test]
    fn a_consumer_that_lost_its_lease_gives_the_others_one_first() {
        let start = Instant::now();
        let lease = Lease::new(LENGTH, LENGTH / 5, start).after_gap();
        assert!(!lease.may_reap(start + Duration::from_secs(11)));
        assert!(lease.may_reap(start + Duration::from_secs(12)));
    }

    proptest! {
        #[test]
        fn a_late_answer_never_shortens_the_lease(sends in prop::collection::vec(0u64..60_000, 1..20)) {
            let start = Instant::now();
            let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
            let mut latest = start;
            for ms in sends {
                let sent = start + Duration::from_millis(ms);
                lease.renew(sent, sent);
                latest = latest.max(sent);
                prop_assert_eq!(lease.fence_at(), latest + LENGTH * 3 / 4);
                prop_assert!(lease.renew_at() < lease.fence_at());
            }
        }
    }
}
