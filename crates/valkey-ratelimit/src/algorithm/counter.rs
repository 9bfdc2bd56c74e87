//! `sliding_counter`: this window and the one before, of which the part that still counts is estimated.

use super::ticks::Ticks;
use super::{Answer, Ask, Mark};
use crate::quota::Quota;

/// What was charged in this window, which begins at a multiple of its length, and in the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    limit: u64,
    ticks: Ticks,
    /// The length of a window in ticks.
    window: u64,
    /// The number of the current window.
    number: u64,
    previous: u64,
    current: u64,
}

impl Counter {
    pub(super) fn new(quota: Quota) -> Self {
        // The largest product is that of the estimate: twice the limit, times the window.
        let ticks = Ticks::for_product(2 * quota.limit(), quota.window_us());
        let window = ticks.length(quota.window_us());
        Self { limit: quota.limit(), ticks, window, number: 0, previous: 0, current: 0 }
    }

    pub(super) fn ask(&mut self, now: u64, ask: Ask) -> Answer {
        let elapsed = self.turn(now);
        let granted = ask.fit(self.room(elapsed));
        self.current += granted * ask.cost;
        let begin = self.number * self.window;
        let full = match (self.current, self.previous) {
            (0, 0) => 0,
            (0, _) => self.ticks.until(begin + self.window, now),
            _ => self.ticks.until(begin + 2 * self.window, now),
        };
        Answer {
            granted,
            remaining: self.room(elapsed),
            next_after: self.room_after(now, elapsed, ask.cost),
            reset_after: full,
            mark: Mark(self.number),
        }
    }

    #[cfg(test)]
    pub(super) fn is_ahead(&self, now: u64) -> bool {
        self.number > self.ticks.instant(now) / self.window
    }

    pub(super) fn give_back(&mut self, now: u64, Mark(number): Mark, amount: u64) -> u64 {
        self.turn(now);
        let charged = match self.number.checked_sub(number) {
            Some(0) => &mut self.current,
            Some(1) => &mut self.previous,
            _ => return 0,
        };
        let back = amount.min(*charged);
        *charged -= back;
        back
    }

    /// What a script needs to know: limit, window in ticks, microseconds of a tick.
    pub(super) fn terms(&self) -> [u64; 4] {
        [self.limit, self.window, self.ticks.us(), 0]
    }

    /// All that was charged counts as of now: not for longer than under this quota, nor for less than under the new one.
    pub(super) fn under(&self, quota: Quota, now: u64) -> Self {
        let new = Self::new(quota);
        if (new.window, new.ticks) == (self.window, self.ticks) {
            return Self { limit: new.limit, ..self.clone() };
        }
        let current = (self.previous + self.current).min(u64::from(u32::MAX));
        Self { number: new.ticks.instant(now) / new.window, current, ..new }
    }

    /// Goes on to the window of `now`, and says how far into it that is.
    fn turn(&mut self, now: u64) -> u64 {
        let tick = self.ticks.instant(now);
        let number = tick / self.window;
        match number.checked_sub(self.number) {
            Some(1) => (self.previous, self.current) = (self.current, 0),
            Some(0) | None => {}
            Some(_) => (self.previous, self.current) = (0, 0),
        }
        self.number = number;
        tick % self.window
    }

    fn room(&self, elapsed: u64) -> u64 {
        let used = self.previous * (self.window - elapsed) + self.current * self.window;
        (self.limit * self.window).saturating_sub(used) / self.window
    }

    fn room_after(&self, now: u64, elapsed: u64, cost: u64) -> u64 {
        if cost > self.limit {
            return Answer::NEVER;
        }
        if self.room(elapsed) >= cost {
            return 0;
        }
        let begin = self.number * self.window;
        // How far into a window the estimate of the one before has shrunk to what leaves room.
        let shrunk =
            |before: u64, left: u64| self.window - (left * self.window / before.max(1)).min(self.window);
        let tick = match self.limit.checked_sub(self.current + cost) {
            Some(left) => begin + shrunk(self.previous, left),
            None => begin + self.window + shrunk(self.current, self.limit - cost),
        };
        self.ticks.until(tick, now)
    }
}
