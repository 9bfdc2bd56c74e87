//! A text that must not be seen: passwords, tokens, keys.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// What every output shows in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// A password, token or key: wiped from memory when dropped, redacted in `Debug`, never serialised or displayed.
///
/// The text comes out in one way only, [`Secret::expose`], so that every place that reads it is easy to find.
///
/// ```
/// use valkey_config::Secret;
///
/// let password = Secret::from("correct horse");
/// assert_eq!(format!("{password:?}"), "[redacted]");
/// assert_eq!(password.expose(), "correct horse");
/// ```
///
/// Printing one does not compile, nor does serialising one:
///
/// ```compile_fail,E0277
/// println!("{}", valkey_config::Secret::from("correct horse"));
/// ```
///
/// ```compile_fail,E0277
/// fn serialise(_: impl serde::Serialize) {}
/// serialise(valkey_config::Secret::from("correct horse"));
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Looks at every byte whatever the others say, so that the time taken tells the length at most.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.expose().as_bytes(), other.expose().as_bytes());
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::codec::decode_setting(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted_also_inside_other_types() {
        let secret = Some(Secret::from("canary"));
        assert_eq!(format!("{secret:?}"), "Some([redacted])");
        assert!(!format!("{secret:#?}").contains("canary"));
    }

    #[test]
    fn equality_is_that_of_the_text() {
        assert_eq!(Secret::from("a"), Secret::from("a".to_owned()));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("aa"));
        assert!(Secret::from("").is_empty());
    }
}
