//! A limit with its name.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::algorithm::Algorithm;
use crate::quota::Quota;
use crate::scripts::Limit;
use crate::subject::Subject;

/// What the keys of all limits begin with, unless said otherwise.
pub const PREFIX: &str = "valkit:limit:";

/// Keys share so many hash tags: enough for every node of a cluster to have some, few enough for batches to form.
const BUCKETS: u64 = 64;

/// How much, in how long, counted how: a limit that every subject has for itself.
///
/// ```
/// use valkey_ratelimit::{Algorithm, Rule, Subject};
///
/// let rule = Rule::new("logins".parse()?, "5/1m".parse()?);
/// assert_eq!(rule.algorithm(), Algorithm::SlidingWindow);
/// let key = rule.key(&Subject::text("ada"));
/// assert!(key.starts_with("valkit:limit:{") && key.ends_with("}:logins:ada"), "{key}");
///
/// // The key that other programs know.
/// let shared = Rule::new("ip".parse()?, "100/1m".parse()?)
///     .with_algorithm(Algorithm::SlidingLog)
///     .with_prefix("elemta:ratelimit:");
/// assert_eq!(shared.key(&Subject::ip("172.20.0.1".parse()?)), "elemta:ratelimit:ip:172.20.0.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    name: RuleName,
    quota: Quota,
    algorithm: Algorithm,
    prefix: String,
}

/// What a rule is called: `[a-z0-9_.-]{1,64}`. It is part of keys, and a label of metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(String);

/// A rule's name with other characters, or none, or too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a rule: 1 to 64 of a-z, 0-9, `_`, `.` and `-`")]
pub struct InvalidRuleName(String);

impl Rule {
    /// A rule by its name and quota, counted in a sliding window.
    pub fn new(name: RuleName, quota: Quota) -> Self {
        Self { name, quota, algorithm: Algorithm::default(), prefix: PREFIX.to_owned() }
    }

    /// Counted in another way.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// With keys that begin otherwise than [`PREFIX`].
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Its name.
    pub fn name(&self) -> &RuleName {
        &self.name
    }

    /// How much in how long.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// How it is counted.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Where the count of a subject is kept.
    ///
    /// All but sorted sets carry a hash tag, which is the subject's: so all limits of one subject can be asked at once, also
    /// in a cluster. Sorted sets are in the form that other programs share.
    pub fn key(&self, subject: &Subject) -> String {
        let Self { name: RuleName(name), prefix, .. } = self;
        if self.algorithm == Algorithm::SlidingLog {
            return format!("{prefix}{name}:{subject}");
        }
        format!("{prefix}{{{}}}:{name}:{subject}", bucket(subject))
    }

    pub(crate) fn limit(&self, subject: &Subject) -> Limit {
        Limit { key: Bytes::from(self.key(subject)), algorithm: self.algorithm, quota: self.quota }
    }
}

/// FNV-1a with 64 bits, mixed as `MurmurHash3` ends: the same on every node, and neighbours among addresses are spread.
fn bucket(subject: &Subject) -> u64 {
    let hash = subject.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 33)) % BUCKETS
}

impl RuleName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = InvalidRuleName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
        };
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRuleName(text.to_owned()))
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for text in ["", "A", "a b", "a:b", "a{", &"x".repeat(65)] {
            assert!(text.parse::<RuleName>().is_err_and(|error| error.to_string().contains("a-z")), "{text}");
        }
        assert!("smtp.per-ip_1".parse::<RuleName>().is_ok());
    }

    #[test]
    fn all_limits_of_a_subject_are_in_one_slot_and_subjects_are_spread() {
        let rule = |name: &str| Rule::new(name.parse().expect("a name"), "1/1s".parse().expect("a quota"));
        let tag = |key: &str| key[key.find('{').expect("a tag")..=key.find('}').expect("a tag")].to_owned();
        let mut tags = std::collections::HashMap::new();
        for number in 0..6_400 {
            let subject = Subject::ip(std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
            let one = tag(&rule("a").key(&subject));
            assert_eq!(one, tag(&rule("b").key(&subject)));
            *tags.entry(one).or_insert(0) += 1;
        }
        assert_eq!(tags.len() as u64, BUCKETS);
        assert!(tags.values().all(|count| (50..200).contains(count)), "{tags:?}");
    }
}
