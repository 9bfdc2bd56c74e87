//! What goes on going wrong is said at once, and then now and then: a log that repeats it every second hides all else.

use std::time::{Duration, Instant};

/// How long it is not said again.
const AGAIN: Duration = Duration::from_secs(30);

/// One thing that goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    said: Option<Instant>,
}

impl Complaint {
    /// Whether to say it now.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.said.is_none_or(|said| now.saturating_duration_since(said) >= AGAIN);
        if is_due {
            self.said = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_every_half_minute() {
        let (mut complaint, begun) = (Complaint::default(), Instant::now());
        let said: Vec<u64> =
            (0..90).filter(|second| complaint.is_due(begun + Duration::from_secs(*second))).collect();
        assert_eq!(said, [0, 30, 60]);
    }
}
