//! The machine: from what happened to what is done next.

mod naming;
mod telling;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::record::RegistrationRecord;
use super::step::Step;
use super::words::{Action, Event, Failure, Finish, Flow, OnPartial, Place, Plan, Tell};
use crate::login::Login;

/// How often something whose outcome is unknown is done in one run.
const TRIES: u32 = 2;

/// How often it is tried to say what became of a registration that has no tries left, and the pauses in between: the first, each
/// twice the one before, and the longest. About ten minutes in all.
const LAST_WORDS: u32 = 14;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long a server may still be making a password, unless the plan says otherwise.
const QUIET: Duration = Duration::from_secs(30);

/// One run of one registration: pure, and it begins anew with each delivery.
///
/// ```
/// use freeipa_consumer::state::{Action, Event, Finish, Machine, Plan};
/// # use freeipa_consumer::login::LoginRule;
///
/// let login = LoginRule::default().take("ada").unwrap();
/// let (mut machine, next) = Machine::accepted(Plan::new(vec![login]), None);
/// assert!(next.save, "the name is remembered before it is tried");
/// assert!(matches!(next.action, Action::Create { .. }));
/// let next = machine.on(Event::Created)?; // no groups and no password in this plan
/// assert!(matches!(next.action, Action::Tell(_)));
/// let next = machine.on(Event::Told { message_id: Some(7) })?;
/// assert_eq!((next.save, next.action), (true, Action::Finish(Finish::Ack)));
/// # Ok::<(), freeipa_consumer::state::Unexpected>(())
/// ```
#[derive(Clone, Debug)]
pub struct Machine {
    plan: Plan,
    record: RegistrationRecord,
    /// Which of the plan's logins is tried.
    at: usize,
    /// What was asked for last: events answer it.
    asked: Action,
    /// Why a login is being looked up, or probed.
    look: Look,
    /// Why it will not be, once that is known.
    failing: Option<Failure>,
    /// How often the creation and the password of this login were tried in this run.
    tries: u32,
    /// How often it was tried to tell what was made.
    tellings: u32,
    /// How often an entry was not ours any more in this run.
    strayed: u32,
    /// Whether an entry may have been made under this name: somebody may have given it another one since.
    may_be_there: bool,
    /// What is done if no entry with our marker is found.
    otherwise: Otherwise,
    /// How the message stands to the one that the record is of.
    standing: Standing,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "nothing is done until somebody does it"]
pub struct Next {
    /// Whether the record is to be saved before: what is done next relies on it.
    pub save: bool,
    /// What to do.
    pub action: Action,
}

/// An event that does not answer what was asked for: a mistake of the program, not of the world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is no answer to {asked:?}")]
pub struct Unexpected {
    /// What was asked for.
    pub asked: Action,
    /// What came.
    pub event: Event,
}

/// Why a login is being looked up, or probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It was about to be staged.
    BeforeStaging,
    /// It was staged.
    AfterStaging,
    /// The directory says that it exists.
    AfterExists,
    /// Nobody knows whether it was created.
    AfterUnknown,
    /// It was not activated, or nobody knows.
    AfterActivation,
    /// It was not activated, for somebody else has the login.
    AfterClash,
}

/// How a message stands to the one that the record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It says the same, or nobody knows.
    Same,
    /// It says something else.
    Other,
    /// The same, and the other one is done: an account that is found was made of it.
    Late,
    /// It is another's, and the record is not saved.
    None,
}

/// What is done if no entry with our marker is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Otherwise {
    /// The name whose turn it is, unless there was an account.
    Begin,
    /// The same name once more.
    Repeat,
    /// The next name.
    Next,
}

// === impl Plan ===

impl Plan {
    /// An active user, without groups and without a password; neither the last run nor a redelivery.
    pub fn new(logins: Vec<Login>) -> Self {
        Self {
            flow: Flow::Direct,
            logins,
            has_groups: false,
            has_password: false,
            on_partial: OnPartial::Keep,
            gives_up_groups: false,
            quiet: QUIET,
            is_last: false,
            is_redelivered: false,
            said: None,
            refusal: None,
        }
    }
}

// === impl Machine ===

