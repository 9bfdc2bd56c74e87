//! What the machine is told, and what it says.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use valkey_envelope::DeadReason;

use crate::login::Login;
use crate::registration::{Field, Refusal};
use crate::status::{News, ReportError, Told, Unreachable};

/// How an account comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flow {
    /// As an active user, at once.
    #[default]
    Direct,
    /// As a stage user, whom somebody activates.
    Stage,
    /// As a stage user, whom we activate.
    StageThenActivate,
}

/// What becomes of an account whose groups cannot be joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnPartial {
    /// It is disabled.
    Disable,
    /// It stays as it is.
    #[default]
    Keep,
}

/// What is to be done in this run.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // Each is a question of its own, not a state.
pub struct Plan {
    /// How the account comes to be.
    pub flow: Flow,
    /// What it may be called, the best name first.
    pub logins: Vec<Login>,
    /// Whether there are groups to join.
    pub has_groups: bool,
    /// Whether a password is made, and told.
    pub has_password: bool,
    /// What becomes of it if the groups cannot be joined.
    pub on_partial: OnPartial,
    /// Whether groups that could not be joined are not waited for any longer: those that are missing or sealed do not heal by themselves.
    pub gives_up_groups: bool,
    /// How long it is waited before another password is made, when the server may still be making one.
    pub quiet: Duration,
    /// Whether nobody will try again after this run.
    pub is_last: bool,
    /// Whether the message was delivered before: then somebody may have begun, whatever is remembered.
    pub is_redelivered: bool,
    /// What the message says, as a hash; nobody knows, if there is none.
    pub said: Option<String>,
    /// Why the message is refused, in words without personal data, if it is.
    pub refusal: Option<String>,
}

/// Where in the directory an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// Among the users.
    Active,
    /// Among those that were deleted and kept.
    Preserved,
    /// Among the stage users.
    Staged,
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// There is none.
    Nobody,
    /// It has our marker.
    Ours(Place),
    /// It has our marker, and is another person's.
    OtherApplicant,
    /// It has not.
    Stranger,
}

/// What to do next. Each may be done again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "nothing is done until somebody does it"]
pub enum Action {
    /// Activate the stage user. Answers: [`Event::Activated`], [`Event::Exists`], [`Event::Gone`], [`Event::NotOurs`],
    /// [`Event::Unknown`].
    Activate {
        /// Its login.
        login: Login,
    },
    /// Create the entry there, with the marker and without a password. Answers: [`Event::Created`], [`Event::Exists`],
    /// [`Event::Refused`], [`Event::Unknown`].
    Create {
        /// Its login.
        login: Login,
        /// Where.
        place: Place,
    },
    /// Disable the user. Answers: [`Event::Disabled`], [`Event::NotOurs`].
    Disable {
        /// Its login.
        login: Login,
    },
    /// Look for an entry with our marker, anywhere. Answers: [`Event::Found`], [`Event::NotFound`].
    Find,
    /// Settle the message. There is no answer.
    Finish(Finish),
    /// Put the user into its groups, and see that it is there. Answers: [`Event::Joined`], [`Event::NotJoined`],
    /// [`Event::NotOurs`], [`Event::Unknown`].
    Join {
        /// Its login.
        login: Login,
    },
    /// Whose entry has that login: a user, active or preserved; if there is none, a stage user. Answers: [`Event::Owned`].
    LookUp {
        /// Which.
        login: Login,
    },
    /// Whether no user has that login, active or preserved: the directory would take a stage user of the same name, and the
    /// active one could not log in any more. Answers: [`Event::Free`], [`Event::Taken`], [`Event::Refused`].
    Probe {
        /// Which.
        login: Login,
    },
    /// Give the user a random password, unless the owner has chosen one, and keep it in memory until it is told. Answers:
    /// [`Event::PasswordSet`], [`Event::PasswordKept`], [`Event::NotOurs`],
    /// [`Event::Unanswered`], [`Event::Unknown`].
    SetPassword {
        /// Whose.
        login: Login,
    },
    /// Tell the applicant. Answers: [`Event::Told`], [`Event::Unreachable`], [`Event::Paused`], [`Event::Unknown`].
    Tell(Tell),
    /// Delete our own stage user: an entry with our marker, and no other. Answers: [`Event::Unstaged`], also if there is none.
    Unstage {
        /// Its login.
        login: Login,
    },
}

