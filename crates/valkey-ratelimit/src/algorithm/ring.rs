//! `sliding_window`: a ring of sub-windows.

use super::{Answer, Ask, Mark};
use crate::quota::Quota;

/// Sub-windows of a window. One more is kept: the oldest, which is only partly within the window, counts whole.
const PARTS: u64 = 60;
const CELLS: usize = PARTS as usize + 1;

/// What was charged in each of the last 61 sub-windows, the oldest first.
///
/// **Any stretch of a window's length lies within 61 sub-windows that follow one another, and when the last request in it was
/// granted, what stood in those was at most the limit.** So no stretch holds more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    limit: u64,
    /// The length of a sub-window in microseconds, rounded up, so that 60 of them are no less than a window.
    width: u64,
    /// The number of the last cell's sub-window since the beginning of Unix time.
    newest: u64,
    /// The sum of the cells.
    total: u64,
    cells: [u64; CELLS],
}

impl Ring {
    pub(super) fn new(quota: Quota) -> Self {
        let width = quota.window_us().div_ceil(PARTS);
        Self { limit: quota.limit(), width, newest: 0, total: 0, cells: [0; CELLS] }
    }

    pub(super) fn ask(&mut self, now: u64, ask: Ask) -> Answer {
        self.turn(now);
        let granted = ask.fit(self.limit.saturating_sub(self.total));
        let charge = granted * ask.cost;
        self.cells[CELLS - 1] += charge;
        self.total += charge;
        let remaining = self.limit.saturating_sub(self.total);
        Answer {
            granted,
            remaining,
            next_after: self.room_after(now, ask.cost),
            reset_after: self
                .cells
                .iter()
                .rposition(|&cell| cell > 0)
                .map_or(0, |last| self.leaves(last) - now),
            mark: Mark(self.newest),
        }
    }

    #[cfg(test)]
    pub(super) fn is_ahead(&self, now: u64) -> bool {
        self.newest > now / self.width
    }

    pub(super) fn give_back(&mut self, now: u64, Mark(number): Mark, amount: u64) -> u64 {
        self.turn(now);
        let Some(age) = self.newest.checked_sub(number) else { return 0 };
        let Some(cell) = (CELLS - 1).checked_sub(age as usize) else { return 0 };
        let back = self.cells[cell].min(amount);
        self.cells[cell] -= back;
        self.total -= back;
        back
    }

    /// What a script needs to know: limit, width, bytes of a count.
    pub(super) fn terms(&self) -> [u64; 4] {
        [self.limit, self.width, self.count_bytes(), 0]
    }

    /// The same charges under another quota, each where it would stand had it come as late as it can have.
    pub(super) fn under(&self, quota: Quota, now: u64) -> Self {
        let mut new = Self::new(quota);
        if (new.width, new.count_bytes()) == (self.width, self.count_bytes()) {
            return Self { limit: new.limit, ..self.clone() };
        }
        new.newest = now / new.width;
        for (cell, &charged) in self.cells.iter().enumerate().filter(|(_, charged)| **charged > 0) {
            let number = self.newest + cell as u64 + 1 - CELLS as u64;
            let moved = (((number + 1) * self.width - 1) / new.width).min(new.newest);
            if let Some(cell) = (CELLS - 1).checked_sub((new.newest - moved) as usize) {
                let before = new.cells[cell];
                new.cells[cell] = (before + charged).min((1 << (8 * new.count_bytes())) - 1);
                new.total += new.cells[cell] - before;
            }
        }
        new
    }

    fn count_bytes(&self) -> u64 {
        if u16::try_from(self.limit).is_ok() { 2 } else { 4 }
    }

    /// Lets go of what is no longer within the window.
    fn turn(&mut self, now: u64) {
        let current = now / self.width;
        let steps = (current.saturating_sub(self.newest) as usize).min(CELLS);
        self.total -= self.cells[..steps].iter().sum::<u64>();
        self.cells.copy_within(steps.., 0);
        self.cells[CELLS - steps..].fill(0);
        self.newest = current;
    }

    /// When what stands in this cell no longer counts.
    fn leaves(&self, cell: usize) -> u64 {
        (self.newest + 1 + cell as u64) * self.width
    }

    fn room_after(&self, now: u64, cost: u64) -> u64 {
        if cost > self.limit {
            return Answer::NEVER;
        }
        let mut missing = (self.total + cost).saturating_sub(self.limit);
        for (cell, charged) in self.cells.iter().enumerate() {
            if missing == 0 {
                return if cell == 0 { 0 } else { self.leaves(cell - 1) - now };
            }
            missing = missing.saturating_sub(*charged);
        }
        self.leaves(CELLS - 1) - now
    }
}
