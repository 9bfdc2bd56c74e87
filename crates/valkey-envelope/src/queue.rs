//! Queue names: a value that exists is valid.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::keys::QueueKeys;

/// The name of a queue: 1 to 200 characters out of `A-Z a-z 0-9 _ . : -`.
///
/// Braces are refused above all: a name with them would move its keys to another cluster slot.
///
/// ```
/// use valkey_envelope::QueueName;
///
/// let queue: QueueName = "user-registrations".parse()?;
/// assert_eq!(queue.as_str(), "user-registrations");
///
/// let refused = "user registrations".parse::<QueueName>().unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "invalid queue name: character ' ' at position 5 is not one of A-Z a-z 0-9 _ . : -",
/// );
/// # Ok::<(), valkey_envelope::InvalidQueueName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

/// Why a text is not a [`QueueName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidQueueName {
    /// A character outside the alphabet.
    #[error(
        "invalid queue name: character {character:?} at position {position} is not one of A-Z a-z 0-9 _ . : -"
    )]
    Character {
        /// The first such character.
        character: char,
        /// Which one it is, counted from 1.
        position: usize,
    },
    /// No character at all.
    #[error("invalid queue name: it is empty")]
    Empty,
    /// More characters than [`QueueName::MAX_LENGTH`].
    #[error("invalid queue name: {length} characters, at most 200 are allowed")]
    TooLong {
        /// Its length in characters.
        length: usize,
    },
}

// === impl QueueName ===

impl QueueName {
    /// The longest name, in characters.
    pub const MAX_LENGTH: usize = 200;

    /// The name as text, without the `queue:` of its key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The keys of the queue. Makes their texts anew on each call: keep the result.
    pub fn keys(&self) -> QueueKeys {
        QueueKeys::new(self)
    }

    fn check(name: &str) -> Result<(), InvalidQueueName> {
        if name.is_empty() {
            return Err(InvalidQueueName::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        if let Some((character, position)) = name.chars().zip(1..).find(|&(c, _)| !allowed(c)) {
            return Err(InvalidQueueName::Character { character, position });
        }
        // Only ASCII is left, so bytes are characters.
        if name.len() > Self::MAX_LENGTH {
            return Err(InvalidQueueName::TooLong { length: name.len() });
        }
        Ok(())
    }
}

impl FromStr for QueueName {
    type Err = InvalidQueueName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::check(name)?;
        Ok(Self(Arc::from(name)))
    }
}

impl TryFrom<&str> for QueueName {
    type Error = InvalidQueueName;

    fn try_from(name: &str) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl TryFrom<String> for QueueName {
    type Error = InvalidQueueName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::check(&name)?;
        Ok(Self(Arc::from(name)))
    }
}

impl AsRef<str> for QueueName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for QueueName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for QueueName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidQueueName, QueueName};

    #[test]
    fn takes_the_whole_alphabet() {
        for name in ["a", "user-registrations", "A.b_C:9", &"x".repeat(200)] {
            assert_eq!(name.parse::<QueueName>().map(|q| q.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        let refusal = |name: &str| name.parse::<QueueName>().unwrap_err();
        assert_eq!(refusal(""), InvalidQueueName::Empty);
        assert_eq!(refusal(&"x".repeat(201)), InvalidQueueName::TooLong { length: 201 });
        for (name, character, position) in [
            ("{a}", '{', 1),
            ("a b", ' ', 2),
            ("größe", 'ö', 3),
            ("añb", 'ñ', 2),
            ("a\0", '\0', 2),
            ("ab\n", '\n', 3),
        ] {
            assert_eq!(refusal(name), InvalidQueueName::Character { character, position });
        }
    }

    #[test]
    fn control_characters_are_escaped_in_the_message() {
        let refused = "a\u{1b}[2J".parse::<QueueName>().unwrap_err().to_string();
        assert!(!refused.contains('\u{1b}'), "{refused:?}");
    }

    #[test]
    fn reads_from_settings() {
        assert!(serde_json::from_str::<QueueName>(r#""orders""#).is_ok());
        let refused = serde_json::from_str::<QueueName>(r#""or ders""#).unwrap_err();
        assert!(refused.to_string().contains("position 3"), "{refused}");
    }
}
