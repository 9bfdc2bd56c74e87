//! The judgement: a pure function over the facts.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{DurabilityRefusal, SyncFacts, SyncPolicy, Trial};

/// Writes of the trial under `everysec`, each of which waits to be called synced.
pub(super) const TRIAL_WRITES: u32 = 4;
/// At most so many of them can have been synced with less than a second between: the first finds its sync due, and
/// servers that count in whole seconds may make the second interval short.
const FREE_WRITES: u32 = 2;
/// With fewer ticks a second, four answers at four ticks take as long as four syncs.
const LEAST_HZ: u32 = 10;

impl SyncFacts {
    /// Whether the server may be believed when it says that a write is on its disk, and under which policy.
    ///
    /// Under `always` it answers after the sync. Under `everysec` only a trial can tell: so many writes, each of which
    /// waited for a sync, cannot honestly take less than so many seconds.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self) -> Result<SyncPolicy, DurabilityRefusal> {
        if !self.can_wait || self.trial == Some(Trial::Unsupported) {
            return Err(DurabilityRefusal::Unsupported { version: self.version.clone() });
        }
        if self.append_only == Some(false) {
            return Err(DurabilityRefusal::NoAppendOnlyFile);
        }
        let policy = self.policy.clone().map_err(|why| DurabilityRefusal::NotTold { why })?;
        if policy == SyncPolicy::Never {
            return Err(DurabilityRefusal::NeverSynced);
        }
        if let Some(Trial::NotInTime { why }) = &self.trial {
            return Err(DurabilityRefusal::NotAnswered { why: why.clone() });
        }
        if policy == SyncPolicy::Always {
            return Ok(policy);
        }
        match self.trial {
            Some(Trial::Acknowledged { writes, took }) => {
                let honest = Duration::from_secs(writes.saturating_sub(FREE_WRITES).into());
                if took < honest {
                    Err(DurabilityRefusal::AnswersEarly { writes, took })
                } else if writes < TRIAL_WRITES || self.hz.is_none_or(|hz| hz < LEAST_HZ) {
                    Err(DurabilityRefusal::CannotTell { hz: self.hz })
                } else {
                    Ok(policy)
                }
            }
            _ => Err(DurabilityRefusal::Untried),
        }
    }

    /// Whether so many replicas can have a message; true if the server does not say how many there are.
    ///
    /// # Errors
    /// How many there are instead.
    pub fn judge_replicas(&self, wanted: NonZeroU32) -> Result<(), DurabilityRefusal> {
        match self.replicas {
            Some(connected) if connected < wanted.get() => {
                Err(DurabilityRefusal::TooFewReplicas { connected, wanted })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(policy: SyncPolicy, trial: Option<Trial>) -> SyncFacts {
        SyncFacts {
            append_only: Some(true),
            policy: Ok(policy),
            hz: Some(10),
            version: Some("valkey 8.0.1".into()),
            can_wait: true,
            replicas: Some(1),
            trial,
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "it stands where a reply that may be missing is wanted")]
    fn acknowledged(ms: u64) -> Option<Trial> {
        Some(Trial::Acknowledged { writes: TRIAL_WRITES, took: Duration::from_millis(ms) })
    }

    #[test]
    fn always_is_believed_with_and_without_a_trial() {
        assert_eq!(facts(SyncPolicy::Always, None).judge(), Ok(SyncPolicy::Always));
        assert_eq!(facts(SyncPolicy::Always, acknowledged(2)).judge(), Ok(SyncPolicy::Always));
    }

    #[test]
    fn once_a_second_is_believed_only_of_a_server_that_takes_its_time() {
        // What 8.0.1, 8.1.1 and 9.1.2 do: an answer at each tick, 100 ms apart, or at once.
        for ms in [2, 200, 410, 1_999] {
            let refusal = facts(SyncPolicy::EverySecond, acknowledged(ms)).judge().unwrap_err();
            assert!(matches!(refusal, DurabilityRefusal::AnswersEarly { .. }), "{refusal}");
        }
        assert_eq!(facts(SyncPolicy::EverySecond, acknowledged(3_050)).judge(), Ok(SyncPolicy::EverySecond));
        assert_eq!(facts(SyncPolicy::EverySecond, None).judge(), Err(DurabilityRefusal::Untried));
    }

    #[test]
    fn slow_ticks_look_like_slow_syncs_and_are_not_taken_for_them() {
        for hz in [None, Some(1), Some(9)] {
            let facts = SyncFacts { hz, ..facts(SyncPolicy::EverySecond, acknowledged(4_000)) };
            assert_eq!(facts.judge(), Err(DurabilityRefusal::CannotTell { hz }));
        }
    }

    #[test]
    fn each_reason_is_told_with_its_remedy() {
        let good = facts(SyncPolicy::Always, None);
        let table = [
            (SyncFacts { append_only: Some(false), ..good.clone() }, "append-only", "appendonly to `yes`"),
            (SyncFacts { policy: Ok(SyncPolicy::Never), ..good.clone() }, "`no`", "`always`"),
            (SyncFacts { policy: Err("NOPERM".into()), ..good.clone() }, "NOPERM", "+config|get"),
            (
                SyncFacts { version: Some("redis 7.0.15".into()), can_wait: false, ..good.clone() },
                "redis 7.0.15 has no WAITAOF",
                "7.2",
            ),
            (SyncFacts { trial: Some(Trial::Unsupported), ..good.clone() }, "no WAITAOF", "`replicated(N)`"),
            (
                SyncFacts { trial: Some(Trial::NotInTime { why: "2s".into() }), ..good.clone() },
                "2s",
                "nothing of yours was sent (look at INFO replication and INFO persistence)",
            ),
            (facts(SyncPolicy::EverySecond, acknowledged(300)), "appendfsync is `everysec`", "`always`"),
            (facts(SyncPolicy::EverySecond, acknowledged(300)), "4 writes", "`replicated(N)`"),
        ];
        for (facts, what, remedy) in table {
            let text = facts.judge().unwrap_err().to_string();
            assert!(text.contains(what) && text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn replicas_are_counted() {
        let wanted = NonZeroU32::new(2).unwrap();
        let refusal = facts(SyncPolicy::Always, None).judge_replicas(wanted).unwrap_err();
        assert_eq!(refusal, DurabilityRefusal::TooFewReplicas { connected: 1, wanted });
        assert!(refusal.is_transient() && refusal.to_string().starts_with("1 replicas are connected, 2 are"));
        let unknown = SyncFacts { replicas: None, ..facts(SyncPolicy::Always, None) };
        assert_eq!(unknown.judge_replicas(wanted), Ok(()));
    }

    proptest! {
        /// Nothing is promised unless the server said `always`, or took its time for a full trial.
        #[test]
        fn no_promise_without_a_reason(
            append_only in prop::option::of(any::<bool>()),
            policy in prop::sample::select(vec![
                Ok(SyncPolicy::Always), Ok(SyncPolicy::EverySecond), Ok(SyncPolicy::Never), Err("no".to_owned()),
            ]),
            hz in prop::option::of(1_u32..500),
            can_wait in any::<bool>(),
            trial in prop::option::of((0_u32..8, 0_u64..10_000)),
        ) {
            let trial = trial.map(|(writes, ms)| Trial::Acknowledged { writes, took: Duration::from_millis(ms) });
            let facts = SyncFacts { append_only, policy, hz, can_wait, trial, ..facts(SyncPolicy::Always, None) };
            if let Ok(policy) = facts.judge() {
                prop_assert!(can_wait && append_only != Some(false));
                prop_assert_eq!(Ok(policy), facts.policy.clone());
                let slow = matches!(facts.trial, Some(Trial::Acknowledged { writes, took })
                    if writes >= TRIAL_WRITES && took >= Duration::from_secs((writes - FREE_WRITES).into()));
                prop_assert!(policy == SyncPolicy::Always || (slow && hz >= Some(LEAST_HZ)));
            }
        }
    }
}
