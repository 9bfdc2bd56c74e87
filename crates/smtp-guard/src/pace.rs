//! Log lines under attack: so many a second, and the others as a number.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets a few lines a second through, so that whoever is refused a hundred thousand times does not fill the disk.
#[derive(Debug)]
pub(crate) struct Pace {
    most: u32,
    second: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    begun: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Pace {
    /// So many lines a second.
    pub(crate) const fn new(most: u32) -> Self {
        Self { most, second: Mutex::new(Second { begun: None, said: 0, unsaid: 0 }) }
    }

    /// Whether a line may be written now; and then how many were not since the last one.
    pub(crate) fn may_say(&self, now: Instant) -> Option<u64> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1)) {
            second.begun = Some(now);
            second.said = 0;
        }
        if second.said == self.most {
            second.unsaid += 1;
            return None;
        }
        second.said += 1;
        Some(std::mem::take(&mut second.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_said_each_second_and_the_others_counted() {
        let (pace, begun) = (Pace::new(3), Instant::now());
        let say = |millis| pace.may_say(begun + Duration::from_millis(millis));
        assert_eq!([say(0), say(1), say(2), say(3), say(999)], [Some(0), Some(0), Some(0), None, None]);
        assert_eq!([say(1_000), say(1_000)], [Some(2), Some(0)]);
        assert_eq!(say(500), Some(0), "a clock that steps back begins no new second");
        assert_eq!(say(500), None);
    }
}
