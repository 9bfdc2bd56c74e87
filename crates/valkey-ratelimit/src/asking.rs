//! Who may ask the store, and what questions tell of how it does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Failed;
use crate::outage::{Health, Machine, Outcome, Route, Turn};

/// A [`Machine`] that many ask. **While everybody may go to the store nobody waits for another to be told so.**
pub(crate) struct Outage {
    machine: Mutex<Machine>,
    /// The period of the machine in which everybody may, or [`NOT_ALL`].
    all_may: AtomicU64,
}

/// A question that is under way. Whoever drops it tells nothing of the store, but frees the place of a probe.
pub(crate) struct Asking<'a> {
    outage: &'a Outage,
    turn: Option<Turn>,
}

/// No period has this number.
const NOT_ALL: u64 = u64::MAX;

impl Outage {
    /// Of a store that is asked for so long at most.
    pub(crate) fn new(deadline: Duration) -> Self {
        let machine = Machine::new(deadline, Instant::now());
        Self { all_may: AtomicU64::new(all_may(&machine)), machine: Mutex::new(machine) }
    }

    pub(crate) fn health(&self) -> Health {
        self.machine().health()
    }

    /// Whether one may ask. `dice` decides while some may and others may not, from 0 to 1, below 1.
    pub(crate) fn route(&self, now: Instant, dice: impl FnOnce() -> f64) -> Option<Turn> {
        let period = self.all_may.load(Ordering::Acquire);
        if period != NOT_ALL {
            return Some(Turn::of(period));
        }
        let mut machine = self.machine();
        let route = machine.route(now, dice());
        self.all_may.store(all_may(&machine), Ordering::Release);
        match route {
            Route::Store(turn) => Some(turn),
            Route::Local => None,
        }
    }

    /// What came of questions that were answered by one call.
    pub(crate) fn settle<T>(
        &self,
        turns: impl IntoIterator<Item = Turn>,
        answer: &Result<T, Failed>,
        took: Duration,
    ) {
        let outcome = match answer {
            Err(failed) if failed.is_of_the_store() => Outcome::Failed,
            _ => Outcome::Answered { took },
        };
        let now = Instant::now();
        let mut machine = self.machine();
        for turn in turns {
            machine.settle(turn, outcome, now, rand::random);
        }
        self.all_may.store(all_may(&machine), Ordering::Release);
    }

    /// A question that nobody waits for any more.
    pub(crate) fn give_up(&self, turn: Turn) {
        self.machine().give_up(turn);
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all_may(machine: &Machine) -> u64 {
    machine.period_of_all().unwrap_or(NOT_ALL)
}

impl<'a> Asking<'a> {
    /// Without a turn nothing is learnt from it.
    pub(crate) fn new(outage: &'a Outage, turn: Option<Turn>) -> Self {
        Self { outage, turn }
    }

    pub(crate) fn settle<T>(mut self, answer: &Result<T, Failed>, took: Duration) {
        self.outage.settle(self.turn.take(), answer, took);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.outage.give_up(turn);
        }
    }
}
