//! Whom the rate has refused lately.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use valkey_ratelimit::Subject;

/// So many are remembered: who is forgotten only costs a round trip more.
const MOST: usize = 16_384;

/// Until when those are refused who were refused.
#[derive(Debug, Default)]
pub(super) struct Lately {
    until: Mutex<HashMap<Subject, Instant>>,
}

impl Lately {
    pub(super) fn note(&self, subject: &Subject, until: Instant) {
        let mut known = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(subject) {
            known.clear();
        }
        known.insert(subject.clone(), until);
    }

    pub(super) fn has(&self, subject: &Subject, now: Instant) -> bool {
        let mut known = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(subject) {
            Some(until) if now < *until => true,
            Some(_) => {
                known.remove(subject);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_was_refused_is_known_until_then_and_there_are_never_too_many() {
        let (lately, now) = (Lately::default(), Instant::now());
        let subject = |number: usize| Subject::text(number.to_string());
        lately.note(&subject(0), now + Duration::from_secs(1));
        assert!(lately.has(&subject(0), now) && !lately.has(&subject(1), now));
        assert!(!lately.has(&subject(0), now + Duration::from_secs(1)));
        assert!(!lately.has(&subject(0), now), "it was forgotten when it was over");
        for number in 0..MOST + 10 {
            lately.note(&subject(number), now + Duration::from_secs(1));
        }
        assert!(lately.until.lock().expect("nobody panicked").len() <= MOST);
        assert!(lately.has(&subject(MOST + 9), now));
    }
}
