//! The login of an account, by the server's rule.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A login that a server can accept, in lower case, as the server keeps it.
///
/// The rule is FreeIPA's: letters, digits, `_`, `.` and `-`, not beginning with `-`, not all digits, a `$` at the very end; up to 255
/// characters. A server has a shorter limit of its own, 32 unless it was changed: see
/// [`Pinned::config_show`](crate::Pinned::config_show).
///
/// ```
/// use freeipa_client::Login;
///
/// let login: Login = "A.Petrova".parse()?;
/// assert_eq!(login.as_str(), "a.petrova");
/// assert!("4711".parse::<Login>().is_err());
/// assert!("".parse::<Login>().is_err()); // the server would make one up
/// # Ok::<(), freeipa_client::InvalidLogin>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Login(String);

/// What no server accepts as a login. The text does not repeat it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLogin {
    /// Nothing.
    #[error("a login is empty: the server would make one up")]
    Empty,
    /// Too long for any server.
    #[error("a login is {length} characters long: 255 at most, and 32 on most servers")]
    Long {
        /// How long it is.
        length: usize,
    },
    /// Only digits.
    #[error("a login is nothing but digits: put a letter before them")]
    Digits,
    /// A character that it may not have, or not there.
    #[error(
        "a login has `{character}` where it may not: letters, digits, _ . - are fine, - not at the beginning"
    )]
    Character {
        /// The first such character.
        character: char,
    },
}

impl Login {
    /// The login as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Login {
    type Err = InvalidLogin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = text.chars().count();
        let last = length.saturating_sub(1);
        let is_wrong = |(place, character): &(usize, char)| match character {
            '-' => *place == 0,
            '$' => *place == 0 || *place != last,
            '_' | '.' => false,
            character => !character.is_ascii_alphanumeric(),
        };
        if text.is_empty() {
            Err(InvalidLogin::Empty)
        } else if length > 255 {
            Err(InvalidLogin::Long { length })
        } else if let Some((_, character)) = text.chars().enumerate().find(is_wrong) {
            Err(InvalidLogin::Character { character })
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Err(InvalidLogin::Digits)
        } else {
            Ok(Self(text.to_ascii_lowercase()))
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Login {
    /// Not shown: it is often made of a person's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl From<&Login> for Value {
    fn from(login: &Login) -> Self {
        login.0.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rule() {
        for good in ["a", "_", ".", "a1", "1a", "svc-registrar", "tg.boris", "machine$", "0190-a"] {
            assert_eq!(good.parse::<Login>().unwrap().as_str(), good);
        }
        let refused = [
            ("", InvalidLogin::Empty),
            ("123456", InvalidLogin::Digits),
            ("-a", InvalidLogin::Character { character: '-' }),
            ("$", InvalidLogin::Character { character: '$' }),
            ("a$b", InvalidLogin::Character { character: '$' }),
            ("a b", InvalidLogin::Character { character: ' ' }),
            ("анна", InvalidLogin::Character { character: 'а' }),
            ("a@b", InvalidLogin::Character { character: '@' }),
        ];
        for (given, error) in refused {
            assert_eq!(given.parse::<Login>(), Err(error), "{given}");
        }
        assert_eq!("a".repeat(256).parse::<Login>(), Err(InvalidLogin::Long { length: 256 }));
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_as_it_is(text in "\\PC{0,40}") {
            if let Ok(login) = text.parse::<Login>() {
                prop_assert_eq!(login.as_str().parse::<Login>().unwrap(), login);
            }
        }
    }
}
