//! One registration, and what must come of it.

use serde::Serialize;

use super::kind::Kind;
use super::person::Person;

/// One registration as it is sent, with all that is known of it beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    pub(crate) person: Person,
    /// What is pushed on the queue.
    pub(crate) element: Vec<u8>,
    /// How often it is pushed beyond the first time.
    pub(crate) again: usize,
    /// By what the dead letter is known: the id of the envelope, or a word in what is none.
    pub(crate) mark: String,
    /// The id of the registration, if it brings one.
    pub(crate) id: Option<String>,
    /// Where it was asked for.
    pub(crate) asked_in: i64,
    /// Where the answer goes; also where it would go, if it could be told.
    pub(crate) chat: i64,
    pub(crate) chat_state: Chat,
    pub(crate) expected: Expected,
}

/// What has to be true in Telegram before the registration is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Chat {
    Open,
    /// Its first two messages fail.
    Flaky,
    Blocked,
    Deactivated,
    NotFound,
    NotStarted,
    /// It goes on as another chat.
    Migrated {
        to: i64,
    },
}

/// What must come of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) account: Option<Account>,
    pub(crate) told: Told,
    /// The reasons that its dead letter may have; none if there must be none.
    pub(crate) dead: &'static [&'static str],
}

/// The account as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) login: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) groups: Vec<&'static str>,
}

/// What the applicant must have read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    /// The login, and a password that works.
    Created,
    /// The login, and no password: others read it, too.
    CreatedUntold,
    Failed(Vec<(&'static str, &'static str)>),
    /// That there is an account of an earlier registration.
    HasAccount,
    Unexpected,
}

impl Case {
    /// What must be in no log: it would say who somebody is.
    pub(crate) fn personal(&self) -> Vec<String> {
        let person = &self.person;
        vec![person.email.clone(), person.phone.clone(), person.last_name.clone(), person.id.to_string()]
    }

    /// Whether nothing is special about it but its names.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::Fresh | Kind::Cyrillic)
    }

    /// Which one it is, for a message about one that is not as it must be.
    pub(crate) fn title(&self) -> String {
        format!("registration {} ({})", self.number, self.kind.name())
    }
}
