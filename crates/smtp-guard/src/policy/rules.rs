//! From settings to rules.

use tracing::warn;

use super::bill::Limit;
use crate::guard::GuardError;
use crate::settings::PolicySettings;

/// The limits that settings describe, under keys that begin so.
///
/// # Errors
/// One that cannot be.
pub(super) fn of(policy: &PolicySettings, prefix: &str) -> Result<Vec<Limit>, GuardError> {
    let limits = policy.limits.iter().map(|(name, limit)| {
        let wrong = |reason| GuardError::Limits(format!("policy.limits.{name}: {reason}"));
        let rule = limit.rule(name).map_err(wrong)?.with_prefix(prefix);
        rule.validate().map_err(|invalid| wrong(invalid.to_string()))?;
        Ok(Limit { rule, per: limit.per, count: limit.count })
    });
    limits.collect()
}

/// Says what is allowed, but rarely meant.
pub(super) fn tell(limits: &[Limit]) {
    for warning in limits.iter().filter_map(|limit| limit.rule.warning()) {
        warn!("{warning}");
    }
}
