//! From bytes to [`UserRegistrationData`]: tolerant of forms, strict in meaning.

use std::collections::BTreeMap;

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::aliases::FieldMap;
use super::data::{Consent, TelegramData, UserRegistrationData};
use super::extra::{Extra, Pairs};
use super::field::{Field, folded};
use super::forbidden::{Found, forbidden, look};
use super::refusal::{InvalidRegistration, Refusal, Why};
use super::{RegistrationId, forms};
use crate::status::Recipient;

/// Characters of names: more than any name has, less than anybody could fill a directory with.
const NAME: usize = 128;
/// Characters of a login: the rule says less, and says it better.
const LOGIN: usize = 255;
/// Characters of a mail address, as RFC 5321 has it.
const EMAIL: usize = 254;
/// Characters of a phone number, however it is grouped.
const PHONE: usize = 40;
/// Characters of ids and other short texts.
const SHORT: usize = 128;
/// Groups that one message may ask for.
const GROUPS: usize = 32;
/// Characters of a group's name, as the directory has it.
const GROUP: usize = 255;

/// A message taken apart, before anybody asks whether it makes sense.
pub(super) struct Parts {
    /// All values of each field: it may be there under several names.
    found: BTreeMap<Field, Vec<Box<RawValue>>>,
    extra: Extra,
    telegram_extra: Extra,
    problems: Vec<InvalidRegistration>,
}

impl UserRegistrationData {
    /// The longest message that is read, in bytes: a hundred times what a registration takes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Reads a payload.
    ///
    /// Keys may be spelt as Go, JavaScript or Python do (`chatId`, `ChatID`, `chat_id`), and those of Telegram may stand at the
    /// top or in `telegram`; `names` adds a deployment's own. Ids may be numbers or texts, times RFC 3339 or numbers since 1970.
    /// Null, the empty text, and the zeros that Go writes for nothing are nothing.
    ///
    /// ```
    /// use freeipa_consumer::registration::{FieldMap, UserRegistrationData};
    ///
    /// let json = br#"{"ChatID":"42","firstName":"Ada","CreatedAt":1795293060,"shoe_size":39}"#;
    /// let data = UserRegistrationData::parse(json, &FieldMap::default())?;
    /// assert_eq!((data.telegram.chat_id, data.first_name.as_deref()), (Some(42), Some("Ada")));
    /// assert_eq!(data.extra.get("shoe_size"), Some("39"));
    /// # Ok::<(), freeipa_consumer::registration::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with the form of the message, or that it may not choose. A message of a newer schema is refused
    /// for that alone.
    pub fn parse(json: &[u8], names: &FieldMap) -> Result<Self, Refusal> {
        Parts::of(json, names)?.into_data()
    }
}

impl Parts {
    /// Takes a message apart.
    pub(super) fn of(json: &[u8], names: &FieldMap) -> Result<Self, Refusal> {
        let limit = UserRegistrationData::MAX_BYTES;
        if json.len() > limit {
            return Err(Refusal::of(Field::Message, Why::TooLong { limit }));
        }
        Self::of_any_length(json, names)
    }

    /// The same, for who asks only whom to answer.
    fn of_any_length(json: &[u8], names: &FieldMap) -> Result<Self, Refusal> {
        let pairs = serde_json::from_slice::<Pairs>(json).map_err(|error| {
            let why = if error.classify() == Category::Data { Why::NotAnObject } else { Why::NotJson };
            Refusal::of(Field::Message, why)
        })?;
        let mut parts = Self {
            found: BTreeMap::new(),
            extra: Extra::default(),
            telegram_extra: Extra::default(),
            problems: Vec::new(),
        };
        let nested: Vec<_> = names.nested(&pairs.0).collect();
        for (key, value) in pairs.0 {
            parts.look_into(&key, &value);
            match names.of_key(&key).or_else(|| Field::of_key(&key, false)) {
                Some(field) => parts.found.entry(field).or_default().push(value),
                None if is_telegram(&key) && value.get() != "null" => parts.telegram(&value),
                None => parts.extra.push(key, value),
            }
        }
        for (field, value) in nested {
            parts.found.entry(field).or_default().push(value);
        }
        Ok(parts)
    }

    /// The object of Telegram.
    fn telegram(&mut self, value: &RawValue) {
        let Ok(Pairs(pairs)) = serde_json::from_str(value.get()) else {
            return self.problem(Field::UserId, Why::NotAnObject);
        };
        for (key, value) in pairs {
            match Field::of_key(&key, true) {
                Some(field) => self.found.entry(field).or_default().push(value),
                None => self.telegram_extra.push(key, value),
            }
        }
    }

    /// Whether somebody tries to choose what is not his.
    fn look_into(&mut self, key: &str, value: &RawValue) {
        if let Some(name) = forbidden(key) {
            return self.problem(Field::Message, Why::Forbidden { name });
        }
        match look(value) {
            Some(Found::Forbidden(name)) => self.problem(Field::Message, Why::Forbidden { name }),
            Some(Found::Unreadable) => self.problem(Field::Message, Why::Unreadable),
            None => {}
        }
    }

