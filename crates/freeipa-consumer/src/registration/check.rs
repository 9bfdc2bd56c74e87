//! From what a message says to what may become an account.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::data::UserRegistrationData;
use super::refusal::{InvalidRegistration, Refusal, Why};
use super::{Applicant, Field, RegistrationId, person};
use crate::login::{Login, LoginPolicy, Person};
use crate::status::Recipient;

/// How much of a group's name an error repeats.
const SHOWN: usize = 64;

/// What a deployment takes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Rules {
    /// Groups that a message may ask for.
    pub groups_allowed: BTreeSet<String>,
    /// Groups that every account gets.
    pub default_groups: BTreeSet<String>,
    /// The family name of those who have none: the directory insists on one.
    pub last_name_placeholder: String,
    /// Domains of mail addresses that are taken, in lower case; any, if there is none here.
    pub email_domains: BTreeSet<String>,
    /// Fields that must be there beyond those that always must.
    pub required: BTreeSet<Field>,
    /// How accounts are called.
    pub logins: LoginPolicy,
}

/// A registration that was checked: nothing of it will surprise the directory.
///
/// Only [`Rules::check`] makes one. `Debug` shows no personal data.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registration {
    /// What makes it the same registration when it comes again.
    pub id: RegistrationId,
    /// The id that it would have if it had given none: the same as long as it says the same.
    pub said: RegistrationId,
    /// The person, as Telegram numbers people.
    pub user_id: i64,
    /// Where to answer.
    pub recipient: Recipient,
    /// The given name.
    pub first_name: String,
    /// The family name, or what stands for it.
    pub last_name: String,
    /// The mail address.
    pub email: Option<String>,
    /// The phone number.
    pub phone: Option<String>,
    /// What the account may be called, the best name first; at least one.
    pub logins: Vec<Login>,
    /// The groups it gets, sorted.
    pub groups: Vec<String>,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
    /// What ties the logs of several programs together.
    pub trace_id: Option<String>,
}

// === impl Rules ===

impl Rules {
    /// Checks what a message says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(&self, data: &UserRegistrationData) -> Result<Registration, Refusal> {
        let mut problems = Vec::new();
        let mut refuse = |field, why| problems.push(InvalidRegistration { field, why });

        let telegram = &data.telegram;
        let recipient = Recipient::new(telegram.user_id, telegram.chat_id, telegram.language_code.clone());
        // The private chat with a person has the person's id; a group is nobody.
        let user_id = telegram.user_id.or(telegram.chat_id).filter(|id| *id > 0);
        if user_id.is_none() {
            let why = if telegram.user_id.is_some() { Why::Range } else { Why::Missing };
            refuse(Field::UserId, why);
        }
        let first_name = data.first_name.as_deref().map(person::name).filter(|name| !name.is_empty());
        let own_last_name = data.last_name.as_deref().map(person::name).filter(|name| !name.is_empty());
        for field in self.required.union(&BTreeSet::from([Field::FirstName])) {
            let is_there = match field {
                Field::FirstName => first_name.is_some(),
                Field::LastName => own_last_name.is_some(),
                Field::UserId => true, // asked for above
                field => data.has(*field),
            };
            if !is_there {
                let why = if *field == Field::Consent { Why::ConsentMissing } else { Why::Missing };
                refuse(*field, why);
            }
        }
        if data.consent.as_ref().is_some_and(|consent| !consent.accepted) {
            refuse(Field::Consent, Why::ConsentMissing);
        }

        if let Some(Err(why)) = data.email.as_deref().map(|email| self.email(email)) {
            refuse(Field::Email, why);
        }
        if let Some(Err(why)) = data.phone.as_deref().map(person::phone) {
            refuse(Field::Phone, why);
        }
        let refused = data
            .groups
            .iter()
            .filter(|group| !self.groups_allowed.contains(*group) && !self.default_groups.contains(*group));
        for group in refused {
            refuse(Field::Groups, Why::GroupNotAllowed { group: group.chars().take(SHOWN).collect() });
        }
        let logins = self.logins.candidates(&Person {
            requested: data.requested_login.as_deref(),
            username: telegram.username.as_deref(),
            first_name: first_name.as_deref().unwrap_or_default(),
            last_name: own_last_name.as_deref().unwrap_or_default(),
            user_id: user_id.unwrap_or_default(),
        });
        let logins = logins.map_err(|invalid| refuse(Field::RequestedLogin, Why::Login(invalid)));

        let (Some(recipient), Some(user_id), Some(first_name), Ok(logins), true) =
            (recipient, user_id, first_name, logins, problems.is_empty())
        else {
            problems.sort_by_key(|problem| problem.field);
            return Err(Refusal::new(problems));
        };
        let said = RegistrationId::of_content(data);
        let groups: BTreeSet<&String> = self.default_groups.iter().chain(&data.groups).collect();
        Ok(Registration {
            id: RegistrationId::of(data.registration_id.as_deref(), said),
            said,
            user_id,
            recipient,
            first_name,
            last_name: own_last_name.unwrap_or_else(|| self.last_name_placeholder.clone()),
            email: data.email.clone(),
            phone: data.phone.clone(),
            logins,
            groups: groups.into_iter().cloned().collect(),
            created_at: data.created_at,
            trace_id: data.trace_id.clone(),
        })
    }

    fn email(&self, text: &str) -> Result<(), Why> {
        let address = person::mail(text)?;
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
        if self.email_domains.is_empty() || self.email_domains.contains(&domain) {
            Ok(())
        } else {
            Err(Why::Domain)
        }
    }
}

impl Registration {
    /// The person, as others may see one.
    pub fn applicant(&self) -> Applicant {
        Applicant::of(self.user_id)
    }
}

/// The id, and what the account may be called is not among it: a login is most of a name.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .field("logins", &self.logins.len())
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}
