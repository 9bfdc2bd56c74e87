//! The retry policy: a pure decision from outcome, attempt and one random number to a disposition.

use std::num::NonZeroU32;
use std::time::Duration;

use valkey_envelope::DeadReason;

use crate::outcome::{Disposition, Outcome};

/// No delay is longer than this, whoever asks for it: ten years, so that a due time in milliseconds stays exact.
const LONGEST_DELAY: Duration = Duration::from_hours(10 * 366 * 24);

/// How often a failing message is tried, and how long it waits in between.
///
/// The wait before the next attempt is drawn evenly from zero to `min(cap, base * factor^(attempt - 1))`
/// ("full jitter"): consumers that fail together do not come back together.
///
/// It holds no clock and no randomness; both come in as arguments, so the same arguments always give the same answer.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use valkey_receiver::{Disposition, Outcome, RetryPolicy};
///
/// let policy = RetryPolicy::default().with_max_attempts(NonZeroU32::new(2).unwrap());
/// // First attempt failed, the random number says "half of the longest wait":
/// let first = policy.dispose(Outcome::nack("away"), 1, 0.5);
/// assert!(matches!(first, Disposition::Retry { delay, counted: true, .. } if delay == Duration::from_millis(500)));
/// // The second was the last:
/// assert!(matches!(policy.dispose(Outcome::nack("away"), 2, 0.5), Disposition::Dead { .. }));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    max_attempts: NonZeroU32,
    base: Duration,
    factor: f64,
    cap: Duration,
}

/// Four attempts (three retries), one second doubled each time, at most five minutes.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: NonZeroU32::new(4).expect("4 is not 0"),
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_mins(5),
        }
    }
}

impl RetryPolicy {
    /// A policy of `max_attempts` deliveries in all, waiting up to `base * factor^(attempt - 1)` but never longer than
    /// `cap`.
    ///
    /// # Errors
    /// If `factor` is below 1 or not finite, or `cap` is below `base` or above ten years.
    pub fn try_new(
        max_attempts: NonZeroU32,
        base: Duration,
        factor: f64,
        cap: Duration,
    ) -> Result<Self, InvalidRetryPolicy> {
        if !factor.is_finite() || factor < 1.0 {
            return Err(InvalidRetryPolicy::Factor { factor });
        }
        if cap < base {
            return Err(InvalidRetryPolicy::CapBelowBase { cap, base });
        }
        if cap > LONGEST_DELAY {
            return Err(InvalidRetryPolicy::CapTooLong { cap });
        }
        Ok(Self { max_attempts, base, factor, cap })
    }

