//! What may be held at the same time, and by which process.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::SlotError;
use crate::rule::{PREFIX, RuleName, prefix};
use crate::subject::Subject;
use crate::unavailable::OnUnavailable;

/// How many of something there may be at the same time, for every subject: of all processes together.
///
/// ```
/// use valkey_ratelimit::{SlotRule, Subject};
///
/// let rule = SlotRule::new("connections-per-ip".parse()?, 50);
/// let key = rule.key(&Subject::text("ada"));
/// assert!(key.starts_with("valkit:limit:{") && key.ends_with("}:connections-per-ip:ada:held"), "{key}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRule {
    name: RuleName,
    most: u32,
    prefix: String,
    on_unavailable: OnUnavailable,
}

/// What a node is called, in the fields of its processes: `[A-Za-z0-9_.-]{1,64}`. Two nodes may have the same name; it is for
/// people.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(String);

/// A node's name with other characters, or none, or too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a node: 1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`")]
pub struct InvalidNodeId(String);

impl SlotRule {
    /// A rule by its name, and how many there may be.
    pub fn new(name: RuleName, most: u32) -> Self {
        Self { name, most, prefix: PREFIX.to_owned(), on_unavailable: OnUnavailable::default() }
    }

    /// With keys that begin otherwise than [`PREFIX`]: with a [`Prefix`](crate::Prefix), or a text that is one; whoever acquires is
    /// told if it is not.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What is done while the store is away. With [`OnUnavailable::Allow`] each process goes on until it holds as many as
    /// there may be by itself; with [`OnUnavailable::Local`] until it holds its share.
    #[must_use]
    pub fn with_on_unavailable(mut self, on_unavailable: OnUnavailable) -> Self {
        self.on_unavailable = on_unavailable;
        self
    }

    /// Its name.
    pub fn name(&self) -> &RuleName {
        &self.name
    }

    /// How many there may be.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// What is done while the store is away.
    pub fn on_unavailable(&self) -> OnUnavailable {
        self.on_unavailable
    }

    /// Where it is kept how many of a subject there are: a hash, with a field for each process.
    pub fn key(&self, subject: &Subject) -> String {
        let [one, two] = subject.tag().map(char::from);
        format!("{}{{{one}{two}}}:{}:{subject}:held", self.prefix, self.name)
    }

    /// Whether there can be slots of a subject.
    pub(super) fn accepts(&self, subject: &Subject) -> Result<(), SlotError> {
        let rule = || self.name.clone();
        if let Some(source) = prefix::fault(&self.prefix) {
            return Err(SlotError::Prefix { rule: rule(), source });
        }
        if subject.is_nobody() { Err(SlotError::NoSubject { rule: rule() }) } else { Ok(()) }
    }

    pub(super) fn bytes(&self, subject: &Subject) -> Bytes {
        Bytes::from(self.key(subject))
    }
}

impl NodeId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidNodeId(text.to_owned()))
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_short_and_plain() {
        for text in ["", "a b", "a:b", "a\n", "n\u{e4}", &"x".repeat(65)] {
            assert!(text.parse::<NodeId>().is_err_and(|error| error.to_string().contains("A-Z")), "{text}");
        }
        assert_eq!("mail-1.Example_org".parse::<NodeId>().expect("a name").as_str(), "mail-1.Example_org");
    }
}
