//! What speaks against a rule.

use super::prefix::{self, InvalidPrefix};
use super::{Inner, Rule, RuleName};
use crate::algorithm::Algorithm;
use crate::error::LimitError;
use crate::subject::Subject;

/// More units of cost than a sorted set keeps small: from one more on the server needs three times the memory.
const LOG_ADVISED: u64 = 128;
/// And more than this would keep it busy for too long at a time.
const LOG_MOST: u64 = 10_000;

/// A rule that no store could keep.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// A sorted set would have too many members.
    #[error(
        "rule {name}: a sliding log of {limit} is refused: it keeps each unit of cost by itself, and above {LOG_MOST} a check would keep the server from all else for too long; take sliding-window, which admits no more and stays small"
    )]
    LogTooLong {
        /// The rule.
        name: RuleName,
        /// Its limit.
        limit: u64,
    },
    /// Programs that share a sorted set would count what is only held.
    #[error(
        "rule {name}: a sliding log cannot be leased: others who read the sorted set would count what is not used yet; take another algorithm, or no lease"
    )]
    LeasedLog {
        /// The rule.
        name: RuleName,
    },
    /// Its keys cannot begin so.
    #[error("rule {name}: {source}")]
    Prefix {
        /// The rule.
        name: RuleName,
        /// What is wrong with it.
        source: InvalidPrefix,
    },
}

impl Inner {
    /// Why no store could keep it.
    pub(super) fn fault(&self) -> Option<InvalidRule> {
        let name = || self.name.clone();
        if let Some(source) = prefix::fault(&self.prefix) {
            return Some(InvalidRule::Prefix { name: name(), source });
        }
        if self.algorithm != Algorithm::SlidingLog {
            return None;
        }
        if let Some(step) = self.steps.iter().find(|step| step.terms.quota.limit() > LOG_MOST) {
            return Some(InvalidRule::LogTooLong { name: name(), limit: step.terms.quota.limit() });
        }
        self.lease.map(|_| InvalidRule::LeasedLog { name: name() })
    }
}

impl Rule {
    /// Whether it can be kept. A check of one that cannot is an error.
    ///
    /// # Errors
    /// [`InvalidRule`].
    pub fn validate(&self) -> Result<(), InvalidRule> {
        self.0.invalid.clone().map_or(Ok(()), Err)
    }

    /// Whether it can be kept, and counts a subject.
    pub(crate) fn accepts(&self, subject: &Subject) -> Result<(), LimitError> {
        self.validate()?;
        if subject.is_nobody() { Err(LimitError::NoSubject { rule: self.name().clone() }) } else { Ok(()) }
    }

    /// What is allowed but dear, or without effect, as a sentence.
    pub fn warning(&self) -> Option<String> {
        if self.lease().is_some() && !self.is_leased() {
            let name = self.name();
            return Some(if self.has_networks() {
                format!("rule {name}: the lease has no effect: a rule with networks holds nothing in advance")
            } else {
                format!(
                    "rule {name}: the lease has no effect: so small a part of the limit is not worth holding"
                )
            });
        }
        let limit = self.0.steps.iter().map(|step| step.terms.quota.limit()).max().unwrap_or(0);
        (self.algorithm() == Algorithm::SlidingLog && limit > LOG_ADVISED).then(|| {
            format!(
                "rule {}: a sliding log of {limit} takes some 130 bytes for each unit of cost and subject, three times as much from {} on as before; sliding-window admits no more and takes 304 at most",
                self.name(),
                LOG_ADVISED + 1
            )
        })
    }
}