    /// The same waits with another number of attempts. One attempt means: dead-letter at the first failure.
    #[must_use]
    pub const fn with_max_attempts(mut self, max_attempts: NonZeroU32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Deliveries in all before a failing message becomes a dead letter: `MAX_RETRIES` + 1.
    pub const fn max_attempts(&self) -> NonZeroU32 {
        self.max_attempts
    }

    /// The longest wait after the failed attempt number `attempt` (from 1).
    pub fn ceiling(&self, attempt: u32) -> Duration {
        if self.base.is_zero() {
            // 0 * infinity is no number.
            return Duration::ZERO;
        }
        let doublings = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.powi(doublings);
        if seconds >= self.cap.as_secs_f64() {
            self.cap
        } else {
            Duration::from_secs_f64(seconds).min(self.cap)
        }
    }

    /// The wait after the failed attempt number `attempt` (from 1), for the random number `unit` in `[0, 1)`.
    pub fn backoff(&self, attempt: u32, unit: f64) -> Duration {
        let ceiling = self.ceiling(attempt);
        let unit = if unit.is_nan() { 0.0 } else { unit.clamp(0.0, 1.0) };
        ceiling.mul_f64(unit).min(ceiling)
    }

    /// What becomes of a message whose attempt number `attempt` (from 1) ended with `outcome`.
    ///
    /// A nack's own `retry_after` wins over the backoff; a nack of the last attempt is a dead letter `max_attempts`; a
    /// snooze never counts and never ends.
    pub fn dispose(&self, outcome: Outcome, attempt: u32, unit: f64) -> Disposition {
        match outcome {
            Outcome::Ack => Disposition::Ack,
            Outcome::DeadLetter { reason, error } => Disposition::Dead { reason, error },
            Outcome::Nack { error, .. } if attempt >= self.max_attempts.get() => {
                Disposition::Dead { reason: DeadReason::MaxAttempts, error }
            }
            Outcome::Nack { retry_after, error } => {
                let delay = retry_after.unwrap_or_else(|| self.backoff(attempt, unit)).min(LONGEST_DELAY);
                Disposition::Retry { delay, counted: true, error }
            }
            Outcome::Snooze { retry_after } => {
                Disposition::Retry { delay: retry_after.min(LONGEST_DELAY), counted: false, error: None }
            }
        }
    }
}

/// Why the numbers make no [`RetryPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRetryPolicy {
    /// The waits would shrink.
    #[error("the backoff factor is {factor}; it must be a number from 1.0 on")]
    Factor {
        /// As given.
        factor: f64,
    },
    /// The longest wait is shorter than the first.
    #[error("the longest retry delay ({cap:?}) is below the first one ({base:?})")]
    CapBelowBase {
        /// As given.
        cap: Duration,
        /// As given.
        base: Duration,
    },
    /// The longest wait is beyond what is supported.
    #[error("the longest retry delay ({cap:?}) is above ten years")]
    CapTooLong {
        /// As given.
        cap: Duration,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy::default().with_max_attempts(NonZeroU32::new(attempts).unwrap())
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let seconds: Vec<u64> = (1..=11).map(|attempt| policy(1).ceiling(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn the_last_attempt_dead_letters_with_its_error() {
        let last = policy(3).dispose(Outcome::nack("boom"), 3, 0.0);
        assert_eq!(last, Disposition::Dead { reason: DeadReason::MaxAttempts, error: Some("boom".into()) });
        // Also when the sender's own retries already went beyond it.
        assert!(matches!(policy(3).dispose(Outcome::nack("boom"), 9, 0.0), Disposition::Dead { .. }));
        assert!(matches!(policy(3).dispose(Outcome::nack("boom"), 2, 0.0), Disposition::Retry { .. }));
    }

    #[test]
    fn a_given_delay_wins_but_not_over_the_last_attempt() {
        let nack = Outcome::nack("busy").retry_after(7 * SECOND);
        assert_eq!(
            policy(2).dispose(nack.clone(), 1, 0.9),
            Disposition::Retry { delay: 7 * SECOND, counted: true, error: Some("busy".into()) }
        );
        assert!(matches!(policy(2).dispose(nack, 2, 0.9), Disposition::Dead { .. }));
    }

    #[test]
    fn nonsense_is_refused() {
        let attempts = NonZeroU32::MIN;
        let refuse =
            |base, factor, cap| RetryPolicy::try_new(attempts, base, factor, cap).unwrap_err().to_string();
        assert!(refuse(SECOND, 0.5, SECOND).contains("from 1.0 on"));
        assert!(refuse(SECOND, f64::NAN, SECOND).contains("from 1.0 on"));
        assert!(refuse(SECOND, 2.0, SECOND / 2).contains("below the first one"));
        assert!(refuse(SECOND, 2.0, Duration::MAX).contains("ten years"));
    }

    prop_compose! {
        fn any_policy()(attempts in 1u32.., base in 0u64..10_000_000, factor in 1.0f64..1e6, more in 0u64..300_000_000)
            -> RetryPolicy {
            let base = Duration::from_millis(base);
            RetryPolicy::try_new(NonZeroU32::new(attempts).unwrap(), base, factor, base + Duration::from_millis(more))
                .unwrap()
        }
    }

    proptest! {
        #[test]
        fn every_wait_is_between_zero_and_the_ceiling(policy in any_policy(), attempt: u32, unit: f64) {
            let ceiling = policy.ceiling(attempt);
            prop_assert!(ceiling <= policy.cap);
            prop_assert!(policy.backoff(attempt, unit) <= ceiling);
            prop_assert!(ceiling <= policy.ceiling(attempt.saturating_add(1)), "the ceiling never shrinks");
        }

        #[test]
        fn more_luck_is_never_a_longer_wait(policy in any_policy(), attempt: u32, a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(policy.backoff(attempt, low) <= policy.backoff(attempt, high));
        }

        #[test]
        fn a_snooze_never_counts_and_never_ends(policy in any_policy(), attempt: u32, delay in any::<Duration>()) {
            let disposition = policy.dispose(Outcome::snooze(delay), attempt, 0.5);
            let Disposition::Retry { delay: given, counted: false, error: None } = disposition else {
                return Err(TestCaseError::fail("a snooze is retried, uncounted"));
            };
            prop_assert_eq!(given, delay.min(LONGEST_DELAY));
        }

        #[test]
        fn a_nack_ends_exactly_at_the_last_attempt(policy in any_policy(), attempt in 1u32.., unit in 0.0f64..1.0) {
            let dead = matches!(policy.dispose(Outcome::nack("x"), attempt, unit), Disposition::Dead { .. });
            prop_assert_eq!(dead, attempt >= policy.max_attempts().get());
        }

        /// The whole life of a message that always fails, put off now and then, counted as the scripts count.
        #[test]
        fn what_always_fails_is_delivered_max_attempts_times_and_snoozes_in_between(
            attempts in 1u32..40,
            put_off in proptest::collection::vec(any::<bool>(), 80),
            unit in 0.0f64..1.0,
        ) {
            let (policy, mut failed, mut put_off) = (policy(attempts), 0, put_off.into_iter());
            let reason = loop {
                let snooze = put_off.next().unwrap_or(false);
                let outcome = if snooze { Outcome::snooze(SECOND) } else { Outcome::nack("x") };
                let disposition = policy.dispose(outcome, failed + 1, unit);
                failed += u32::from(!snooze);
                match disposition {
                    Disposition::Retry { counted, .. } => prop_assert_eq!(counted, !snooze),
                    Disposition::Dead { reason, .. } => break reason,
                    other => return Err(TestCaseError::fail(format!("neither tried again nor dead: {other:?}"))),
                }
            };
            prop_assert_eq!((failed, reason), (attempts, DeadReason::MaxAttempts));
        }

        /// Multiplied step by step, as one would by hand.
        #[test]
        fn the_ceiling_is_the_base_times_the_factor_each_time(policy in any_policy(), attempt in 1u32..50) {
            let cap = policy.cap.as_secs_f64();
            let grown = (1..attempt).fold(policy.base.as_secs_f64(), |wait, _| (wait * policy.factor).min(cap));
            let ceiling = policy.ceiling(attempt).as_secs_f64();
            prop_assert!((ceiling - grown).abs() <= 1e-9 * grown.max(1.0), "{ceiling} is not {grown}");
        }

        /// A dead letter is the handler's own decision, with its own reason, or a nack too many; never anything else.
        #[test]
        fn nothing_dies_without_a_reason(policy in any_policy(), attempt in 1u32.., unit: f64, delay in any::<Duration>()) {
            let last = attempt >= policy.max_attempts().get();
            let rejected = Outcome::DeadLetter { reason: DeadReason::Rejected, error: None };
            for (outcome, expected) in [
                (Outcome::Ack, None),
                (Outcome::snooze(delay), None),
                (rejected, Some(DeadReason::Rejected)),
                (Outcome::nack("x"), last.then_some(DeadReason::MaxAttempts)),
                (Outcome::nack("x").retry_after(delay), last.then_some(DeadReason::MaxAttempts)),
            ] {
                let died = match policy.dispose(outcome, attempt, unit) {
                    Disposition::Dead { reason, .. } => Some(reason),
                    _ => None,
                };
                prop_assert_eq!(died, expected);
            }
        }

        #[test]
        fn the_waits_of_one_attempt_use_the_whole_range(policy in any_policy(), attempt in 1u32..64) {
            prop_assert_eq!(policy.backoff(attempt, 0.0), Duration::ZERO);
            let ceiling = policy.ceiling(attempt);
            prop_assert!(policy.backoff(attempt, 0.999) >= ceiling.mul_f64(0.998));
        }
    }
}