/// What to tell the applicant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tell {
    /// There is an account; with the password in memory, if there is one.
    Created {
        /// What it is called.
        login: Login,
    },
    /// There will be none.
    Failed(Failure),
    /// It waits for somebody's approval.
    Queued,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The message is done with.
    Ack,
    /// It is kept among the dead letters.
    DeadLetter(Failure),
    /// Back to where it was, uncounted: this process stops.
    HandBack,
    /// Back to where it was, uncounted; and nothing more is taken until the trouble is over.
    Park,
    /// Again later; it counts.
    Retry,
    /// Again after that time; it counts.
    RetryAfter(Duration),
    /// Again after that time; it does not count.
    Snooze(Duration),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The stage user is active.
    Activated,
    /// Not now: the directory or the way of telling is busy, or fails for a reason of its own. Answers every action.
    Busy,
    /// The entry is there.
    Created,
    /// The user is disabled.
    Disabled,
    /// There is an entry of that login already, or a group of that name.
    Exists,
    /// An entry with our marker. Also answers what would begin a new one.
    Found {
        /// What it is called, also if an administrator has called it something else since.
        login: Login,
        /// Where it is.
        place: Place,
    },
    /// No user has the login.
    Free,
    /// Somebody has the mail address. Answers what would begin a new one.
    EmailTaken,
    /// The stage user is not there.
    Gone,
    /// The person has another account. Answers what would begin a new one.
    HasAccount,
    /// An entry has our marker, and is another person's: somebody else has registered with the same id. Answers what looks for our
    /// entry, and what would begin a new one.
    IdTaken,
    /// The groups have the user.
    Joined,
    /// The directory does not understand the question, and would not understand any like it. Answers every action.
    Misunderstood,
    /// A group is missing, or does not take the user.
    NotJoined,
    /// There is no entry with our marker.
    NotFound,
    /// What has the login by now has not our marker: ours was renamed, or is gone, and nothing was written. Answers what writes to
    /// an entry that was ours.
    NotOurs,
    /// Whose entry has the login.
    Owned(Owner),
    /// The user has a password that its owner has chosen, and keeps it.
    PasswordKept,
    /// The user has a new password, which is in memory.
    PasswordSet,
    /// Not before so long: nothing may be told meanwhile, or the server is away that this registration has begun on. Answers every
    /// action.
    Paused(Duration),
    /// The directory does not take the applicant's data.
    Refused {
        /// Which field.
        field: Field,
    },
    /// This process is to stop. Answers every action.
    Stop,
    /// A user has the login.
    Taken,
    /// The applicant was told.
    Told {
        /// The message, where there is one.
        message_id: Option<i64>,
    },
    /// The directory, the service account or the bot is in trouble that people have to end. Answers every action.
    Trouble,
    /// Nobody knows whether it was done, and it may still happen: the server has not answered. Answers what must not happen late.
    Unanswered,
    /// Nobody knows whether it was done. It is over.
    Unknown,
    /// The applicant cannot be told.
    Unreachable(Unreachable),
    /// Our stage user is gone.
    Unstaged,
}