impl Machine {
    /// Begins with a registration that was checked, and what is remembered of it.
    pub fn accepted(plan: Plan, record: Option<RegistrationRecord>) -> (Self, Next) {
        let somebody_began = record.is_some() || plan.is_redelivered;
        let mut machine = Self::new(plan, record);
        if machine.record.step == Step::Done && machine.standing == Standing::Other {
            machine.standing = Standing::Late;
            (machine.record.step, machine.record.login) = (Step::Received, None);
        } else if machine.record.step == Step::Done {
            let next = machine.next(false, Action::Finish(Finish::Ack));
            return (machine, next);
        }
        if machine.record.step == Step::Dead {
            machine.record.step = Step::Received;
        }
        let known = machine.record.login.as_deref();
        machine.at = machine.plan.logins.iter().position(|login| Some(login.as_str()) == known).unwrap_or(0);
        let next = if somebody_began { machine.next(false, Action::Find) } else { machine.try_login() };
        (machine, next)
    }

    /// Begins with a registration that was refused, and what is remembered under its id. Only `is_last` of the plan matters.
    pub fn refused(plan: Plan, record: Option<RegistrationRecord>) -> (Self, Next) {
        let mut machine = Self::new(plan, record);
        let next = if matches!(machine.record.step, Step::Received | Step::Dead) {
            machine.fail(Failure::Invalid)
        } else if machine.standing == Standing::Other {
            // Another message has that id, and came to something: this one is not to touch it.
            machine.disown(Failure::Invalid)
        } else {
            // It has come to something before it was refused.
            machine.next(false, Action::Finish(Finish::DeadLetter(Failure::Invalid)))
        };
        (machine, next)
    }

    /// Begins with a registration whose id is another person's. What is remembered under the id is not this one's: nobody saves the
    /// record. Only `is_last` of the plan matters.
    pub fn of_another(plan: Plan, failure: Failure) -> (Self, Next) {
        let mut machine = Self::new(plan, None);
        let next = machine.disown(failure);
        (machine, next)
    }

    fn new(plan: Plan, record: Option<RegistrationRecord>) -> Self {
        let mut record = record.unwrap_or_default();
        record.runs = record.runs.saturating_add(1);
        let standing = match (&record.said, &plan.said) {
            (Some(before), Some(now)) if before != now => Standing::Other,
            _ => Standing::Same,
        };
        if standing == Standing::Other {
            // What the applicant was told was about something else.
            (record.told, record.unsaid) = (None, 0);
        }
        record.said = plan.said.clone().or(record.said);
        Self {
            plan,
            record,
            at: 0,
            asked: Action::Find,
            look: Look::AfterExists,
            failing: None,
            tries: 0,
            tellings: 1,
            strayed: 0,
            may_be_there: false,
            otherwise: Otherwise::Begin,
            standing,
        }
    }

    /// What is to be remembered.
    pub fn record(&self) -> &RegistrationRecord {
        &self.record
    }

    /// The same, for the one who saves it.
    pub fn record_mut(&mut self) -> &mut RegistrationRecord {
        &mut self.record
    }

