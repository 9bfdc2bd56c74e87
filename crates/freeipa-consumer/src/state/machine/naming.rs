//! Under which name there is an account: the names of the plan one after the other, and whose each is.

use super::{Look, Machine, Next, Otherwise, TRIES};
use crate::login::Login;
use crate::state::step::Step;
use crate::state::words::{Action, Failure, Flow, Owner, Place, Tell};

impl Machine {
    /// The login whose turn it is. It is remembered before it is tried: after a crash the same is tried again, and no other.
    pub(super) fn try_login(&mut self) -> Next {
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

    pub(super) fn try_next(&mut self) -> Next {
        self.at += 1;
        self.try_login()
    }

    /// Somebody else has the name, and an entry of ours none, unless it has another one by now.
    pub(super) fn give_up_name(&mut self) -> Next {
        if self.may_be_there { self.find(Otherwise::Next) } else { self.try_next() }
    }

    pub(super) fn find(&mut self, otherwise: Otherwise) -> Next {
        self.otherwise = otherwise;
        self.next(false, Action::Find)
    }

    /// Nothing has our marker.
    pub(super) fn not_found(&mut self) -> Next {
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
    pub(super) fn strayed(&mut self) -> Next {
        self.strayed += 1;
        if self.strayed > TRIES { self.again() } else { self.find(Otherwise::Begin) }
    }

    pub(super) fn look_up(&mut self, login: Login, look: Look) -> Next {
        self.look = look;
        self.next(false, Action::LookUp { login })
    }

    /// Whether a stage user of ours stands in the way of an active user.
    pub(super) fn probe(&mut self, login: Login) -> Next {
        self.look = Look::AfterStaging;
        self.next(false, Action::Probe { login })
    }

    /// An entry with our marker.
    pub(super) fn found(&mut self, login: Login, place: Place) -> Next {
        match place {
            Place::Active => self.account(login),
            Place::Preserved => self.fail(Failure::Removed),
            Place::Staged => self.probe(login),
        }
    }

    pub(super) fn owned(&mut self, login: Login, owner: Owner) -> Next {
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
    pub(super) fn may_be_staged(&self, look: Look) -> bool {
        match look {
            Look::AfterStaging | Look::AfterActivation | Look::AfterClash => true,
            Look::AfterExists | Look::AfterUnknown => self.plan.flow != Flow::Direct,
            Look::BeforeStaging => false,
        }
    }

    /// Our stage user is there, and no user of the same name.
    pub(super) fn staged(&mut self, login: Login) -> Next {
        self.record.step = Step::Staged;
        if self.plan.flow == Flow::Stage {
            self.tell(Tell::Queued)
        } else {
            self.next(true, Action::Activate { login })
        }
    }
}