    fn problem(&mut self, field: Field, why: Why) {
        let problem = InvalidRegistration { field, why };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The one value of a field. The same thing said twice is said once.
    fn one<T: PartialEq>(
        &mut self,
        field: Field,
        read: impl Fn(&RawValue) -> Result<Option<T>, Why>,
    ) -> Option<T> {
        let mut value = None;
        for raw in self.found.remove(&field).unwrap_or_default() {
            match read(&raw) {
                Ok(None) => {}
                Ok(Some(said)) if value.is_none() => value = Some(said),
                Ok(said) if said == value => {}
                Ok(Some(_)) => self.problem(field, Why::Ambiguous),
                Err(why) => self.problem(field, why),
            }
        }
        value
    }

    fn text(&mut self, field: Field, limit: usize) -> Option<String> {
        self.one(field, |raw| forms::text(raw, limit))
    }

    /// Where an answer to a message may go, whatever else is wrong with it; and what it calls itself.
    pub(super) fn contact(mut self) -> (Option<Recipient>, Option<RegistrationId>) {
        let user_id = self.one(Field::UserId, forms::id);
        let chat_id = self.one(Field::ChatId, forms::id);
        let language = self.text(Field::LanguageCode, SHORT);
        let given = self.one(Field::RegistrationId, |raw| forms::text_or_number(raw, SHORT));
        // An answer to somebody else would be worse than none.
        let unclear =
            |field| self.problems.iter().any(|problem: &InvalidRegistration| problem.field == field);
        let recipient = if unclear(Field::UserId) || unclear(Field::ChatId) {
            None
        } else {
            Recipient::new(user_id, chat_id, language)
        };
        (recipient, given.as_deref().and_then(RegistrationId::given))
    }

    pub(super) fn into_data(mut self) -> Result<UserRegistrationData, Refusal> {
        let known = UserRegistrationData::SCHEMA;
        let schema = self.one(Field::Schema, number).unwrap_or(known);
        if schema > known {
            return Err(Refusal::of(Field::Schema, Why::UnsupportedSchema { found: schema, known }));
        }
        let data = UserRegistrationData {
            schema,
            registration_id: self.one(Field::RegistrationId, |raw| forms::text_or_number(raw, SHORT)),
            created_at: self.one(Field::CreatedAt, forms::time),
            source: self.text(Field::Source, SHORT),
            telegram: TelegramData {
                user_id: self.one(Field::UserId, forms::id),
                chat_id: self.one(Field::ChatId, forms::id),
                username: self.text(Field::Username, SHORT),
                language_code: self.text(Field::LanguageCode, SHORT),
                message_id: self.one(Field::MessageId, forms::id),
                extra: std::mem::take(&mut self.telegram_extra),
            },
            first_name: self.text(Field::FirstName, NAME),
            last_name: self.text(Field::LastName, NAME),
            email: self.text(Field::Email, EMAIL),
            phone: self.one(Field::Phone, |raw| forms::text_or_number(raw, PHONE)),
            requested_login: self.text(Field::RequestedLogin, LOGIN),
            groups: self
                .one(Field::Groups, |raw| {
                    forms::texts(raw, GROUPS, GROUP).map(|groups| Some(groups).filter(|all| !all.is_empty()))
                })
                .unwrap_or_default(),
            consent: self.one(Field::Consent, consent),
            trace_id: self.one(Field::TraceId, |raw| forms::text_or_number(raw, SHORT)),
            attempt: self.one(Field::Attempt, number),
            extra: std::mem::take(&mut self.extra),
        };
        if self.problems.is_empty() {
            Ok(data)
        } else {
            self.problems.sort_by_key(|problem| problem.field);
            Err(Refusal::new(self.problems))
        }
    }
}

/// Where an answer to a message may go, and what the message calls itself, as far as that can be made out: also of one that is
/// refused, whose applicant is to hear of it.
///
/// Nobody is named where the message contradicts itself about whom it is from. The id is the message's own, or derived from its
/// bytes.
pub fn contact(json: &[u8], names: &FieldMap) -> (Option<Recipient>, RegistrationId) {
    let (recipient, given) = Parts::of_any_length(json, names).map(Parts::contact).unwrap_or_default();
    (recipient, given.unwrap_or_else(|| RegistrationId::of_bytes(json)))
}

fn is_telegram(key: &str) -> bool {
    matches!(folded(key).as_str(), "telegram" | "tg" | "telegramuser")
}

fn number(raw: &RawValue) -> Result<Option<u32>, Why> {
    forms::id(raw)?.map(|number| u32::try_from(number).map_err(|_| Why::Range)).transpose()
}

/// What was agreed to: an object, or only whether.
fn consent(raw: &RawValue) -> Result<Option<Consent>, Why> {
    match raw.get() {
        "null" => return Ok(None),
        "true" | "false" => {
            return Ok(Some(Consent { accepted: raw.get() == "true", ..Consent::default() }));
        }
        _ => {}
    }
    let Pairs(pairs) = serde_json::from_str(raw.get()).map_err(|_| Why::NotAnObject)?;
    let (mut consent, mut accepted) = (Consent::default(), None);
    for (key, value) in pairs {
        match folded(&key).as_str() {
            "accepted" => {
                accepted = match value.get() {
                    "true" => Some(true),
                    "false" => Some(false),
                    "null" => None,
                    _ => return Err(Why::Type { expected: "true or false" }),
                }
            }
            "acceptedat" => consent.accepted_at = forms::time(&value)?,
            "policyversion" => consent.policy_version = forms::text_or_number(&value, SHORT)?,
            _ => consent.extra.push(key, value),
        }
    }
    consent.accepted = accepted.unwrap_or(consent.accepted_at.is_some());
    Ok(Some(consent))
}
