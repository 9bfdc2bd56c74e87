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

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// A renewal that was sent at `sent` succeeded.
    pub(crate) fn renew(&mut self, sent: Instant) {
        if sent.saturating_duration_since(self.renewed) > self.length / 2 {
            self.back_since = Some(sent);
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
        lease.renew(start + Duration::from_secs(5));
        assert!(!lease.is_spent(start + Duration::from_secs(13)));
    }

    #[test]
    fn reaps_from_the_start_but_not_right_after_a_gap() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
        assert!(lease.may_reap(at(0)));
        lease.renew(at(6));
        assert!(lease.may_reap(at(6)), "half a lease is no gap");
        lease.renew(at(13));
        assert!(!lease.may_reap(at(13)), "seven seconds are");
        lease.renew(at(18));
        assert!(!lease.may_reap(at(24)));
        assert!(lease.may_reap(at(25)));
    }

    proptest! {
        #[test]
        fn a_late_answer_never_shortens_the_lease(sends in prop::collection::vec(0u64..60_000, 1..20)) {
            let start = Instant::now();
            let mut lease = Lease::new(LENGTH, LENGTH / 5, start);
            let mut latest = start;
            for ms in sends {
                let sent = start + Duration::from_millis(ms);
                lease.renew(sent);
                latest = latest.max(sent);
                prop_assert_eq!(lease.fence_at(), latest + LENGTH * 3 / 4);
                prop_assert!(lease.renew_at() < lease.fence_at());
            }
        }
    }
}
