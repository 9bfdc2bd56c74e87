//! `sliding_log`: when each unit of cost was charged.

use std::collections::VecDeque;

use super::{Answer, Ask, Mark};
use crate::quota::Quota;

/// The instants of all charges that may still count, the oldest first.
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
        let granted = ask.fit(self.limit.saturating_sub(self.count(now)));
        if granted > 0 {
            self.charges.drain(..self.expired(now));
            // A clock that stepped back: charges ahead of it stay where they are, and go on counting.
            let place = self.charges.partition_point(|&at| at <= now);
            for _ in 0..granted * ask.cost {
                self.charges.insert(place, now);
            }
        }
        let missing = (self.count(now) + ask.cost).saturating_sub(self.limit) as usize;
        Answer {
            granted,
            remaining: self.limit.saturating_sub(self.count(now)),
            next_after: match missing {
                _ if ask.cost > self.limit => Answer::NEVER,
                0 => 0,
                // The last of those that have to go.
                _ => self.charges[self.expired(now) + missing - 1] + self.window - now,
            },
            reset_after: self.charges.back().map_or(0, |last| (last + self.window).saturating_sub(now)),
            mark: Mark(now),
        }
    }

    pub(super) fn give_back(&mut self, now: u64, Mark(charged): Mark, amount: u64) -> u64 {
        self.charges.drain(..self.expired(now));
        let first = self.charges.partition_point(|&at| at < charged);
        let found = self.charges.range(first..).take_while(|&&at| at == charged).count() as u64;
        let back = found.min(amount);
        self.charges.drain(first..first + back as usize);
        back
    }

    /// What a script needs to know: limit and window.
    pub(super) fn terms(&self) -> [u64; 4] {
        [self.limit, self.window, 0, 0]
    }

    /// The same charges under another quota.
    pub(super) fn under(&self, quota: Quota) -> Self {
        Self { charges: self.charges.clone(), ..Self::new(quota) }
    }

    fn count(&self, now: u64) -> u64 {
        (self.charges.len() - self.expired(now)) as u64
    }

    /// How many have left the window.
    fn expired(&self, now: u64) -> usize {
        self.charges.partition_point(|&at| at + self.window <= now)
    }
}
