//! What HTTP says of limits: the fields of draft-ietf-httpapi-ratelimit-headers-10, `Retry-After`, and the older `X-RateLimit`.
//!
//! The next draft reads `t` as the time in which no more than `r` can be used. What is written here is right either way.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::decision::{Decision, Source};
use crate::layer::Verdict;
use crate::quota::Quota;
use crate::rule::Rule;
use crate::subject::Subject;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The largest integer of a structured field.
const MOST: u64 = 999_999_999_999_999;

/// Which fields tell a client of its limits.
///
/// ```text
/// RateLimit-Policy: "per-ip";q=100;w=60      what the rule says; a window that is no whole number of seconds is left out
/// RateLimit: "per-ip";r=50;t=30              what is left, and for how long; of a denied request only the rules it is denied by
/// Retry-After: 30                            of a denied request: when none of them is in the way, if nobody else comes
/// ```
///
/// A [network](crate::Rule::with_network) of a rule is a policy of its own, `"per-ip/24"`. An allowed request is told, under the
/// name of the rule, how much is left of the one that has least.
///
/// Times are seconds, rounded up: whoever comes back then is not early. Rules that only count, and those that do not limit this
/// client, are not spoken of; nor is what nobody knows, because the store was not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimitHeaders {
    partition_key: bool,
    legacy: bool,
}

/// A limit on one subject: a rule, or one of its networks.
struct Policy<'a> {
    rule: &'a Rule,
    subject: Subject,
    quota: Quota,
    is_network: bool,
}

/// How the limit stands that decided.
struct Limit<'a> {
    policy: Policy<'a>,
    remaining: u64,
    seconds: u64,
    is_denied: bool,
}

impl RateLimitHeaders {
    /// `RateLimit-Policy`, `RateLimit` and `Retry-After`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says also whom a limit is about, as the partition key `pk`. The subject leaves the house: not where it is a secret, nor
    /// where it is somebody else.
    #[must_use]
    pub fn with_partition_key(mut self) -> Self {
        self.partition_key = true;
        self
    }

    /// Writes also `X-RateLimit-Limit`, `-Remaining` and `-Reset`, as Envoy does and draft 03 had it: of the limit that is
    /// nearest to its end.
    #[must_use]
    pub fn with_legacy(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// Writes what the limits said of a request into the headers of its answer. Fields of the draft that are there are added to.
    pub fn write(&self, verdicts: &[Verdict], headers: &mut HeaderMap) {
        let policies: Vec<Policy<'_>> = verdicts.iter().flat_map(Policy::all_of).collect();
        let limits: Vec<Limit<'_>> = verdicts.iter().filter_map(Limit::of).collect();
        let retry_after = limits.iter().filter(|limit| limit.is_denied).map(|limit| limit.seconds).max();
        for policy in &policies {
            append(headers, POLICY, format!("{policy}{}", self.key(policy)));
        }
        for limit in limits.iter().filter(|limit| limit.is_denied || retry_after.is_none()) {
            append(headers, LIMIT, format!("{limit}{}", self.key(&limit.policy)));
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.legacy {
            write_legacy(&policies, &limits, headers);
        }
    }

    fn key(&self, policy: &Policy<'_>) -> String {
        if !self.partition_key {
            return String::new();
        }
        format!(";pk=:{}:", STANDARD.encode(policy.subject.as_str()))
    }
}

impl<'a> Policy<'a> {
    /// The rule, and then its networks; none if the rule is not for this client to know.
    fn all_of(verdict: &'a Verdict) -> Vec<Self> {
        let (rule, subject) = (verdict.rule(), verdict.subject());
        if rule.is_shadow() || verdict.decision().source() == Source::AllowList {
            return Vec::new();
        }
        let own = Self { rule, subject: subject.clone(), quota: rule.quota(), is_network: false };
        let networks = rule.networks(subject).map(|(subject, limit)| Self {
            rule,
            subject,
            quota: limit.terms.quota,
            is_network: true,
        });
        std::iter::once(own).chain(networks).collect()
    }

    /// The name of the rule, and how wide the network is.
    fn name(&self) -> String {
        let name = self.rule.name().as_str();
        match self.subject.as_str().rsplit_once('/') {
            Some((_, bits)) if self.is_network => format!("{name}/{bits}"),
            _ => name.to_owned(),
        }
    }
}

impl<'a> Limit<'a> {
    /// None if there is nothing to know, or nothing to wait for: where several limits are asked and one denies, so do the others.
    fn of(verdict: &'a Verdict) -> Option<Self> {
        let mut policies = Policy::all_of(verdict).into_iter();
        match verdict.decision() {
            Decision::Allowed(allowed) if allowed.source != Source::Fallback => Some(Self {
                policy: policies.next()?,
                remaining: allowed.remaining,
                seconds: seconds(allowed.reset_after),
                is_denied: false,
            }),
            Decision::Denied(denied) if denied.refuses() => Some(Self {
                policy: policies.find(|policy| policy.subject == denied.subject)?,
                remaining: denied.remaining,
                seconds: seconds(denied.retry_after),
                is_denied: true,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};q={}", string(&self.name()), self.quota.limit())?;
        let window = self.quota.window();
        if window.subsec_nanos() == 0 { write!(f, ";w={}", seconds(window)) } else { Ok(()) }
    }
}

impl fmt::Display for Limit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};r={};t={}", string(&self.policy.name()), self.remaining.min(MOST), self.seconds)
    }
}

/// The names of the limits that deny a request.
pub(crate) fn violated(verdicts: &[Verdict]) -> Vec<String> {
    let limits = verdicts.iter().filter_map(Limit::of);
    limits.filter(|limit| limit.is_denied).map(|limit| limit.policy.name()).collect()
}

fn write_legacy(policies: &[Policy<'_>], limits: &[Limit<'_>], headers: &mut HeaderMap) {
    let end = |limit: &&Limit<'_>| (!limit.is_denied, limit.remaining, Reverse(limit.seconds));
    let Some(nearest) = limits.iter().min_by_key(end) else { return };
    let mut members = vec![nearest.policy.quota.limit().to_string()];
    members.extend(policies.iter().map(|policy| {
        let Policy { quota, .. } = policy;
        format!("{};w={};name={}", quota.limit(), seconds(quota.window()), string(&policy.name()))
    }));
    headers.remove(&X_LIMIT);
    append(headers, X_LIMIT, members.join(", "));
    headers.insert(X_REMAINING, HeaderValue::from(nearest.remaining));
    headers.insert(X_RESET, HeaderValue::from(nearest.seconds));
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // All that is written here is printable ASCII.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(name, value);
    }
}

/// A string of a structured field, RFC 9651. What is no printable ASCII has no place in one.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).min(MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfv::{BareItem, Item, Parser};

    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, expected) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
        assert_eq!(seconds(Duration::MAX), MOST);
    }

    proptest! {
        #[test]
        fn a_string_is_read_as_it_was_meant(text in "[ -~]{0,40}") {
            let item: Item = Parser::new(&string(&text)).parse().expect("a structured field");
            let BareItem::String(read) = item.bare_item else { panic!("{:?} is no string", item.bare_item) };
            prop_assert_eq!(read.as_str(), text);
        }

        #[test]
        fn a_string_can_hold_whatever_it_is_given(text in any::<String>()) {
            prop_assert!(Parser::new(&string(&text)).parse::<Item>().is_ok());
        }
    }
}
