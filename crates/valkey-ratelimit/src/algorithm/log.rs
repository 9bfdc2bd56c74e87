//! `sliding_log`: when each unit of cost was charged.

use std::collections::VecDeque;

use super::{Answer, Ask, Mark};
use crate::quota::Quota;

/// The instants of all charges within the window, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    limit: u64,
    window: u64,
    charges: VecDeque<u64>,
}

impl Log {
    pub(super) fn new(quota: Quota) -> Self {
        Self { limit: quota.limit(), window: quota.window_us(), charges: VecDeque::new() }
    }

    pub(super) fn ask(&mut self, now: u64, ask: Ask) -> Answer {
        self.trim(now);
        let granted = ask.fit(self.limit.saturating_sub(self.count()));
        let charge = granted * ask.cost;
        // A clock that stepped back: charges ahead of it stay where they are, and go on counting.
        let place = self.charges.partition_point(|&at| at <= now);
        for _ in 0..charge {
            self.charges.insert(place, now);
        }
        let missing = (self.count() + ask.cost).saturating_sub(self.limit);
        Answer {
            granted,
            remaining: self.limit.saturating_sub(self.count()),
            next_after: match missing {
                _ if ask.cost > self.limit => Answer::NEVER,
                0 => 0,
                // The last of those that have to go.
                _ => self.charges[missing as usize - 1] + self.window - now,
            },
            reset_after: self.charges.back().map_or(0, |last| last + self.window - now),
            mark: Mark(now),
        }
    }

    pub(super) fn give_back(&mut self, now: u64, Mark(charged): Mark, amount: u64) -> u64 {
        self.trim(now);
        let first = self.charges.partition_point(|&at| at < charged);
        let found = self.charges.range(first..).take_while(|&&at| at == charged).count() as u64;
        let back = found.min(amount);
        self.charges.drain(first..first + back as usize);
        back
    }

    fn count(&self) -> u64 {
        self.charges.len() as u64
    }

    fn trim(&mut self, now: u64) {
        let gone = self.charges.partition_point(|&at| at + self.window <= now);
        self.charges.drain(..gone);
    }
}
