//! `gcra`: the generic cell rate algorithm as a leaky bucket (ITU-T I.371, where both forms stand side by side).

use super::ticks::Ticks;
use super::{Answer, Ask, Mark};
use crate::quota::Quota;

/// A full bucket drains within a hundred years: later instants are not exact in a script.
const LONGEST_US: u64 = 100 * 366 * 86_400_000_000;

/// A bucket that every charge fills and time drains.
///
/// One unit of cost is `unit` drops, and every tick drains `drain` of them, so that a window drains the limit, without any
/// rounding: `limit / window`, reduced. **The bucket never holds more than `burst` units, so any stretch of time admits at most
/// what fits at its beginning and what drains in it.**
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    ticks: Ticks,
    unit: u64,
    drain: u64,
    capacity: u64,
    level: u64,
    /// The tick as of which the level is told.
    at: u64,
}

impl Bucket {
    /// The largest bucket.
    pub(super) fn most(quota: Quota) -> u64 {
        let longest = u128::from(quota.limit()) * u128::from(LONGEST_US) / u128::from(quota.window_us());
        Quota::MAX_LIMIT.min(longest as u64)
    }

    pub(super) fn new(quota: Quota, burst: u64) -> Self {
        let burst = burst.min(Self::most(quota)).max(1);
        let reduced = |window: u64| {
            let common = gcd(window, quota.limit());
            (window / common, quota.limit() / common)
        };
        // As a rule the fraction is short, and a tick a microsecond; what does not fit takes longer ticks.
        let mut ticks = Ticks::for_product(1, 1);
        let (mut unit, mut drain) = reduced(quota.window_us());
        if unit > Ticks::EXACT_MAX / (burst + 1) {
            ticks = Ticks::for_product(burst + 1, quota.window_us());
            (unit, drain) = reduced(ticks.length(quota.window_us()));
        }
        Self { ticks, unit, drain, capacity: burst * unit, level: 0, at: 0 }
    }

    pub(super) fn ask(&mut self, now: u64, ask: Ask) -> Answer {
        self.leak(now);
        let granted = ask.fit((self.capacity - self.level) / self.unit);
        self.level += granted * ask.cost * self.unit;
        let room_after = match ask.cost.checked_mul(self.unit).filter(|drops| *drops <= self.capacity) {
            Some(drops) => self.drained_after(now, (self.level + drops).saturating_sub(self.capacity)),
            None => Answer::NEVER,
        };
        Answer {
            granted,
            remaining: (self.capacity - self.level) / self.unit,
            next_after: room_after,
            reset_after: self.drained_after(now, self.level),
            mark: Mark(self.at),
        }
    }

    #[cfg(test)]
    pub(super) fn is_ahead(&self, now: u64) -> bool {
        self.at > self.ticks.instant(now)
    }

    /// What has drained since the charge may have been the charge itself, so only what is beyond that comes back.
    pub(super) fn give_back(&mut self, now: u64, Mark(charged): Mark, amount: u64) -> u64 {
        self.leak(now);
        let drained = self.at.saturating_sub(charged).saturating_mul(self.drain);
        let back = amount.saturating_mul(self.unit).saturating_sub(drained).min(self.level) / self.unit;
        self.level -= back * self.unit;
        back
    }

    /// What a script needs to know: burst, unit, drain, microseconds of a tick.
    pub(super) fn terms(&self) -> [u64; 4] {
        [self.capacity / self.unit, self.unit, self.drain, self.ticks.us()]
    }

    /// As full under another quota; what drained until now was drained by this one.
    pub(super) fn under(&self, quota: Quota, burst: u64, now: u64) -> Self {
        let mut old = self.clone();
        old.leak(now);
        let mut new = Self::new(quota, burst);
        // In the arithmetic of the script. What that rounds off is less than a drop in 2^53.
        #[expect(clippy::cast_sign_loss, reason = "levels are not negative")]
        let level = if old.unit == new.unit {
            old.level
        } else {
            (old.level as f64 / old.unit as f64 * new.unit as f64).ceil() as u64
        };
        new.level = level.min(new.capacity);
        new.at = new.ticks.instant(now);
        new
    }

    fn leak(&mut self, now: u64) {
        let tick = self.ticks.instant(now);
        let drained = tick.saturating_sub(self.at).saturating_mul(self.drain);
        self.level = self.level.saturating_sub(drained);
        self.at = tick;
    }

    /// How long until so many drops are gone.
    fn drained_after(&self, now: u64, drops: u64) -> u64 {
        if drops == 0 { 0 } else { self.ticks.until(self.at + drops.div_ceil(self.drain), now) }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
