//! The machine: from what happened to what is done next.

mod telling;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::time::Duration;

use super::record::RegistrationRecord;
use super::step::Step;
use super::words::{Action, Event, Failure, Finish, Flow, OnPartial, Owner, Place, Plan, Tell};
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
    /// How often an entry was not ours any more in this run.
    strayed: u32,
    /// Whether an entry may have been made under this name: somebody may have given it another one since.
    may_be_there: bool,
    /// What is done if no entry with our marker is found.
    otherwise: Otherwise,
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
        }
    }
}

// === impl Machine ===

impl Machine {
    /// Begins with a registration that was checked, and what is remembered of it.
    pub fn accepted(plan: Plan, record: Option<RegistrationRecord>) -> (Self, Next) {
        let somebody_began = record.is_some() || plan.is_redelivered;
        let mut machine = Self::new(plan, record);
        if machine.record.step == Step::Done {
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
        } else {
            // Another message has that id, and came to something: this one is not to touch it.
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
        Self {
            plan,
            record,
            at: 0,
            asked: Action::Find,
            look: Look::AfterExists,
            failing: None,
            tries: 0,
            strayed: 0,
            may_be_there: false,
            otherwise: Otherwise::Begin,
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
            (Action::Tell(tell), event) => match event {
                Event::Told { message_id } => {
                    self.record.told = Some(tell.code());
                    self.record.message_id = message_id;
                    (self.record.unreported, self.record.gave_up) = (None, false);
                    self.conclude(&tell)
                }
                Event::Unreachable(why) => {
                    self.record.unreported = Some(why);
                    self.conclude(&tell)
                }
                Event::Busy | Event::Unknown => self.untold(&tell),
                event => return Err(unexpected(event)),
            },
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
        Next { save, action }
    }

    fn finish(&mut self, save: bool, finish: Finish) -> Next {
        self.next(save, Action::Finish(finish))
    }

    /// The login whose turn it is. It is remembered before it is tried: after a crash the same is tried again, and no other.
    fn try_login(&mut self) -> Next {
        let Some(login) = self.plan.logins.get(self.at).cloned() else {
            return self.fail(Failure::LoginTaken);
        };
        self.tries = 1;
        self.may_be_there = false;
        self.record.step = Step::Creating;
        self.record.login = Some(login.as_str().to_owned());
        if self.plan.flow == Flow::Direct {
            self.next(true, Action::Create { login, place: Place::Active })
        } else {
            self.look = Look::BeforeStaging;
            self.next(true, Action::Probe { login })
        }
    }

    fn try_next(&mut self) -> Next {
        self.at += 1;
        self.try_login()
    }

    /// Somebody else has the name, and an entry of ours none, unless it has another one by now.
    fn give_up_name(&mut self) -> Next {
        if self.may_be_there { self.find(Otherwise::Next) } else { self.try_next() }
    }

    fn find(&mut self, otherwise: Otherwise) -> Next {
        self.otherwise = otherwise;
        self.next(false, Action::Find)
    }

    /// Nothing has our marker.
    fn not_found(&mut self) -> Next {
        let login = self.plan.logins.get(self.at).cloned();
        match (self.otherwise, login) {
            (Otherwise::Next, _) => self.try_next(),
            (Otherwise::Repeat, Some(login)) => {
                let place = if self.plan.flow == Flow::Direct { Place::Active } else { Place::Staged };
                self.next(false, Action::Create { login, place })
            }
            // It was there: another replica may not have it yet, and a second one must not be made.
            _ if self.record.step >= Step::Created => self.again(),
            _ => self.try_login(),
        }
    }

    /// Somebody else has the login of our entry, or nobody has.
    fn strayed(&mut self) -> Next {
        self.strayed += 1;
        if self.strayed > TRIES { self.again() } else { self.find(Otherwise::Begin) }
    }

    fn look_up(&mut self, login: Login, look: Look) -> Next {
        self.look = look;
        self.next(false, Action::LookUp { login })
    }

    /// Whether a stage user of ours stands in the way of an active user.
    fn probe(&mut self, login: Login) -> Next {
        self.look = Look::AfterStaging;
        self.next(false, Action::Probe { login })
    }

    /// An entry with our marker.
    fn found(&mut self, login: Login, place: Place) -> Next {
        match place {
            Place::Active => self.account(login),
            Place::Preserved => self.fail(Failure::Removed),
            Place::Staged => self.probe(login),
        }
    }

    fn owned(&mut self, login: Login, owner: Owner) -> Next {
        match (owner, self.look) {
            // Still a stage user: the next run activates it.
            (Owner::Ours(Place::Staged), Look::AfterActivation) => self.again(),
            // Who has the login is not to be seen: a preserved user, or another name of somebody.
            (Owner::Ours(Place::Staged), Look::AfterClash) => self.next(false, Action::Unstage { login }),
            (Owner::Ours(place), _) => self.found(login, place),
            (Owner::OtherApplicant, _) => self.disown(Failure::IdTaken),
            // As long as ours is among the stage users, the other cannot log in; and whether it is, the other hides.
            (Owner::Stranger, look) if self.may_be_staged(look) => {
                self.next(false, Action::Unstage { login })
            }
            // What exists and is nobody's is a group, or another name of somebody.
            (Owner::Stranger, _) | (Owner::Nobody, Look::AfterExists) => self.give_up_name(),
            (Owner::Nobody, Look::AfterUnknown) if self.tries < TRIES => {
                self.tries += 1;
                self.find(Otherwise::Repeat)
            }
            (Owner::Nobody, _) => self.again(),
        }
    }

    /// Whether an entry of ours may be among the stage users, whoever has the name among the users.
    fn may_be_staged(&self, look: Look) -> bool {
        match look {
            Look::AfterStaging | Look::AfterActivation | Look::AfterClash => true,
            Look::AfterExists | Look::AfterUnknown => self.plan.flow != Flow::Direct,
            Look::BeforeStaging => false,
        }
    }

    /// Our stage user is there, and no user of the same name.
    fn staged(&mut self, login: Login) -> Next {
        self.record.step = Step::Staged;
        if self.plan.flow == Flow::Stage {
            self.tell(Tell::Queued)
        } else {
            self.next(true, Action::Activate { login })
        }
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
