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
    /// Set after a gap in contact: since then the contact is unbroken.
    back_since: Option<Instant>,
}

impl Lease {
    pub(crate) fn new(length: Duration, heartbeat: Duration, joined: Instant) -> Self {
        Self { length, heartbeat, renewed: joined, back_since: None }
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
    /// After a gap in its own contact (the server was away, or stopped) the others had the same gap: each gets one
    /// lease to come back before anybody counts a crash against it.
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
