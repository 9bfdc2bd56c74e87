//! The retry decision of one message: a pure function of what happened so far.

use std::time::Duration;

use crate::on_full::OnFull;

/// The first and the longest pause between two questions "is there room now?".
const ROOM_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// No pause between two tries is longer, however many there were.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);

/// How often, and after which pause, a send is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryRules {
    pub(crate) max_retries: u32,
    pub(crate) delay: Duration,
    pub(crate) on_full: OnFull,
    /// With dedup on, a try of unknown outcome may be repeated: the second one is recognised.
    pub(crate) deduplicated: bool,
}

/// How one try ended, as far as retrying is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// The queue answered for this message: accepted, or known already.
    Settled,
    /// The queue is full.
    Full,
    /// The server is at its memory limit. It had no effect.
    NoMemory,
    /// It had no effect and trying later may help.
    Refused,
    /// It had no effect and trying again will not help.
    Hopeless,
    /// It may have happened in part; trying again would do that part twice.
    Stranded,
    /// It may or may not have happened.
    Unknown,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Report how the last try ended.
    Finish,
    /// Report that the outcome is unknown, although the last try itself may have ended clearly.
    FinishUnknown,
    /// Drop the message, as the policy says.
    Shed,
    /// Try again after this pause.
    Wait(Duration),
}

/// What has happened to one message (or to a group that is tried together) so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    retries: u32,
    refusals_for_room: u32,
    /// An earlier try may have reached the queue; only an answer about this very message clears it.
    unknown: bool,
}

impl Progress {
    /// Decides after a try. `waited` is the time since the first try, `unit` a random number in `0.0..1.0`.
    pub(crate) fn after(&mut self, outcome: Try, rules: &RetryRules, waited: Duration, unit: f64) -> Step {
        match outcome {
            Try::Settled => Step::Finish,
            // The script looks for the id before it looks for room: a full queue that does not know the id
            // proves that no earlier try reached it.
            Try::Full => {
                self.unknown = false;
                self.wait_for_room(rules.on_full, waited, unit)
            }
            Try::Unknown => {
                self.unknown = true;
                if rules.deduplicated { self.retry(rules, unit) } else { Step::FinishUnknown }
            }
            // A full store is a full queue to those who block; dropping or refusing for it is not theirs to choose.
            Try::NoMemory => match rules.on_full {
                OnFull::Block { .. } => match self.wait_for_room(rules.on_full, waited, unit) {
                    Step::Finish => self.give_up(),
                    step => step,
                },
                OnFull::Error | OnFull::Shed => self.give_up(),
            },
            Try::Stranded => Step::FinishUnknown,
            Try::Refused => self.retry(rules, unit),
            Try::Hopeless => self.give_up(),
        }
    }

    fn retry(&mut self, rules: &RetryRules, unit: f64) -> Step {
        if self.retries >= rules.max_retries {
            return self.give_up();
        }
        let pause = rules.delay.saturating_mul(1 << self.retries.min(16)).min(MAX_RETRY_PAUSE);
        self.retries += 1;
        Step::Wait(jittered(pause, unit))
    }

    fn wait_for_room(&mut self, policy: OnFull, waited: Duration, unit: f64) -> Step {
        match policy {
            OnFull::Error => Step::Finish,
            OnFull::Shed => Step::Shed,
            OnFull::Block { timeout } => {
                let (first, longest) = ROOM_PAUSE;
                let pause =
                    jittered(first.saturating_mul(1 << self.refusals_for_room.min(16)).min(longest), unit);
                self.refusals_for_room += 1;
                match timeout.map(|timeout| timeout.saturating_sub(waited)) {
                    Some(Duration::ZERO) => Step::Finish,
                    // The last question falls on the deadline, not before it.
                    Some(left) => Step::Wait(pause.min(left)),
                    None => Step::Wait(pause),
                }
            }
        }
    }

    fn give_up(&self) -> Step {
        if self.unknown { Step::FinishUnknown } else { Step::Finish }
    }
}

/// Between half of `pause` and all of it, so that senders refused together do not come back together.
fn jittered(pause: Duration, unit: f64) -> Duration {
    pause.mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> RetryRules {
        RetryRules { max_retries: 3, delay: SECOND, on_full: OnFull::Error, deduplicated: false }
    }

    #[test]
    fn refused_is_tried_again_with_doubling_pauses_and_then_reported() {
        let mut progress = Progress::default();
        let steps: Vec<Step> =
            (0..4).map(|_| progress.after(Try::Refused, &rules(), Duration::ZERO, 1.0)).collect();
        assert_eq!(steps, [Step::Wait(SECOND), Step::Wait(SECOND * 2), Step::Wait(SECOND * 4), Step::Finish]);
    }

    #[test]
    fn unknown_is_not_repeated_without_dedup() {
        assert_eq!(
            Progress::default().after(Try::Unknown, &rules(), Duration::ZERO, 0.5),
            Step::FinishUnknown
        );
    }

    #[test]
    fn a_clear_refusal_after_an_unknown_try_stays_unknown() {
        let rules = RetryRules { deduplicated: true, ..rules() };
        let mut progress = Progress::default();
        assert!(matches!(progress.after(Try::Unknown, &rules, Duration::ZERO, 0.5), Step::Wait(_)));
        assert_eq!(progress.after(Try::Hopeless, &rules, Duration::ZERO, 0.5), Step::FinishUnknown);
    }

    #[test]
    fn a_full_queue_that_does_not_know_the_id_clears_the_doubt() {
        let rules = RetryRules { deduplicated: true, ..rules() };
        let mut progress = Progress::default();
        assert!(matches!(progress.after(Try::Unknown, &rules, Duration::ZERO, 0.5), Step::Wait(_)));
        assert_eq!(progress.after(Try::Full, &rules, Duration::ZERO, 0.5), Step::Finish);
    }

    #[test]
    fn blocking_ends_at_its_deadline() {
        let rules = RetryRules { on_full: OnFull::Block { timeout: Some(SECOND) }, ..rules() };
        let mut progress = Progress::default();
        let left = Duration::from_millis(3);
        assert_eq!(progress.after(Try::Full, &rules, SECOND.saturating_sub(left), 1.0), Step::Wait(left));
        assert_eq!(progress.after(Try::Full, &rules, SECOND, 1.0), Step::Finish);
    }

    proptest! {
        #[test]
        fn retries_are_bounded_and_pauses_stay_in_range(
            outcomes in prop::collection::vec(prop_oneof![Just(Try::Refused), Just(Try::Unknown)], 1..40),
            max_retries in 0_u32..6,
            delay_ms in 1_u64..100_000,
            unit in 0.0_f64..1.0,
        ) {
            let rules = RetryRules {
                max_retries, delay: Duration::from_millis(delay_ms), on_full: OnFull::Shed, deduplicated: true,
            };
            let mut progress = Progress::default();
            let mut waits = 0;
            let mut doubt = false;
            for outcome in outcomes {
                doubt |= outcome == Try::Unknown;
                match progress.after(outcome, &rules, Duration::ZERO, unit) {
                    Step::Wait(pause) => {
                        waits += 1;
                        prop_assert!(pause <= MAX_RETRY_PAUSE);
                        prop_assert!(pause >= rules.delay.min(MAX_RETRY_PAUSE).mul_f64(0.499));
                    }
                    Step::Finish => { prop_assert!(!doubt); break }
                    Step::FinishUnknown => { prop_assert!(doubt); break }
                    Step::Shed => prop_assert!(false, "nothing was full"),
                }
            }
            prop_assert!(waits <= max_retries);
        }
    }
}
