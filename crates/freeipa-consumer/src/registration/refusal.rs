//! Why a registration is refused.

use std::borrow::Cow;
use std::fmt;

use valkey_envelope::DeadReason;

use super::Field;
use crate::login::InvalidLogin;

/// One thing that is wrong with a registration: where, and what.
///
/// It never shows what the message says there, which is somebody's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidRegistration {
    /// Where.
    pub field: Field,
    /// What.
    pub why: Why,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// It is there twice, under two names or twice under one, and says different things.
    #[error("it is there more than once, and not the same each time")]
    Ambiguous,
    /// A character that the directory does not take there.
    #[error("it holds a character that the directory does not take")]
    Character,
    /// The applicant has not agreed to what has to be agreed to.
    #[error("the applicant has not agreed")]
    ConsentMissing,
    /// The domain of the address is not one of those that are taken.
    #[error("addresses of this domain are not taken")]
    Domain,
    /// The message tries to set what no message may set.
    #[error("`{name}` is not for a message to choose")]
    Forbidden {
        /// The name of the attribute or option.
        name: &'static str,
    },
    /// A group that is not on the list of those a message may ask for.
    #[error("the group {group:?} is not one that a message may ask for: see groups_allowed")]
    GroupNotAllowed {
        /// The group, shortened.
        group: String,
    },
    /// A login that breaks a rule.
    #[error(transparent)]
    Login(InvalidLogin),
    /// It has to be there.
    #[error("it is missing")]
    Missing,
    /// The payload is no JSON.
    #[error("it is no JSON")]
    NotJson,
    /// The payload, or an object in it, is something else.
    #[error("it is no object")]
    NotAnObject,
    /// A number that is none of those that may stand there.
    #[error("the number is out of range")]
    Range,
    /// It has not the form of such a thing: no address, no phone number.
    #[error("it has not the form of one")]
    Syntax,
    /// No time as anybody writes one.
    #[error("it is no time: RFC 3339, or seconds or milliseconds since 1970")]
    Time,
    /// It is longer than what is read.
    #[error("it is too long: at most {limit}")]
    TooLong {
        /// How long it may be: characters, or entries of a list; bytes of a message.
        limit: usize,
    },
    /// Another type of value was expected.
    #[error("expected {expected}")]
    Type {
        /// Which.
        expected: &'static str,
    },
    /// Nested too deep, or a number beyond all bounds.
    #[error("it is nested too deep, or holds a number beyond all bounds")]
    Unreadable,
    /// A message newer than this consumer.
    #[error(
        "version {found} is newer than this consumer, which knows {known}: update it, then replay the message"
    )]
    UnsupportedSchema {
        /// What the message says.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
}

/// All that is wrong with a registration, so that the applicant hears it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Vec<InvalidRegistration>);

// === impl Why ===

impl Why {
    /// Under which key of `[reasons]` the texts for applicants say it.
    pub const fn text_key(&self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Character => "character",
            Self::ConsentMissing => "consent",
            Self::Domain => "domain",
            Self::Forbidden { .. } => "forbidden",
            Self::GroupNotAllowed { .. } => "group",
            Self::Login(invalid) => invalid.text_key(),
            Self::Missing => "missing",
            Self::NotJson | Self::NotAnObject | Self::Type { .. } | Self::Unreadable => "malformed",
            Self::Range | Self::Syntax | Self::Time => "syntax",
            Self::TooLong { .. } => "too_long",
            Self::UnsupportedSchema { .. } => "unsupported",
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// `problems` is never empty.
    pub(super) fn new(problems: Vec<InvalidRegistration>) -> Self {
        debug_assert!(!problems.is_empty(), "a refusal has at least one reason");
        Self(problems)
    }

    pub(super) fn of(field: Field, why: Why) -> Self {
        Self(vec![InvalidRegistration { field, why }])
    }

    /// What is wrong, at least one thing.
    pub fn problems(&self) -> &[InvalidRegistration] {
        &self.0
    }

    /// The classes of dead letters that there are: see [`dead_reason`](Self::dead_reason).
    pub const DEAD_REASONS: [&'static str; 4] =
        ["forbidden_field", "invalid_registration", "malformed", "unsupported_schema"];

    /// Whether it is ours to mend, and not the applicant's: the message is newer than this consumer.
    pub(crate) fn is_ours(&self) -> bool {
        self.0.iter().any(|problem| matches!(problem.why, Why::UnsupportedSchema { .. }))
    }

    /// The fields and what is wrong with each, in words without personal data: `email=syntax,phone=missing`.
    pub(crate) fn code(&self) -> String {
        let codes: Vec<String> = self
            .0
            .iter()
            .map(|problem| format!("{}={}", problem.field.name(), problem.why.text_key()))
            .collect();
        codes.join(",")
    }

    /// The class of the dead letter: `unsupported_schema` (a newer consumer can have it replayed), `forbidden_field` (somebody
    /// tried something), `malformed` (the producer is at fault), or `invalid_registration` (the applicant's data).
    pub fn dead_reason(&self) -> DeadReason {
        let has = |is: fn(&Why) -> bool| self.0.iter().any(|problem| is(&problem.why));
        let reason = if self.is_ours() {
            "unsupported_schema"
        } else if has(|why| matches!(why, Why::Forbidden { .. })) {
            "forbidden_field"
        } else if has(|why| why.text_key() == "malformed" || matches!(why, Why::Ambiguous)) {
            "malformed"
        } else {
            "invalid_registration"
        };
        DeadReason::Other(Cow::Borrowed(reason))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the registration is refused")?;
        for (position, problem) in self.0.iter().enumerate() {
            write!(f, "{} {problem}", if position == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(whys: &[Why]) -> Refusal {
        let problem = |why: &Why| InvalidRegistration { field: Field::Email, why: why.clone() };
        Refusal::new(whys.iter().map(problem).collect())
    }

    #[test]
    fn the_worst_reason_is_the_class() {
        let newer = Why::UnsupportedSchema { found: 2, known: 1 };
        let forbidden = Why::Forbidden { name: "uidnumber" };
        for (whys, reason) in [
            (&[Why::Missing, Why::Syntax][..], "invalid_registration"),
            (&[Why::Missing, Why::NotJson], "malformed"),
            (&[Why::Type { expected: "a text" }, forbidden.clone()], "forbidden_field"),
            (&[forbidden, newer], "unsupported_schema"),
        ] {
            assert_eq!(refusal(whys).dead_reason().as_str(), reason);
            assert!(Refusal::DEAD_REASONS.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn all_problems_are_said() {
        let text = refusal(&[Why::Missing, Why::TooLong { limit: 3 }]).to_string();
        assert_eq!(
            text,
            "the registration is refused: email: it is missing; email: it is too long: at most 3"
        );
    }
}
