//! The id a message keeps through retries and re-sends.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A message's id: a UUID as we write it, any text as foreign producers may.
///
/// Foreign ids are not unique by any promise, so state in Valkey is never keyed by them. A message that came
/// without an id has the empty one, which is no key for idempotency: see [`MessageId::is_empty`].
///
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Arc<str>);

// === impl MessageId ===

impl MessageId {
    /// A fresh id: UUID version 7, which sorts by the time it was made.
    #[expect(clippy::new_without_default, reason = "each call differs, so it is no default")]
    pub fn new() -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        Self(Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut text)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the message came without an id.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of a message that came without one.
    pub(crate) fn empty() -> Self {
        Self(Arc::from(""))
    }
}

impl From<&str> for MessageId {
    fn from(id: &str) -> Self {
        Self(Arc::from(id))
    }
}

impl From<String> for MessageId {
    fn from(id: String) -> Self {
        Self(Arc::from(id))
    }
}

impl From<Uuid> for MessageId {
    fn from(id: Uuid) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        Self(Arc::from(&*id.hyphenated().encode_lower(&mut text)))
    }
}

impl AsRef<str> for MessageId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::MessageId;

    #[test]
    fn fresh_ids_differ_and_sort_by_age() {
        let ids: Vec<_> = (0..100).map(|_| MessageId::new()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!(ids[0].as_str().len(), 36);
    }
}
