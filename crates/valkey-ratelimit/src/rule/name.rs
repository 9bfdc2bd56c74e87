//! What a rule is called.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What a rule is called: `[a-z0-9_.-]{1,64}`. It is part of keys, and a label of metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(Arc<str>);

/// A rule's name with other characters, or none, or too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a rule: 1 to 64 of a-z, 0-9, `_`, `.` and `-`")]
pub struct InvalidRuleName(String);

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
            Ok(Self(text.into()))
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
}
