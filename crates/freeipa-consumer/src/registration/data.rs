//! `UserRegistrationData`: what a producer says.

use std::fmt;

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Extra, Field};

/// The registration as the message has it: of the right types and sizes, not yet checked.
///
/// It is read by [`parse`](Self::parse), which understands the forms that different writers have. Written back with serde it
/// has the one form below, and every field that nobody here knows, letter by letter.
///
/// ```json
/// {"schema":1,"registration_id":"0190…","created_at":"2026-11-21T20:31:00Z","source":"telegram-bot",
///  "telegram":{"user_id":42,"chat_id":42,"username":"alice","language_code":"ru","message_id":10},
///  "first_name":"Анна","last_name":"Петрова","email":"a@example.org","phone":"+79990001122",
///  "requested_login":"apetrova","groups":["tg-users"],
///  "consent":{"accepted_at":"2026-11-21T20:30:00Z","policy_version":"3"},"trace_id":"…","attempt":0}
/// ```
///
/// `Debug` shows no personal data.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRegistrationData {
    /// The version of the message's form; 1 where it says none.
    pub schema: u32,
    /// What the producer calls the registration.
    pub registration_id: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Who made it.
    pub source: Option<String>,
    /// Whom it is about in Telegram, and where to answer.
    pub telegram: TelegramData,
    /// The given name.
    pub first_name: Option<String>,
    /// The family name, which not everybody has.
    pub last_name: Option<String>,
    /// The mail address.
    pub email: Option<String>,
    /// The phone number.
    pub phone: Option<String>,
    /// The login asked for.
    pub requested_login: Option<String>,
    /// The groups asked for.
    pub groups: Vec<String>,
    /// What the applicant has agreed to.
    pub consent: Option<Consent>,
    /// What ties the logs of several programs together.
    pub trace_id: Option<String>,
    /// The producer's count of its own tries.
    pub attempt: Option<u32>,
    /// Everything else.
    pub extra: Extra,
}

/// Whom it is about in Telegram, and where to answer.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TelegramData {
    /// The person.
    pub user_id: Option<i64>,
    /// Where to answer. The private chat with a person has the person's id; groups have negative ones.
    pub chat_id: Option<i64>,
    /// The name in Telegram, which not everybody has, and which may change.
    pub username: Option<String>,
    /// The language of the person's client: `ru`, `pt-br`.
    pub language_code: Option<String>,
    /// The message that asked for the account.
    pub message_id: Option<i64>,
    /// Everything else in the object.
    pub extra: Extra,
}

/// What the applicant has agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consent {
    /// Whether at all. A message that says only when, says so, too.
    pub accepted: bool,
    /// When.
    pub accepted_at: Option<Timestamp>,
    /// To which text.
    pub policy_version: Option<String>,
    /// Everything else in the object.
    pub extra: Extra,
}

impl UserRegistrationData {
    /// The newest form that is understood.
    pub const SCHEMA: u32 = 1;

    /// Whether the message holds something in that field.
    pub fn has(&self, field: Field) -> bool {
        match field {
            Field::Message | Field::Schema => true,
            Field::RegistrationId => self.registration_id.is_some(),
            Field::CreatedAt => self.created_at.is_some(),
            Field::Source => self.source.is_some(),
            Field::UserId => self.telegram.user_id.is_some(),
            Field::ChatId => self.telegram.chat_id.is_some(),
            Field::Username => self.telegram.username.is_some(),
            Field::LanguageCode => self.telegram.language_code.is_some(),
            Field::MessageId => self.telegram.message_id.is_some(),
            Field::FirstName => self.first_name.is_some(),
            Field::LastName => self.last_name.is_some(),
            Field::Email => self.email.is_some(),
            Field::Phone => self.phone.is_some(),
            Field::RequestedLogin => self.requested_login.is_some(),
            Field::Groups => !self.groups.is_empty(),
            Field::Consent => self.consent.is_some(),
            Field::TraceId => self.trace_id.is_some(),
            Field::Attempt => self.attempt.is_some(),
        }
    }
}

impl Serialize for UserRegistrationData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(Field::Schema.key(), &self.schema)?;
        optional(&mut map, Field::RegistrationId, self.registration_id.as_ref())?;
        optional(&mut map, Field::CreatedAt, self.created_at.as_ref())?;
        optional(&mut map, Field::Source, self.source.as_ref())?;
        if self.telegram != TelegramData::default() {
            map.serialize_entry("telegram", &self.telegram)?;
        }
        optional(&mut map, Field::FirstName, self.first_name.as_ref())?;
        optional(&mut map, Field::LastName, self.last_name.as_ref())?;
        optional(&mut map, Field::Email, self.email.as_ref())?;
        optional(&mut map, Field::Phone, self.phone.as_ref())?;
        optional(&mut map, Field::RequestedLogin, self.requested_login.as_ref())?;
        optional(&mut map, Field::Groups, Some(&self.groups).filter(|groups| !groups.is_empty()))?;
        optional(&mut map, Field::Consent, self.consent.as_ref())?;
        optional(&mut map, Field::TraceId, self.trace_id.as_ref())?;
        optional(&mut map, Field::Attempt, self.attempt.as_ref())?;
        self.extra.serialize_into(&mut map)?;
        map.end()
    }
}

impl Serialize for TelegramData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, Field::UserId, self.user_id.as_ref())?;
        optional(&mut map, Field::ChatId, self.chat_id.as_ref())?;
        optional(&mut map, Field::Username, self.username.as_ref())?;
        optional(&mut map, Field::LanguageCode, self.language_code.as_ref())?;
        optional(&mut map, Field::MessageId, self.message_id.as_ref())?;
        self.extra.serialize_into(&mut map)?;
        map.end()
    }
}

impl Serialize for Consent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("accepted", &self.accepted)?;
        if let Some(time) = &self.accepted_at {
            map.serialize_entry("accepted_at", time)?;
        }
        if let Some(version) = &self.policy_version {
            map.serialize_entry("policy_version", version)?;
        }
        self.extra.serialize_into(&mut map)?;
        map.end()
    }
}

fn optional<M: SerializeMap, T: Serialize>(
    map: &mut M,
    field: Field,
    value: Option<&T>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(field.key(), value))
}

/// Which fields there are, and none of their content.
impl fmt::Debug for UserRegistrationData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> =
            Field::ALL.into_iter().filter(|field| self.has(*field)).map(Field::name).collect();
        f.debug_struct("UserRegistrationData")
            .field("schema", &self.schema)
            .field("fields", &fields)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TelegramData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramData").field("extra", &self.extra).finish_non_exhaustive()
    }
}
