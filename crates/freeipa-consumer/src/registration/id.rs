//! The id of a registration: what makes creating its account idempotent.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What one registration is known by, in the directory, in Valkey, in logs and to the applicant.
///
/// It is the `registration_id` of the message if that is a UUID; the nil UUID, which Go writes for none, is none. Any other
/// message has an id derived from whom it is about: the UUID of version 5 of the text `TG_USER_ID|REQUESTED_LOGIN` (the login
/// in lower case, empty where none was asked for) in the name space [`NAMESPACE`](Self::NAMESPACE). The same person asking for the same login
/// again is then the same registration, however often it is sent.
///
/// ```
/// use freeipa_consumer::registration::RegistrationId;
///
/// let given = RegistrationId::of(Some("0190ABCD-0000-7000-8000-0123456789AB"), 42, "ada");
/// assert_eq!(given.to_string(), "0190abcd-0000-7000-8000-0123456789ab");
/// assert_eq!(given.marker(), "tgreg:0190abcd-0000-7000-8000-0123456789ab");
/// assert_eq!(given.reference().to_string(), "#456789ab");
/// assert_eq!(RegistrationId::of(None, 42, "ada"), RegistrationId::of(Some("no uuid"), 42, "ada"));
/// assert_ne!(RegistrationId::of(None, 42, "ada"), RegistrationId::of(None, 42, "eve"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrationId(Uuid);

/// A text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a UUID")]
pub struct InvalidRegistrationId;

/// What an applicant and an operator call a registration: `#ab12cd34`.
///
/// It is the end of the id: the beginning of a UUID of version 7 is a time, which those of one minute share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference(u32);

// === impl RegistrationId ===

impl RegistrationId {
    /// The name space of derived ids. It must never change: another one would make other accounts of the same registrations.
    pub const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_9a3e_7c1d_4e52_9b6a_3d2f_81c4_07e8);

    /// The id that a message gives, or the one derived from whom it is about.
    pub fn of(given: Option<&str>, user_id: i64, requested_login: &str) -> Self {
        given
            .and_then(Self::given)
            .unwrap_or_else(|| Self::derived(format!("{user_id}|{requested_login}").as_bytes()))
    }

    /// The id of a message that does not say whom it is about: derived from its bytes, so that the same message is the same
    /// registration when it is delivered again.
    pub fn of_bytes(payload: &[u8]) -> Self {
        Self::derived(payload)
    }

    /// A UUID that stands for something.
    pub(super) fn given(text: &str) -> Option<Self> {
        Uuid::try_parse(text.trim()).ok().filter(|id| !id.is_nil() && !id.is_max()).map(Self)
    }

    fn derived(name: &[u8]) -> Self {
        Self(Uuid::new_v5(&Self::NAMESPACE, name))
    }

    /// The value of `userclass` by which the account of this registration is known in the directory.
    pub fn marker(self) -> String {
        format!("tgreg:{self}")
    }

    /// What people call it.
    pub fn reference(self) -> Reference {
        // The last four bytes: random in every version that is in use.
        Reference(self.0.as_u128() as u32)
    }
}

impl FromStr for RegistrationId {
    type Err = InvalidRegistrationId;

    fn from_str(text: &str) -> Result<Self, InvalidRegistrationId> {
        Self::given(text).ok_or(InvalidRegistrationId)
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_the_same_for_ever() {
        assert_eq!(
            RegistrationId::of(None, 42, "apetrova").to_string(),
            Uuid::new_v5(&RegistrationId::NAMESPACE, b"42|apetrova").hyphenated().to_string()
        );
        assert_eq!(RegistrationId::of_bytes(b"42|"), RegistrationId::of(None, 42, ""));
    }

    #[test]
    fn an_id_that_stands_for_nothing_is_none() {
        for nothing in
            ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "7", ""]
        {
            assert_eq!(
                RegistrationId::of(Some(nothing), 1, "a"),
                RegistrationId::of(None, 1, "a"),
                "{nothing}"
            );
            assert_eq!(nothing.parse::<RegistrationId>(), Err(InvalidRegistrationId));
        }
    }
}