/// Why there will be no account, or not a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// Somebody has the mail address.
    EmailTaken,
    /// Another person has registered with the same id.
    IdTaken,
    /// The message was refused: see [`Refusal`](crate::registration::Refusal).
    Invalid,
    /// All logins are somebody else's.
    LoginTaken,
    /// The account is there, and not in all its groups.
    PartialGroups,
    /// The directory does not take that field.
    RefusedField(Field),
    /// The account was there, and an administrator has removed it.
    Removed,
    /// It failed as often as it was tried.
    Exhausted,
    /// Everything was done, and the applicant could not be told.
    Untold,
    /// The person has another account already.
    HasAccount,
    /// The directory does not understand what we ask: no message will fare better before somebody changes something.
    Misunderstood,
}

impl Event {
    /// What became of telling the applicant, as the answer to [`Action::Tell`].
    pub fn of_report(result: &Result<Told, ReportError>) -> Self {
        match result {
            Ok(told) => Self::Told { message_id: told.message_id },
            Err(ReportError::Misconfigured { .. }) => Self::Trouble,
            Err(ReportError::Paused { retry_after }) => Self::Paused(*retry_after),
            Err(ReportError::Unavailable { .. }) => Self::Busy,
            Err(ReportError::Uncertain { .. }) => Self::Unknown,
            Err(ReportError::Unreachable(why)) => Self::Unreachable(*why),
        }
    }
}

impl Failure {
    /// Each of them; of the fields that the directory does not take, one.
    pub const ALL: [Self; 11] = [
        Self::EmailTaken,
        Self::Exhausted,
        Self::HasAccount,
        Self::IdTaken,
        Self::Invalid,
        Self::LoginTaken,
        Self::Misunderstood,
        Self::PartialGroups,
        Self::RefusedField(Field::Message),
        Self::Removed,
        Self::Untold,
    ];

    /// What the applicant hears of it. `refusal` is that of the message, if it was refused.
    pub fn news(self, refusal: Option<&Refusal>) -> News {
        match (self, refusal) {
            (Self::Invalid, Some(refusal)) => News::refused(refusal),
            (Self::LoginTaken, _) => News::login_taken(),
            (Self::RefusedField(field), _) => News::refused_by_directory(field),
            (Self::EmailTaken, _) => News::email_taken(),
            (Self::HasAccount, _) => News::has_account(),
            (Self::IdTaken, _) => News::id_taken(),
            (
                Self::Exhausted
                | Self::Invalid
                | Self::Misunderstood
                | Self::PartialGroups
                | Self::Removed
                | Self::Untold,
                _,
            ) => News::Unexpected,
        }
    }

    /// One word, for records, metrics and dead letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmailTaken => "email_taken",
            Self::Exhausted => "exhausted",
            Self::HasAccount => "has_account",
            Self::IdTaken => "id_taken",
            Self::Misunderstood => "misunderstood",
            Self::Invalid => "invalid_registration",
            Self::LoginTaken => "login_taken",
            Self::PartialGroups => "partial_group",
            Self::RefusedField(_) => "refused_by_directory",
            Self::Removed => "removed",
            Self::Untold => "untold",
        }
    }

    /// The class of the dead letter. That of [`Invalid`](Self::Invalid) is better asked of the refusal.
    pub fn dead_reason(self) -> DeadReason {
        DeadReason::Other(Cow::Borrowed(self.as_str()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmailTaken => {
                f.write_str("another account has this mail address (see email_unique); the applicant was told to give another one")
            }
            Self::Exhausted => f.write_str("it failed as often as it was tried; look at the log for why, then replay it"),
            Self::HasAccount => {
                f.write_str("the person has an account already, by another registration; the applicant was told so")
            }
            Self::IdTaken => {
                f.write_str("another person has registered with this registration_id, whose registration is untouched; the applicant was told to try again. See that the producer gives each registration an id of its own: a replay fails again")
            }
            Self::Misunderstood => {
                f.write_str("the directory does not take what this program asks: compare their versions, see the log, then replay it")
            }
            Self::Invalid => f.write_str("the registration was refused"),
            Self::LoginTaken => f.write_str("the login is taken; the applicant was told to choose another"),
            Self::PartialGroups => {
                f.write_str("the account is there, and not in all its groups: see that they exist and that the service account may add members, then replay it")
            }
            Self::RefusedField(field) => write!(f, "the directory does not take {field}"),
            Self::Removed => f.write_str("the account was removed by an administrator, and is not made again"),
            Self::Untold => {
                f.write_str("the account is there, and the applicant could not be told; replay it when telling works again")
            }
        }
    }
}

