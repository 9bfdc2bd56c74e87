//! Passwords: made by chance, set by others, changed by their owner.

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use crate::freeipa::directory::Entry;
use crate::freeipa::parameters::{from_generalized, generalized};

const DIGITS: &[u8] = b"0123456789";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const SPECIAL: &[u8] = b"!$%&()*+,-./:;<>?@[]^_{|}~";
/// How long a password made by chance is.
const LENGTH: usize = 22;
/// The shortest that a user may choose.
const SHORTEST: usize = 8;
/// How long a password has to stay that its owner chose.
const LEAST_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How long a password lives that its owner chose.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// A password made by chance: 22 characters, of each class at least one.
pub(super) fn random() -> String {
    let mut rng = rand::rng();
    let all = [DIGITS, UPPER, LOWER, SPECIAL].concat();
    let mut pick = |from: &[u8]| char::from(from[rng.random_range(..from.len())]);
    let mut password: Vec<char> = [DIGITS, UPPER, LOWER, SPECIAL].map(&mut pick).into();
    password.extend((password.len()..LENGTH).map(|_| pick(&all)));
    password[1..].shuffle(&mut rand::rng());
    password.into_iter().collect()
}

/// Sets a password. Set by somebody else it has expired at once: its owner has to change it first of all.
pub(crate) fn set(entry: &mut Entry, password: &str, by_owner: bool, now: Timestamp) {
    entry.password = Some(password.to_owned());
    entry.passwords_set += 1;
    let expires = if by_owner { now.saturating_add(LIFETIME).unwrap_or(now) } else { now };
    entry.set("krbpasswordexpiration", vec![generalized(expires)]);
    entry.set("krblastpwdchange", vec![generalized(now)]);
}

/// Why a user may not choose this password now. The one it has it may choose again.
pub(crate) fn policy_violation(entry: &Entry, new: &str, now: Timestamp) -> Option<&'static str> {
    let changed = entry.first("krblastpwdchange").and_then(from_generalized);
    let young = changed.and_then(|at| at.checked_add(LEAST_LIFETIME).ok()).is_some_and(|ripe| now < ripe);
    if young && !entry.has_come("krbpasswordexpiration", now) {
        Some("Constraint violation: Too soon to change password")
    } else if new.chars().count() < SHORTEST {
        Some("Constraint violation: Password is too short")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_made_by_chance_have_22_characters_of_all_classes_and_differ() {
        let passwords: Vec<String> = (0..200).map(|_| random()).collect();
        for password in &passwords {
            assert_eq!(password.len(), LENGTH);
            for class in [DIGITS, UPPER, LOWER, SPECIAL] {
                assert!(password.bytes().any(|c| class.contains(&c)), "{password}");
            }
        }
        let unlike: std::collections::BTreeSet<&String> = passwords.iter().collect();
        assert_eq!(unlike.len(), passwords.len());
    }
}
