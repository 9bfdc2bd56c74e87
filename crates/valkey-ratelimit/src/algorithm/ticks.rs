//! The unit of time in which products of amounts and times stay exact in the store's numbers.

/// Integers up to here are exact in a double, which is what scripts count in.
const EXACT: u64 = 1 << 53;

/// Microseconds of a tick: 1, unless `amount` times the window would not be exact. Rounding is always to the stricter side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    us: u64,
}

impl Ticks {
    /// What products may come to at most.
    pub(super) const EXACT_MAX: u64 = EXACT;

    pub(super) fn for_product(amount: u64, window_us: u64) -> Self {
        let us = u128::from(amount) * u128::from(window_us) / u128::from(EXACT) + 1;
        Self { us: us as u64 }
    }

    pub(super) fn us(self) -> u64 {
        self.us
    }

    /// A length, rounded up.
    pub(super) fn length(self, us: u64) -> u64 {
        us.div_ceil(self.us)
    }

    /// An instant, rounded down.
    pub(super) fn instant(self, us: u64) -> u64 {
        us / self.us
    }

    /// How many microseconds from `now_us` to the beginning of a tick.
    pub(super) fn until(self, tick: u64, now_us: u64) -> u64 {
        (tick * self.us).saturating_sub(now_us)
    }
}
