//! What this consumer holds on the server, as far as it knows.

use std::collections::HashMap;

use crate::take::{Claim, Field};

/// From this crash count on a message is a suspect: it may be what killed its consumers.
const SUSPECT_FROM: u32 = 2;

/// The in-flight fields of one epoch.
#[derive(Debug, Default)]
pub(crate) struct Held {
    crashes: HashMap<Field, u32>,
    suspects: usize,
}

impl Held {
    pub(crate) fn insert(&mut self, claim: &Claim) {
        let crashes = claim.frame.crashes;
        if self.crashes.insert(claim.field, crashes).is_none() && crashes >= SUSPECT_FROM {
            self.suspects += 1;
        }
    }

    pub(crate) fn remove(&mut self, field: Field) {
        if self.crashes.remove(&field).is_some_and(|crashes| crashes >= SUSPECT_FROM) {
            self.suspects -= 1;
        }
    }

    /// Forgets what `is_there` does not find.
    pub(crate) fn retain(&mut self, is_there: impl Fn(Field) -> bool) {
        self.crashes.retain(|field, _| is_there(*field));
        self.suspects = self.crashes.values().filter(|crashes| **crashes >= SUSPECT_FROM).count();
    }

    pub(crate) fn contains(&self, field: Field) -> bool {
        self.crashes.contains_key(&field)
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.crashes.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.crashes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.crashes.is_empty()
    }

    /// While a suspect is held nothing joins it: a crash would condemn the newcomers with it.
    pub(crate) fn has_suspect(&self) -> bool {
        self.suspects > 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use valkey_envelope::{Frame, Lane};

    use super::*;

    fn claim(place: u32, crashes: u32) -> Claim {
        let frame = Frame { crashes, attempts: 0, lane: Lane::Normal, raw: "x".into() };
        Claim { field: Field { take: 1, place }, claimed_ms: 0, frame }
    }

    #[test]
    fn suspects_are_counted_once_and_leave_with_their_message() {
        let mut held = Held::default();
        held.insert(&claim(1, 0));
        held.insert(&claim(2, 2));
        held.insert(&claim(2, 2));
        assert!(held.has_suspect());
        assert_eq!(held.len(), 2);
        held.remove(claim(2, 0).field);
        held.remove(claim(2, 0).field);
        assert!(!held.has_suspect());
        assert!(held.contains(claim(1, 0).field));
        assert!(!held.is_empty());
        held.insert(&claim(3, 2));
        held.retain(|field| field != claim(3, 2).field);
        assert!(!held.has_suspect() && held.contains(claim(1, 0).field));
    }
}
