//! The metrics of limits, names in one place. Subjects and keys are never labels.

use std::sync::OnceLock;

use metrics::{Counter, counter};

use crate::decision::{Decision, Source};
use crate::error::LimitError;
use crate::rule::RuleName;

/// Decisions. Labels: `rule`, `outcome` (`allowed`, `denied`), `source` (a word of [`Source::as_str`]).
const DECISIONS: &str = "valkit_limit_decisions_total";
/// Requests that were not decided. Labels: `rule`, `reason` (a word of [`LimitError::reason`]).
const UNDECIDED: &str = "valkit_limit_undecided_total";

/// Handles of the counters of a rule: a decision without a round trip costs less than finding them. They belong to the recorder
/// that is there when the first of their kind is decided.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    counters: [[OnceLock<Handle>; Source::COUNT]; 2],
}

struct Handle(Counter);

impl Decided {
    pub(crate) fn count(&self, rule: &RuleName, decision: &Decision) {
        let (allowed, source) = (decision.is_allowed(), decision.source());
        let counter = self.counters[usize::from(allowed)][source as usize].get_or_init(|| {
            let outcome = if allowed { "allowed" } else { "denied" };
            let (rule, source) = (rule.as_str().to_owned(), source.as_str());
            Handle(counter!(DECISIONS, "rule" => rule, "outcome" => outcome, "source" => source))
        });
        counter.0.increment(1);
    }
}

/// Counts a request that nobody decided.
pub(crate) fn undecided(rule: &RuleName, error: &LimitError) {
    counter!(UNDECIDED, "rule" => rule.as_str().to_owned(), "reason" => error.reason()).increment(1);
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

/// What is counted is no part of what a rule says.
impl PartialEq for Decided {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Decided {}

/// Another rule counts for itself.
impl Clone for Decided {
    fn clone(&self) -> Self {
        Self::default()
    }
}
