//! The person behind a registration, as others may see one.

use std::fmt;

use sha2::{Digest, Sha256};

/// A person, by a hash of the number that Telegram has for one.
///
/// It stands where the number itself has no business to be: in logs, in keys of Valkey, in the directory. It hides the person from
/// who looks, and not from who searches: there are not so many numbers.
///
/// ```
/// use freeipa_consumer::registration::Applicant;
///
/// let applicant = Applicant::of(42);
/// assert_eq!(applicant.to_string().len(), 8);
/// assert!(applicant.marker().starts_with("tguser:") && !applicant.marker().contains("42|"));
/// assert_ne!(applicant, Applicant::of(43));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Applicant([u8; 12]);

impl Applicant {
    /// The person of that number.
    pub fn of(user_id: i64) -> Self {
        // It must never change: who has an account would get another one.
        let hash = Sha256::digest(format!("freeipa-consumer applicant {user_id}"));
        let mut kept = [0; 12];
        for (kept, byte) in kept.iter_mut().zip(hash) {
            *kept = byte;
        }
        Self(kept)
    }

    /// The value of `userclass` that the accounts of one person share.
    pub fn marker(self) -> String {
        format!("tguser:{}", self.hex())
    }

    /// Whether a value of `userclass` is such a marker, whoever's.
    pub(crate) fn is_marker(class: &str) -> bool {
        class.starts_with("tguser:")
    }

    /// All of the hash, in hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        format!("{:024x}", self.0.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte)))
    }
}

/// The first digits of the hash: enough to tell the people of a day apart.
impl fmt::Display for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.hex()[..8])
    }
}

impl fmt::Debug for Applicant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Applicant({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_for_ever() {
        let applicant = Applicant::of(42);
        assert_eq!(applicant.marker(), "tguser:f85aef1329007556f802258f");
        assert_eq!(applicant.to_string(), "f85aef13");
    }
}
