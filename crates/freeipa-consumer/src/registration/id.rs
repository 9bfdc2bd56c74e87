//! The id of a registration: what makes creating its account idempotent.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::json;
use uuid::Uuid;

use super::UserRegistrationData;
use crate::login::Login;

/// What one registration is known by, in the directory, in Valkey, in logs and to the applicant.
///
/// It is the `registration_id` of the message if that is a UUID; the nil UUID, which Go writes for none, is none. Any other
/// message has an id [derived](Self::of_content) from whom it is about and what it says.
///
/// ```
/// use freeipa_consumer::registration::{FieldMap, RegistrationId, UserRegistrationData};
///
/// let read = |json: &str| UserRegistrationData::parse(json.as_bytes(), &FieldMap::default());
/// let said = RegistrationId::of_content(&read(r#"{"user_id":42,"first_name":"Ada","attempt":1}"#)?);
/// let given = RegistrationId::of(Some("0190ABCD-0000-7000-8000-0123456789AB"), said);
/// assert_eq!(given.to_string(), "0190abcd-0000-7000-8000-0123456789ab");
/// assert_eq!(given.marker(), "tgreg:0190abcd-0000-7000-8000-0123456789ab");
/// assert_eq!(given.reference().to_string(), "#456789ab");
/// assert_eq!(RegistrationId::of(Some("no uuid"), said), said);
/// assert_eq!(RegistrationId::of_content(&read(r#"{"firstName":"Ada","chatId":"42"}"#)?), said);
/// assert_ne!(RegistrationId::of_content(&read(r#"{"user_id":42,"first_name":"Eve"}"#)?), said);
/// # Ok::<(), freeipa_consumer::registration::Refusal>(())
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

    /// The id that a message gives, or the one derived from what it says.
    pub fn of(given: Option<&str>, said: Self) -> Self {
        given.and_then(Self::given).unwrap_or(said)
    }

    /// The id derived from what a message says: the UUID of version 5, in the name space [`NAMESPACE`](Self::NAMESPACE), of a JSON array
    /// without spaces of the person's number, first name, last name, mail address, phone number, login asked for in lower case (else the
    /// name in Telegram), groups in order, whether was agreed, and to which text; `null` for what is not there.
    ///
    /// When, how often, through whom and where to a message is sent is not part of it: a repetition is the same registration, and
    /// whoever corrects something makes another one.
    pub fn of_content(data: &UserRegistrationData) -> Self {
        let telegram = &data.telegram;
        let person = telegram.user_id.or(telegram.chat_id).filter(|id| *id > 0);
        let login = data.requested_login.as_deref().or(telegram.username.as_deref()).map(Login::fold);
        let groups: BTreeSet<&String> = data.groups.iter().collect();
        let consent = data.consent.as_ref();
        let said = json!([
            person,
            data.first_name,
            data.last_name,
            data.email,
            data.phone,
            login,
            groups,
            consent.map(|consent| consent.accepted),
            consent.and_then(|consent| consent.policy_version.as_ref()),
        ]);
        Self::derived(said.to_string().as_bytes())
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

    fn said(json: &str) -> RegistrationId {
        let data = UserRegistrationData::parse(json.as_bytes(), &crate::registration::FieldMap::default());
        RegistrationId::of_content(&data.unwrap_or_default())
    }

    #[test]
    fn derived_ids_are_the_same_for_ever() {
        let all = r#"{"telegram":{"user_id":42,"username":"Countess"},"first_name":"Ada","groups":["b","a"],"consent":true}"#;
        let text = r#"[42,"Ada",null,null,null,"countess",["a","b"],true,null]"#;
        assert_eq!(said(all).0, Uuid::new_v5(&RegistrationId::NAMESPACE, text.as_bytes()));
        assert_eq!(said("{}"), RegistrationId::of_bytes(b"[null,null,null,null,null,null,[],null,null]"));
    }

    #[test]
    fn what_is_said_makes_a_registration_and_how_it_was_sent_does_not() {
        let with = |more: &str| said(&format!(r#"{{"telegram":{{"user_id":42}},"first_name":"Ada"{more}}}"#));
        let plain = with("");
        for sent in [
            r#","attempt":3"#,
            r#","trace_id":"x","source":"bot""#,
            r#","created_at":"2026-11-21T20:31:00Z""#,
            r#","message_id":7,"language_code":"ru","chat_id":42,"shoe_size":39"#,
        ] {
            assert_eq!(with(sent), plain, "{sent}");
        }
        for other in [
            r#","last_name":"Quinn""#,
            r#","email":"a@example.org""#,
            r#","phone":"+4930123456""#,
            r#","requested_login":"ada""#,
            r#","groups":["a"]"#,
            r#","consent":true"#,
        ] {
            assert_ne!(with(other), plain, "{other}");
        }
        assert_ne!(said(r#"{"user_id":43,"first_name":"Ada"}"#), plain);
    }

    #[test]
    fn an_id_that_stands_for_nothing_is_none() {
        let said = RegistrationId::of_bytes(b"said");
        for nothing in
            ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "7", ""]
        {
            assert_eq!(RegistrationId::of(Some(nothing), said), said, "{nothing}");
            assert_eq!(nothing.parse::<RegistrationId>(), Err(InvalidRegistrationId));
        }
    }
}
