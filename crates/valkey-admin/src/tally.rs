//! How far a verb came.

use std::collections::BTreeMap;

use crate::{error::Error, place::Place};

/// What a verb that works in slices has done, also if it was stopped half-way.
#[derive(Debug, Default)]
#[must_use = "a verb may have been stopped half-way: look at `failed`"]
pub struct Tally {
    /// Messages moved or removed (in a dry run: that would be), by the place they were in.
    pub counts: BTreeMap<Place, u64>,
    /// Messages that were asked for but not there any more: another operator or a consumer was first.
    pub absent: u64,
    /// Messages left where they are, since their stored form cannot be read.
    pub unreadable: u64,
    /// What stopped the verb before its end. All that is counted was done nevertheless.
    pub failed: Option<Error>,
}

// === impl Tally ===

impl Tally {
    /// Messages moved or removed, over all places.
    pub fn done(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The tally of a verb that came to its end, or what stopped it.
    ///
    /// # Errors
    /// What stopped the verb. How far it came is lost with this call.
    pub fn complete(self) -> Result<Self, Error> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    pub(crate) fn add(&mut self, place: Place, count: u64) {
        *self.counts.entry(place).or_default() += count;
    }

    /// Closes the tally: an error before anything was done is just that error.
    pub(crate) fn close(mut self, result: Result<(), Error>) -> Result<Self, Error> {
        match result {
            Ok(()) => Ok(self),
            Err(error) if self.done() == 0 => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Ok(self)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Tally;
    use crate::{error::Error, place::Place};

    #[test]
    fn half_the_work_is_no_plain_error() {
        let fails = || Err(Error::UnexpectedReply("test"));
        assert!(Tally::default().close(fails()).is_err());

        let mut tally = Tally::default();
        tally.add(Place::Redo, 2);
        tally.add(Place::Redo, 1);
        let tally = tally.close(fails()).unwrap();
        assert_eq!(tally.done(), 3);
        assert!(tally.failed.is_some());
        assert!(tally.complete().is_err());
    }
}