    /// Takes the answer to the last action.
    ///
    /// # Errors
    /// It is none to that action; nothing has changed.
    #[expect(clippy::match_same_arms, reason = "it is a table: what happened, and what follows")]
    pub fn on(&mut self, event: Event) -> Result<Next, Unexpected> {
        let unexpected = |event| Unexpected { asked: self.asked.clone(), event };
        Ok(match (self.asked.clone(), event) {
            (Action::Finish(_), event) => return Err(unexpected(event)),
            (_, Event::Stop) => self.finish(false, Finish::HandBack),
            (_, Event::Trouble) => self.finish(false, Finish::Park),
            (_, Event::Paused(retry_after)) => self.finish(false, Finish::Snooze(retry_after)),
            (Action::Tell(tell), event) => return self.told(tell, event),
            (_, Event::Busy) => self.again(),
            (_, Event::Misunderstood) => self.fail(Failure::Misunderstood),
            // Whoever has the login is left alone: ours may have another by now.
            (
                Action::Activate { .. }
                | Action::Disable { .. }
                | Action::Join { .. }
                | Action::SetPassword { .. },
                Event::NotOurs,
            ) => self.strayed(),
            (Action::Create { .. } | Action::Probe { .. }, Event::HasAccount) => {
                self.fail(Failure::HasAccount)
            }
            (Action::Create { .. } | Action::Probe { .. }, Event::EmailTaken) => {
                self.fail(Failure::EmailTaken)
            }
            (
                Action::Create { .. } | Action::Probe { .. } | Action::Activate { .. },
                Event::Refused { field },
            ) => self.fail(Failure::RefusedField(field)),

            (Action::Find | Action::Create { .. } | Action::Probe { .. }, Event::IdTaken) => {
                self.disown(Failure::IdTaken)
            }
            (Action::Find | Action::Create { .. } | Action::Probe { .. }, Event::Found { login, place }) => {
                if self.standing == Standing::Late {
                    let is_removed = place == Place::Preserved;
                    return Ok(self.disown(if is_removed { Failure::Removed } else { Failure::HasAccount }));
                }
                self.record.login = Some(login.as_str().to_owned());
                self.found(login, place)
            }
            // It was there: another replica may not have it yet, and a second one must not be made.
            (Action::Find, Event::NotFound) => self.not_found(),

            (Action::Probe { login }, Event::Free) if self.look == Look::BeforeStaging => {
                self.next(false, Action::Create { login, place: Place::Staged })
            }
            (Action::Probe { login }, Event::Free) => self.staged(login),
            (Action::Probe { login }, Event::Taken) => self.look_up(login, self.look),

            (Action::Create { login, place: Place::Staged }, Event::Created) => {
                self.may_be_there = true;
                self.probe(login)
            }
            (Action::Create { login, .. }, Event::Created) => self.account(login),
            (Action::Create { login, .. }, Event::Exists) => self.look_up(login, Look::AfterExists),
            (Action::Create { login, .. }, Event::Unknown) => {
                self.may_be_there = true;
                self.look_up(login, Look::AfterUnknown)
            }

            (Action::LookUp { login }, Event::Owned(owner)) => self.owned(login, owner),
            (Action::Unstage { .. }, Event::Unstaged) => self.give_up_name(),

            (Action::Activate { login }, Event::Activated) => self.account(login),
            (Action::Activate { login }, Event::Exists) => self.look_up(login, Look::AfterClash),
            (Action::Activate { login }, Event::Gone | Event::Unknown) => {
                self.look_up(login, Look::AfterActivation)
            }

            (Action::Join { login }, Event::Joined) => {
                self.record.step = Step::Grouped;
                self.grouped(login)
            }
            (Action::Join { .. }, Event::NotJoined) if !self.plan.is_last && !self.plan.gives_up_groups => {
                self.finish(false, Finish::Retry)
            }
            (Action::Join { login }, Event::NotJoined) => {
                self.failing = Some(Failure::PartialGroups);
                match self.plan.on_partial {
                    OnPartial::Disable => self.next(false, Action::Disable { login }),
                    OnPartial::Keep => self.fail(Failure::PartialGroups),
                }
            }
            (Action::Join { .. }, Event::Unknown) => self.again(),
            (Action::Disable { .. }, Event::Disabled) => self.fail(Failure::PartialGroups),

            (Action::SetPassword { login }, Event::PasswordKept) => self.tell(Tell::Created { login }),
            (Action::SetPassword { login }, Event::PasswordSet) => {
                self.record.step = Step::Credentialed;
                self.tell(Tell::Created { login })
            }
            (Action::SetPassword { login }, Event::Unknown) if self.tries < TRIES => {
                self.tries += 1;
                self.next(false, Action::SetPassword { login })
            }
            (Action::SetPassword { .. }, Event::Unknown) => self.again(),
            (Action::SetPassword { .. }, Event::Unanswered) => self.after_quiet(),

            (_, event) => return Err(unexpected(event)),
        })
    }

    fn next(&mut self, save: bool, action: Action) -> Next {
        self.asked = action.clone();
        Next { save: save && self.standing != Standing::None, action }
    }

    fn finish(&mut self, save: bool, finish: Finish) -> Next {
        self.next(save, Action::Finish(finish))
    }

    /// Our user is there.
    fn account(&mut self, login: Login) -> Next {
        self.tries = 1;
        self.record.step = self.record.step.max(Step::Created);
        if self.plan.flow == Flow::Stage {
            // Whoever approved it sees to the rest.
            self.tell(Tell::Created { login })
        } else if self.plan.has_groups && self.record.step < Step::Grouped {
            self.next(true, Action::Join { login })
        } else {
            self.grouped(login)
        }
    }

    fn grouped(&mut self, login: Login) -> Next {
        if self.plan.has_password {
            self.next(true, Action::SetPassword { login })
        } else {
            self.tell(Tell::Created { login })
        }
    }
}
