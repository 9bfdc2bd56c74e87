//! What keys begin with.

use std::fmt;
use std::str::FromStr;

/// What the keys of a limit begin with: 1 to 200 bytes of printable ASCII, without spaces and braces. Keys carry hash tags of their
/// own, and are looked for by what they begin with.
///
/// ```
/// use valkey_ratelimit::{Prefix, Rule};
///
/// let prefix: Prefix = "elemta:ratelimit:".parse()?;
/// let rule = Rule::new("ip".parse()?, "100/1m".parse()?).with_prefix(prefix);
/// assert!(rule.validate().is_ok());
/// assert!("{mine}:".parse::<Prefix>().is_err() && "mine\n".parse::<Prefix>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(String);

/// A text that keys cannot begin with.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// It has no bytes, or too many.
    #[error("a prefix of keys has 1 to {LONGEST} bytes, and this has {0}")]
    Length(usize),
    /// It has a character that has no place in a key.
    #[error("a prefix of keys has only printable ASCII without spaces and braces, found {0:?}")]
    Character(char),
}

const LONGEST: usize = 200;

impl Prefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a prefix, if anything is.
pub(crate) fn fault(text: &str) -> Option<InvalidPrefix> {
    if text.is_empty() || text.len() > LONGEST {
        return Some(InvalidPrefix::Length(text.len()));
    }
    let has_no_place = |letter: &char| !letter.is_ascii_graphic() || matches!(letter, '{' | '}');
    text.chars().find(has_no_place).map(InvalidPrefix::Character)
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fault(text).map_or_else(|| Ok(Self(text.to_owned())), Err)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_a_tag_or_a_line_is_none() {
        for (text, told) in [
            ("", "1 to 200 bytes"),
            (&"x".repeat(201), "201"),
            ("{mine}:", "'{'"),
            ("a}", "'}'"),
            ("a b", "' '"),
            ("a\r\n", "'\\r'"),
            ("a\u{7f}", "\\u{7f}"),
            ("\u{fc}:", "'\u{fc}'"),
        ] {
            let error = text.parse::<Prefix>().expect_err(text).to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{text:?}: {error}");
        }
        for text in ["valkit:limit:", "x", "[a]*?", &"x".repeat(200)] {
            assert_eq!(text.parse::<Prefix>().expect("a prefix").to_string(), text);
        }
    }
}
