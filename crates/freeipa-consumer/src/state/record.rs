//! What is remembered of a registration.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::step::Step;
use crate::registration::Applicant;
use crate::status::Unreachable;

/// What is remembered of a registration, one Valkey hash.
///
/// | field | holds |
/// |---|---|
/// | `step` | how far it has come |
/// | `applicant` | whose it is: a hash, see [`Applicant`] |
/// | `said` | what the message says: a hash, see [`RegistrationId::of_content`](crate::registration::RegistrationId::of_content) |
/// | `login` | the name that is tried, or that the account has |
/// | `server` | the server of the directory that it has begun on |
/// | `runs` | how often somebody has worked on it |
/// | `told` | what the applicant was told last: `created`, `queued`, `failed:login_taken`, `failed:refused_by_directory:email`, .. |
/// | `message_id` | the message in Telegram that said so |
/// | `unreported` | why the applicant could not be told |
/// | `gave_up` | 1: it was tried as often as it is to tell the applicant, and nobody tries any more |
/// | `unsaid` | how often it could not be said what became of it, with no tries left |
/// | `revision`, `by`, `updated` | which write this is, whose, and when, in ms of the server's clock |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrationRecord {
    /// How far it has come.
    pub step: Step,
    /// Whose it is, by the hash of [`Applicant`]; of records of earlier releases nobody knows.
    pub applicant: Option<String>,
    /// What the message says, as a hash; of records of earlier releases nobody knows.
    pub said: Option<String>,
    /// The name that is tried, or that the account has.
    pub login: Option<String>,
    /// The server of the directory that it has begun on: the others may not have heard of it yet.
    pub server: Option<String>,
    /// How often somebody has worked on it, this time included.
    pub runs: u32,
    /// What the applicant was told last.
    pub told: Option<String>,
    /// The message in Telegram that said so.
    pub message_id: Option<i64>,
    /// Why the applicant could not be told.
    pub unreported: Option<Unreachable>,
    /// Whether it was tried in vain, as often as it is, to tell the applicant.
    pub gave_up: bool,
    /// How often it could not be said what became of it, with no tries left.
    pub unsaid: u32,
    /// When it was last written, in ms of the server's clock since 1970.
    pub updated: Option<u64>,
    /// Which write it was read from.
    pub(super) revision: u64,
}

/// A record that cannot be read: somebody else's, or a newer consumer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the field `{field}` of the record is nothing that is known here; a newer consumer may have written it"
)]
pub struct RecordFault {
    /// Which field.
    pub field: &'static str,
}

/// One run of one consumer, which its writes are known by.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl RegistrationRecord {
    /// Reads the fields of a hash. Those that are not known are not looked at.
    pub(super) fn of_fields(fields: &BTreeMap<String, String>) -> Result<Self, RecordFault> {
        let get = |name: &str| fields.get(name).map(String::as_str);
        let step = get("step").and_then(Step::of_word).ok_or(RecordFault { field: "step" })?;
        let unreported = get("unreported")
            .map(|word| Unreachable::of_word(word).ok_or(RecordFault { field: "unreported" }))
            .transpose()?;
        Ok(Self {
            step,
            applicant: get("applicant").map(str::to_owned),
            said: get("said").map(str::to_owned),
            login: get("login").map(str::to_owned),
            server: get("server").map(str::to_owned),
            runs: number("runs", get("runs"))?.unwrap_or(0),
            told: get("told").map(str::to_owned),
            message_id: number("message_id", get("message_id"))?,
            unreported,
            gave_up: get("gave_up").is_some(),
            unsaid: number("unsaid", get("unsaid"))?.unwrap_or(0),
            updated: number("updated", get("updated"))?,
            revision: number("revision", get("revision"))?.ok_or(RecordFault { field: "revision" })?,
        })
    }

    /// Whether the applicant does not know what became of it, and nobody tries to say so any more.
    pub fn is_untold(&self) -> bool {
        self.unreported.is_some() || self.gave_up
    }

    /// Whether it is known to be somebody else's than this person's.
    pub fn is_of_another(&self, applicant: Applicant) -> bool {
        self.applicant.as_ref().is_some_and(|known| *known != applicant.hex())
    }

    /// The fields as they are written; an empty one is removed.
    pub(super) fn fields(&self) -> [(&'static str, String); 11] {
        [
            ("step", self.step.as_str().to_owned()),
            ("applicant", self.applicant.clone().unwrap_or_default()),
            ("said", self.said.clone().unwrap_or_default()),
            ("login", self.login.clone().unwrap_or_default()),
            ("server", self.server.clone().unwrap_or_default()),
            ("runs", self.runs.to_string()),
            ("told", self.told.clone().unwrap_or_default()),
            ("message_id", self.message_id.map_or_else(String::new, |id| id.to_string())),
            ("unreported", self.unreported.map_or_else(String::new, |why| why.as_str().to_owned())),
            ("gave_up", if self.gave_up { "1".to_owned() } else { String::new() }),
            (
                "unsaid",
                Some(self.unsaid).filter(|times| *times > 0).map_or_else(String::new, |n| n.to_string()),
            ),
        ]
    }
}

fn number<T: FromStr>(field: &'static str, text: Option<&str>) -> Result<Option<T>, RecordFault> {
    text.map(|text| text.parse().map_err(|_| RecordFault { field })).transpose()
}

impl Token {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "each differs, so it is no default")]
    pub fn new() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<RegistrationRecord, RecordFault> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RegistrationRecord::of_fields(&fields)
    }

    #[test]
    fn what_is_written_is_read() {
        let record = RegistrationRecord {
            step: Step::Done,
            applicant: Some(Applicant::of(42).hex()),
            said: Some("0190".to_owned()),
            login: Some("ada".to_owned()),
            server: Some("ipa1.example.org".to_owned()),
            runs: 3,
            told: Some("created".to_owned()),
            message_id: Some(-7),
            unreported: Some(Unreachable::NeverMet),
            gave_up: true,
            unsaid: 2,
            updated: None,
            revision: 5,
        };
        let mut fields: BTreeMap<String, String> =
            record.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        fields.insert("revision".to_owned(), "5".to_owned());
        assert_eq!(RegistrationRecord::of_fields(&fields), Ok(record));
    }

    #[test]
    fn a_newer_record_is_read_as_far_as_it_is_known_and_no_further() {
        let record = read(&[("step", "grouped"), ("revision", "2"), ("mood", "good")]).unwrap();
        assert_eq!((record.step, record.revision), (Step::Grouped, 2));
        for (fields, field) in [
            (&[("revision", "1")][..], "step"),
            (&[("step", "praised"), ("revision", "1")], "step"),
            (&[("step", "done")], "revision"),
            (&[("step", "done"), ("revision", "1"), ("runs", "many")], "runs"),
            (&[("step", "done"), ("revision", "1"), ("unreported", "shy")], "unreported"),
        ] {
            assert_eq!(read(fields), Err(RecordFault { field }));
        }
    }
}
