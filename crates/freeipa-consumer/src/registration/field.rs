//! The fields of a registration, by name.

use std::fmt;
use std::str::FromStr;

/// A field of a registration. Errors name it, settings and texts refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// The message as a whole.
    Message,
    /// `schema`
    Schema,
    /// `registration_id`
    RegistrationId,
    /// `created_at`
    CreatedAt,
    /// `source`
    Source,
    /// `telegram.user_id`
    UserId,
    /// `telegram.chat_id`
    ChatId,
    /// `telegram.username`
    Username,
    /// `telegram.language_code`
    LanguageCode,
    /// `telegram.message_id`
    MessageId,
    /// `first_name`
    FirstName,
    /// `last_name`
    LastName,
    /// `email`
    Email,
    /// `phone`
    Phone,
    /// `requested_login`
    RequestedLogin,
    /// `groups`
    Groups,
    /// `consent`
    Consent,
    /// `trace_id`
    TraceId,
    /// `attempt`
    Attempt,
}

/// A name that is none of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a field of a registration, such as `first_name`, `email` or `telegram.user_id`")]
pub struct UnknownField;

impl Field {
    /// All that a message may hold, in the order in which they are written.
    pub const ALL: [Self; 18] = [
        Self::Schema,
        Self::RegistrationId,
        Self::CreatedAt,
        Self::Source,
        Self::UserId,
        Self::ChatId,
        Self::Username,
        Self::LanguageCode,
        Self::MessageId,
        Self::FirstName,
        Self::LastName,
        Self::Email,
        Self::Phone,
        Self::RequestedLogin,
        Self::Groups,
        Self::Consent,
        Self::TraceId,
        Self::Attempt,
    ];

    /// The name, with the object it stands in.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Schema => "schema",
            Self::RegistrationId => "registration_id",
            Self::CreatedAt => "created_at",
            Self::Source => "source",
            Self::UserId => "telegram.user_id",
            Self::ChatId => "telegram.chat_id",
            Self::Username => "telegram.username",
            Self::LanguageCode => "telegram.language_code",
            Self::MessageId => "telegram.message_id",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::RequestedLogin => "requested_login",
            Self::Groups => "groups",
            Self::Consent => "consent",
            Self::TraceId => "trace_id",
            Self::Attempt => "attempt",
        }
    }

    /// The key within its object, as we write it: `user_id`.
    pub(crate) fn key(self) -> &'static str {
        self.name().rsplit_once('.').map_or(self.name(), |(_, key)| key)
    }

    /// Whether it stands in the object `telegram`.
    pub(crate) const fn is_of_telegram(self) -> bool {
        matches!(self, Self::UserId | Self::ChatId | Self::Username | Self::LanguageCode | Self::MessageId)
    }

    /// The field that a key means, however it is spelt: `chat_id`, `chatId` and `ChatID` are one. `in_telegram` says where the
    /// key stands; fields of Telegram may also stand at the top.
    pub(crate) fn of_key(key: &str, in_telegram: bool) -> Option<Self> {
        let field = match (folded(key).as_str(), in_telegram) {
            ("userid" | "telegramid" | "telegramuserid" | "tgid" | "tguserid", _) | ("id", true) => {
                Self::UserId
            }
            ("chatid" | "telegramchatid" | "tgchatid", _) => Self::ChatId,
            ("username" | "telegramusername" | "tgusername", _) => Self::Username,
            ("languagecode" | "language" | "lang" | "locale", _) => Self::LanguageCode,
            ("messageid" | "telegrammessageid", _) => Self::MessageId,
            (_, true) => return None,
            ("schema" | "schemaversion", _) => Self::Schema,
            ("registrationid", _) => Self::RegistrationId,
            ("createdat" | "requestedat", _) => Self::CreatedAt,
            ("source", _) => Self::Source,
            ("firstname" | "givenname", _) => Self::FirstName,
            ("lastname" | "surname" | "familyname", _) => Self::LastName,
            ("email" | "emailaddress" | "mail", _) => Self::Email,
            ("phone" | "phonenumber" | "telephone" | "telephonenumber" | "mobile", _) => Self::Phone,
            ("requestedlogin" | "desiredlogin" | "login", _) => Self::RequestedLogin,
            ("groups", _) => Self::Groups,
            ("consent", _) => Self::Consent,
            ("traceid", _) => Self::TraceId,
            ("attempt", _) => Self::Attempt,
            _ => return None,
        };
        Some(field)
    }
}

/// A key without what its spelling adds: lower case, letters and digits only.
pub(super) fn folded(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl FromStr for Field {
    type Err = UnknownField;

    fn from_str(text: &str) -> Result<Self, UnknownField> {
        let is_meant = |field: &Self| field.name() == text || field.key() == text;
        Self::ALL.into_iter().find(is_meant).ok_or(UnknownField)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_key_is_the_same_field() {
        for (keys, field) in [
            (&["chat_id", "chatId", "ChatID", "CHAT-ID", "telegram_chat_id"][..], Field::ChatId),
            (&["user_name", "username", "Username", "UserName"], Field::Username),
            (&["first_name", "firstName", "FirstName", "givenname"], Field::FirstName),
            (&["createdAt", "CreatedAt", "created_at"], Field::CreatedAt),
        ] {
            for key in keys {
                assert_eq!(Field::of_key(key, false), Some(field), "{key}");
            }
        }
        assert_eq!(Field::of_key("id", true), Some(Field::UserId));
        assert_eq!(Field::of_key("id", false), None, "at the top nobody knows whose");
        assert_eq!(Field::of_key("first_name", true), None);
        assert_eq!(Field::of_key("", false), None);
    }

    #[test]
    fn every_field_is_found_by_what_it_is_called() {
        for field in Field::ALL {
            assert_eq!(field.name().parse(), Ok(field));
            assert_eq!(Field::of_key(field.key(), field.is_of_telegram()), Some(field));
        }
        assert_eq!("nothing".parse::<Field>(), Err(UnknownField));
    }
}
