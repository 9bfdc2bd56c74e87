//! How a limit stands, step by step: a subject's own, and those of its networks.

use std::time::Duration;

use crate::algorithm::{Answer, Ask};
use crate::decision::Standing;
use crate::error::LimitError;
use crate::limiter::{Limiter, above, foreign};
use crate::rule::Rule;
use crate::scripts::{Item, Limit, Want};
use crate::subject::Subject;
use crate::survey::Usage;

impl Limiter {
    /// What a subject used of a limit, charging nothing: first the count of its own, which [`reset`](Self::reset) forgets, and then
    /// that of each of its networks, from the narrowest. Also of whoever is on the allow list, who is not counted any more.
    ///
    /// [`Usage::retry_after`] is about a request that costs so much; the [`check`](Self::check) of one is refused by each step
    /// where it is not zero.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub async fn peek_each(
        &self,
        rule: &Rule,
        subject: &Subject,
        cost: u64,
    ) -> Result<Vec<Usage>, LimitError> {
        rule.accepts(subject)?;
        let cost = cost.max(1);
        let own = rule.limit(&rule.counted_as(subject, std::time::Instant::now()));
        let limits: Vec<Limit> =
            std::iter::once(own).chain(rule.networks(subject).map(|(_, limit)| limit)).collect();
        let want = || Want::Grant { ask: Ask::peek(cost), follows: false, shadow: false };
        let items = limits.iter().map(|limit| Item { limit: limit.clone(), want: want() }).collect();
        let answers = self.in_time(rule, self.combiner.call_each(items)).await?;
        let steps = limits.iter().zip(answers).map(|(limit, (_, answer))| {
            let answer = answer.ok_or_else(|| foreign(rule, limit))?;
            if answer.next_after == Answer::NEVER {
                return Err(above(rule, cost));
            }
            Ok(Usage::of(rule, limit, &answer))
        });
        steps.collect()
    }
}

/// How the tightest of all steps stands.
pub(crate) fn tightest(steps: &[Usage]) -> Standing {
    let none = Standing { remaining: u64::MAX, retry_after: Duration::ZERO, reset_after: Duration::ZERO };
    steps.iter().fold(none, |standing, step| Standing {
        remaining: standing.remaining.min(step.limit - step.used),
        retry_after: standing.retry_after.max(step.retry_after),
        reset_after: standing.reset_after.max(step.reset_after),
    })
}
