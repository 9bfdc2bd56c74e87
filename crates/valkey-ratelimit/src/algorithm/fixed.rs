//! `fixed_window`: one counter that begins anew at multiples of the window.

use super::{Answer, Ask, Mark};
use crate::quota::Quota;

/// What was charged in this window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    limit: u64,
    window: u64,
    number: u64,
    count: u64,
}

impl Fixed {
    pub(super) fn new(quota: Quota) -> Self {
        Self { limit: quota.limit(), window: quota.window_us(), number: 0, count: 0 }
    }

    pub(super) fn ask(&mut self, now: u64, ask: Ask) -> Answer {
        self.turn(now);
        let granted = ask.fit(self.limit.saturating_sub(self.count));
        self.count += granted * ask.cost;
        let remaining = self.limit.saturating_sub(self.count);
        let end = (self.number + 1) * self.window - now;
        Answer {
            granted,
            remaining,
            next_after: match () {
                () if ask.cost > self.limit => Answer::NEVER,
                () if ask.cost > remaining => end,
                () => 0,
            },
            reset_after: if self.count == 0 { 0 } else { end },
            mark: Mark(self.number),
        }
    }

    #[cfg(test)]
    pub(super) fn is_ahead(&self, now: u64) -> bool {
        self.number > now / self.window
    }

    pub(super) fn give_back(&mut self, now: u64, Mark(number): Mark, amount: u64) -> u64 {
        self.turn(now);
        let back = if number == self.number { amount.min(self.count) } else { 0 };
        self.count -= back;
        back
    }

    /// What a script needs to know: limit and window.
    pub(super) fn terms(&self) -> [u64; 4] {
        [self.limit, self.window, 0, 0]
    }

    /// What was charged stands in the current window of the new quota.
    pub(super) fn under(&self, quota: Quota, now: u64) -> Self {
        let new = Self::new(quota);
        let number = if new.window == self.window { self.number } else { now / new.window };
        Self { number, count: self.count, ..new }
    }

    fn turn(&mut self, now: u64) {
        let number = now / self.window;
        // Back into an earlier window: what is charged goes on counting, there.
        if number > self.number {
            self.count = 0;
        }
        self.number = number;
    }
}
