//! Ways of asking a limit: ours, and what it is measured against.

use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter};
use valkey_connection::Connection;
use valkey_ratelimit::{Algorithm, Limiter, Quota, Rule, Subject};

use super::scripts;
use crate::failure::Failure;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A script that does nothing, one call a check.
    Nothing,
    /// The usual sliding log, one call a check.
    Plain,
    Ours(Counting),
    /// A sliding window of which a hundredth may be held in advance.
    Leased,
    /// A limiter that no other process knows of.
    Governor,
}

/// An [`Algorithm`] whose burst, if it has one, is a tenth of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    Gcra,
    SlidingWindow,
    SlidingCounter,
    FixedWindow,
    SlidingLog,
}

/// A limit that is ready to be asked, about one of several subjects.
pub(crate) enum Asker {
    Nothing(Connection),
    Plain { connection: Connection, keys: Vec<String>, quota: Quota },
    Ours { limiter: Limiter, rule: Rule, subjects: Vec<Subject> },
    Keyed { limiter: DefaultKeyedRateLimiter<Subject>, subjects: Vec<Subject> },
    Direct(DefaultDirectRateLimiter),
}

// === impl Way ===

impl Way {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "a script that does nothing",
            Self::Plain => "plain script",
            Self::Ours(counting) => counting.name(),
            Self::Leased => "sliding_window, leases of 1 %",
            Self::Governor => "governor, in process",
        }
    }

    /// A limit under keys that begin with `prefix`, which are its own.
    pub(crate) fn asker(
        self,
        connection: &Connection,
        limiter: &Limiter,
        prefix: &str,
        quota: Quota,
        subjects: Vec<Subject>,
    ) -> Result<Arc<Asker>, Failure> {
        Ok(Arc::new(match self {
            Self::Nothing => Asker::Nothing(connection.clone()),
            Self::Plain => Asker::Plain {
                connection: connection.clone(),
                keys: subjects.iter().map(|subject| format!("{prefix}{subject}")).collect(),
                quota,
            },
            Self::Ours(counting) => {
                Asker::Ours { limiter: limiter.clone(), rule: counting.rule(prefix, quota)?, subjects }
            }
            Self::Leased => {
                let share = "1%".parse().map_err(|error| Failure::Failed(format!("{error}")))?;
                let rule = Counting::SlidingWindow.rule(prefix, quota)?.with_lease(share);
                Asker::Ours { limiter: limiter.clone(), rule, subjects }
            }
            Self::Governor => {
                let quota = governor_quota(quota)?;
                if subjects.len() > 1 {
                    Asker::Keyed { limiter: DefaultKeyedRateLimiter::keyed(quota), subjects }
                } else {
                    Asker::Direct(DefaultDirectRateLimiter::direct(quota))
                }
            }
        }))
    }
}

fn governor_quota(quota: Quota) -> Result<governor::Quota, Failure> {
    let limit = std::num::NonZeroU32::new(quota.limit() as u32);
    let each = quota.window().checked_div(quota.limit() as u32);
    each.and_then(governor::Quota::with_period)
        .zip(limit)
        .map(|(governor, limit)| governor.allow_burst(limit))
        .ok_or_else(|| Failure::Failed(format!("governor cannot count {quota}")))
}

// === impl Counting ===

impl Counting {
    pub(crate) const ALL: [Self; 5] =
        [Self::Gcra, Self::SlidingWindow, Self::SlidingCounter, Self::FixedWindow, Self::SlidingLog];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::SlidingWindow => "sliding_window",
            Self::SlidingCounter => "sliding_counter",
            Self::FixedWindow => "fixed_window",
            Self::SlidingLog => "sliding_log",
        }
    }

    pub(crate) fn algorithm(self, quota: Quota) -> Algorithm {
        match self {
            Self::Gcra => Algorithm::Gcra { burst: (quota.limit() / 10).max(1) },
            Self::SlidingWindow => Algorithm::SlidingWindow,
            Self::SlidingCounter => Algorithm::SlidingCounter,
            Self::FixedWindow => Algorithm::FixedWindow,
            Self::SlidingLog => Algorithm::SlidingLog,
        }
    }

    pub(crate) fn rule(self, prefix: &str, quota: Quota) -> Result<Rule, Failure> {
        let name = self.name().parse().map_err(|error| Failure::Failed(format!("{error}")))?;
        Ok(Rule::new(name, quota).with_algorithm(self.algorithm(quota)).with_prefix(prefix))
    }
}

// === impl Asker ===

impl Asker {
    /// Whether one more request of this subject is admitted.
    pub(crate) async fn ask(&self, subject: usize) -> Result<bool, Failure> {
        match self {
            Self::Nothing(connection) => {
                connection.invoke(scripts::nothing()).await?;
                Ok(true)
            }
            Self::Plain { connection, keys, quota } => {
                Ok(connection.invoke(scripts::plain(&keys[subject], *quota)).await?.as_int()? == 1)
            }
            Self::Ours { limiter, rule, subjects } => {
                let decision = limiter.check(rule, &subjects[subject], 1).await;
                Ok(decision.map_err(|error| Failure::Failed(error.to_string()))?.is_allowed())
            }
            Self::Keyed { limiter, subjects } => Ok(limiter.check_key(&subjects[subject]).is_ok()),
            Self::Direct(limiter) => Ok(limiter.check().is_ok()),
        }
    }

    /// Where the store keeps the count of a subject.
    pub(crate) fn key(&self, subject: usize) -> Option<String> {
        match self {
            Self::Plain { keys, .. } => keys.get(subject).cloned(),
            Self::Ours { rule, subjects, .. } => subjects.get(subject).map(|subject| rule.key(subject)),
            _ => None,
        }
    }
}
