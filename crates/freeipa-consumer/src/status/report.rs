//! What is told.

use valkey_config::Secret;

use super::Recipient;
use crate::login::Login;
use crate::registration::{Field, Refusal, RegistrationId};

/// The reason that has a text of its own.
const HAS_ACCOUNT: &str = "has_account";

/// What became of a registration, and who is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Which registration.
    pub id: RegistrationId,
    /// Who is to know.
    pub to: Recipient,
    /// What happened.
    pub news: News,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// There is an account.
    Created {
        /// What it is called.
        login: Login,
        /// How to get into it.
        access: Access,
    },
    /// There will be none, for reasons that the applicant can do something about.
    Failed {
        /// The reasons, at least one.
        problems: Vec<Problem>,
    },
    /// It waits for somebody's approval.
    Queued,
    /// Something went wrong that the applicant can do nothing about; the reference is for whoever is asked.
    Unexpected,
}

/// How the applicant gets into the account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Nothing is said of it: it was told before, or this is not the place.
    Untold,
    /// By the page where a password can be set.
    ResetPage,
    /// By a password that has to be changed at once.
    TemporaryPassword(Secret),
}

/// One reason, in the words of the texts: `[fields]` and `[reasons]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Problem {
    /// Where.
    pub field: Field,
    /// What: a key of `[reasons]`.
    pub reason: &'static str,
}

// === impl Report ===

impl Report {
    /// News of a registration.
    pub fn new(id: RegistrationId, to: Recipient, news: News) -> Self {
        Self { id, to, news }
    }

    /// The password it tells, if it tells one.
    pub(crate) fn password(&self) -> Option<&Secret> {
        match &self.news {
            News::Created { access: Access::TemporaryPassword(password), .. } => Some(password),
            _ => None,
        }
    }
}

// === impl Problem ===

impl Problem {
    /// Whether it is that the person has an account: nothing that could be corrected.
    pub(crate) fn is_account(&self) -> bool {
        self.reason == HAS_ACCOUNT
    }
}

// === impl News ===

impl News {
    /// The news of a refusal. Of a message that is too new for us the applicant can correct nothing.
    pub fn refused(refusal: &Refusal) -> Self {
        if refusal.is_ours() {
            return Self::Unexpected;
        }
        let mut problems: Vec<Problem> = Vec::new();
        for problem in refusal.problems() {
            let problem = Problem { field: problem.field, reason: problem.why.text_key() };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        Self::Failed { problems }
    }

    /// The news that the login is somebody else's.
    pub fn login_taken() -> Self {
        Self::Failed { problems: vec![Problem { field: Field::RequestedLogin, reason: "login_taken" }] }
    }

    /// The news that the person has an account already.
    pub fn has_account() -> Self {
        Self::Failed { problems: vec![Problem { field: Field::UserId, reason: HAS_ACCOUNT }] }
    }

    /// The news that the mail address is in use. Whose it is, and whether there is such an account, is nobody's business.
    pub fn email_taken() -> Self {
        Self::Failed { problems: vec![Problem { field: Field::Email, reason: "email_taken" }] }
    }

    /// The news that another person has registered with the same id.
    pub fn id_taken() -> Self {
        Self::Failed { problems: vec![Problem { field: Field::RegistrationId, reason: "id_taken" }] }
    }

    /// The news that the directory does not take a field, and nobody foresaw why.
    pub fn refused_by_directory(field: Field) -> Self {
        Self::Failed { problems: vec![Problem { field, reason: "not_taken" }] }
    }

    /// One word for metrics and queues: `created`, `failed`, `queued`, `unexpected`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Failed { .. } => "failed",
            Self::Queued => "queued",
            Self::Unexpected => "unexpected",
        }
    }
}
