//! What a receiver did, told when it has stopped.

use std::fmt;
use std::time::Duration;

/// The books of one receiver, from its start to the end of its drain.
///
/// Displays as one line for the log.
#[must_use = "the report says whether something was aborted or is uncertain"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Finished and removed.
    pub acked: u64,
    /// Given back for another attempt later: nacks and snoozes.
    pub retried: u64,
    /// Kept as dead letters.
    pub dead: u64,
    /// Given back uncounted to the head of the queue: prefetched ones, and those of aborted handlers. At least so many:
    /// where the server gave back and its answer was lost, asking again finds nothing left to count.
    pub handed_back: u64,
    /// Handlers that were stopped because the drain timeout was over. Their messages are among the handed back.
    pub aborted: u64,
    /// Settles whose effect on the server is not known, or was refused because the lease had been lost. These
    /// messages may be delivered again.
    pub uncertain: u64,
    /// From the wish to stop until everything was settled.
    pub duration: Duration,
}

impl DrainReport {
    /// Whether every message taken was settled, none by force and none with doubts.
    pub const fn is_clean(&self) -> bool {
        self.aborted == 0 && self.uncertain == 0
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, retried, dead, handed_back, aborted, uncertain, duration } = self;
        write!(
            f,
            "acked {acked}, retried {retried}, dead {dead}, handed back {handed_back}, aborted {aborted}, \
             uncertain {uncertain}, drained in {duration:.1?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_line() {
        let report = DrainReport {
            acked: 7,
            retried: 1,
            duration: Duration::from_millis(1250),
            ..DrainReport::default()
        };
        assert!(report.is_clean());
        assert_eq!(
            report.to_string(),
            "acked 7, retried 1, dead 0, handed back 0, aborted 0, uncertain 0, drained in 1.2s"
        );
        assert!(!DrainReport { aborted: 1, ..report }.is_clean());
    }
}