/// A text that names no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidWord(&'static str);

impl FromStr for Flow {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        match text {
            "direct" => Ok(Self::Direct),
            "stage" => Ok(Self::Stage),
            "stage_then_activate" => Ok(Self::StageThenActivate),
            _ => Err(InvalidWord("`direct`, `stage` or `stage_then_activate`")),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Stage => "stage",
            Self::StageThenActivate => "stage_then_activate",
        })
    }
}

impl FromStr for OnPartial {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        match text {
            "keep" => Ok(Self::Keep),
            "disable" => Ok(Self::Disable),
            _ => Err(InvalidWord("`keep` or `disable`")),
        }
    }
}

impl fmt::Display for OnPartial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::Keep { "keep" } else { "disable" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_telling_is_an_event_that_costs_what_it_should() {
        let reason = String::new;
        for (error, event) in [
            (ReportError::Misconfigured { reason: reason() }, Event::Trouble),
            (
                ReportError::Paused { retry_after: Duration::from_secs(5) },
                Event::Paused(Duration::from_secs(5)),
            ),
            (ReportError::Unavailable { reason: reason() }, Event::Busy),
            (ReportError::Uncertain { reason: reason() }, Event::Unknown),
            (ReportError::Unreachable(Unreachable::Blocked), Event::Unreachable(Unreachable::Blocked)),
        ] {
            assert_eq!(Event::of_report(&Err(error)), event);
        }
        assert_eq!(Event::of_report(&Ok(Told::default())), Event::Told { message_id: None });
    }

    #[test]
    fn the_applicant_hears_what_concerns_the_applicant() {
        assert_eq!(Failure::LoginTaken.news(None), News::login_taken());
        assert_eq!(Failure::HasAccount.news(None), News::has_account());
        assert_eq!(Failure::EmailTaken.news(None), News::email_taken());
        assert_eq!(Failure::IdTaken.news(None), News::id_taken());
        assert_eq!(Failure::RefusedField(Field::Phone).news(None), News::refused_by_directory(Field::Phone));
        for failure in [Failure::Exhausted, Failure::PartialGroups, Failure::Removed, Failure::Untold] {
            assert_eq!(failure.news(None), News::Unexpected, "{failure}");
        }
    }

    #[test]
    fn each_failure_is_listed() {
        // Who adds one has to add it to this chain, which is compared with the list.
        let after = |failure: Option<Failure>| match failure {
            None => Some(Failure::EmailTaken),
            Some(Failure::EmailTaken) => Some(Failure::Exhausted),
            Some(Failure::Exhausted) => Some(Failure::HasAccount),
            Some(Failure::HasAccount) => Some(Failure::IdTaken),
            Some(Failure::IdTaken) => Some(Failure::Invalid),
            Some(Failure::Invalid) => Some(Failure::LoginTaken),
            Some(Failure::LoginTaken) => Some(Failure::Misunderstood),
            Some(Failure::Misunderstood) => Some(Failure::PartialGroups),
            Some(Failure::PartialGroups) => Some(Failure::RefusedField(Field::Message)),
            Some(Failure::RefusedField(_)) => Some(Failure::Removed),
            Some(Failure::Removed) => Some(Failure::Untold),
            Some(Failure::Untold) => None,
        };
        let chain: Vec<Failure> =
            std::iter::successors(after(None), |failure| after(Some(*failure))).collect();
        assert_eq!(chain, Failure::ALL);
    }
}
