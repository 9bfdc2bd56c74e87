//! A question to the store that is under way, and what it says of how the store does.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Failed;
use crate::outage::{Machine, Outcome, Turn};

/// A question that is under way. Whoever drops it tells nothing of the store, but frees the place of a probe.
pub(crate) struct Asking<'a> {
    outage: &'a Mutex<Machine>,
    turn: Option<Turn>,
}

impl<'a> Asking<'a> {
    /// Without a turn nothing is learnt from it.
    pub(crate) fn new(outage: &'a Mutex<Machine>, turn: Option<Turn>) -> Self {
        Self { outage, turn }
    }

    pub(crate) fn settle<T>(mut self, answer: &Result<T, Failed>, took: Duration) {
        let Some(turn) = self.turn.take() else { return };
        let outcome = match answer {
            Err(failed) if failed.is_of_the_store() => Outcome::Failed,
            _ => Outcome::Answered { took },
        };
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.settle(&turn, outcome, Instant::now(), rand::random());
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.outage.lock().unwrap_or_else(PoisonError::into_inner).give_up(&turn);
        }
    }
}
