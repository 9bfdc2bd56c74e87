//! From a key back to the rule's subject: for walks over what is there.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::{Rule, Step};
use crate::algorithm::Algorithm;
use crate::scripts::Limit;

impl Rule {
    /// What its keys begin with.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// The text of the subject in a key of this rule; nothing if it is none.
    pub(crate) fn subject_in<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let mut rest = key.strip_prefix(self.0.prefix.as_bytes())?;
        if self.0.algorithm != Algorithm::SlidingLog {
            rest = match rest {
                [b'{', a, b, b'}', b':', rest @ ..] if a.is_ascii_digit() && b.is_ascii_digit() => rest,
                _ => return None,
            };
        }
        let subject = rest.strip_prefix(self.0.name.as_str().as_bytes())?.strip_prefix(b":")?;
        (!subject.is_empty()).then_some(subject)
    }

    /// What the subject in a key may have.
    pub(crate) fn limit_of_key(&self, key: Bytes) -> Option<Limit> {
        let step = self.step_of(self.subject_in(&key)?);
        Some(Limit { terms: Arc::clone(&step.terms), key })
    }

    /// The step that a subject is of by its text: networks are of the step of their width.
    pub(super) fn step_of(&self, subject: &[u8]) -> &Step {
        let steps = &self.0.steps;
        let network = if steps.len() > 1 { network(subject) } else { None };
        let is_meant = |step: &&Step| match network {
            Some((IpAddr::V4(_), bits)) => step.bits.v4 == bits,
            Some((IpAddr::V6(_), bits)) => step.bits.v6 == bits,
            None => false,
        };
        steps.iter().find(is_meant).unwrap_or(&steps[0])
    }
}

/// A network as subjects are written: `192.0.2.0/24`.
fn network(subject: &[u8]) -> Option<(IpAddr, u8)> {
    let (address, bits) = str::from_utf8(subject).ok()?.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Network;
    use crate::subject::Subject;

    #[test]
    fn a_key_leads_back_to_its_subject_and_step() {
        let quota = |text: &str| text.parse().expect("a quota");
        let ladder = Rule::new("ip".parse().expect("a name"), quota("1/1s"))
            .with_address_bits(32, 64)
            .with_network(Network { v4: 24, v6: 48, quota: quota("20/1s") });
        for rule in
            [ladder.clone(), ladder.with_algorithm(Algorithm::SlidingLog).with_prefix("elemta:ratelimit:")]
        {
            for text in ["192.0.2.7", "2001:db8::1"] {
                let subject = Subject::ip(text.parse().expect("an address"));
                let steps =
                    std::iter::once((subject.clone(), rule.limit(&subject))).chain(rule.networks(&subject));
                for (_, limit) in steps {
                    assert_eq!(rule.limit_of_key(limit.key.clone()), Some(limit));
                }
            }
            let network = Subject::network("192.0.2.7".parse().expect("an address"), 24);
            assert_eq!(rule.limit(&network).terms.quota, quota("20/1s"), "as its step has it");
            let long = rule.limit(&Subject::text("x".repeat(200)));
            assert_eq!(rule.limit_of_key(long.key.clone()), Some(long));
        }
    }

    #[test]
    fn keys_of_others_are_none() {
        let rule = Rule::new("ip".parse().expect("a name"), "1/1s".parse().expect("a quota"));
        for key in [
            "",
            "valkit:limit:",
            "valkit:limit:{07}:ip",
            "valkit:limit:{07}:ip:",
            "valkit:limit:{07}:ipv:x",
            "valkit:limit:ip:x",
            "valkit:limit:{x7}:ip:x",
            "other:{07}:ip:x",
        ] {
            assert_eq!(rule.subject_in(key.as_bytes()), None, "{key}");
        }
        assert_eq!(rule.subject_in(b"valkit:limit:{07}:ip:a:b"), Some(&b"a:b"[..]));
    }
}
