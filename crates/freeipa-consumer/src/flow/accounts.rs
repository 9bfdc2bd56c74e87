//! What the machine wants, done to the directory: every action one or a few calls to one server.

use freeipa_client::secrecy::ExposeSecret as _;
use freeipa_client::{CallError, Class, Command, Membership, NewUser, Pinned, User};
use valkey_config::Secret;

use super::Policy;
use crate::login::Login;
use crate::registration::{Applicant, Registration};
use crate::state::{Action, Event, Owner, Place};

/// As many entries as are looked at: one is enough to know, and a second may be our own.
const MOST: u32 = 5;

/// Where entries are, and how one finds them there: the command, and whether it looks at those that were deleted.
const ACTIVE: (&str, bool, Place) = ("user_find", false, Place::Active);
const PRESERVED: (&str, bool, Place) = ("user_find", true, Place::Preserved);
const STAGED: (&str, bool, Place) = ("stageuser_find", false, Place::Staged);

/// The account of one registration, on one server.
pub(super) struct Accounts<'a> {
    pub(super) server: Pinned,
    pub(super) registration: &'a Registration,
    /// Whether stage users are looked at, too.
    pub(super) stages: bool,
    /// The groups that it is to be in.
    pub(super) groups: Vec<String>,
    /// Whether nobody has looked yet for an entry with our marker, which may be there all the same.
    pub(super) is_unsought: bool,
    pub(super) policy: &'a Policy,
    /// The password that was set last; nowhere but here.
    pub(super) password: Option<Secret>,
    /// Why groups could not be joined: names of groups, and no other.
    pub(super) unjoined: Vec<String>,
}

impl Accounts<'_> {
    /// Does it, and says what happened. Whoever gets an error asks the table what it means.
    ///
    /// # Cancel safety
    /// After a drop it was done or not, and may be done again by the machine's rules.
    pub(super) async fn perform(&mut self, action: &Action) -> Result<Event, CallError> {
        let login = match action {
            Action::Find => {
                self.is_unsought = false;
                let places =
                    if self.stages { &[ACTIVE, PRESERVED, STAGED][..] } else { &[ACTIVE, PRESERVED] };
                return self.find(places).await;
            }
            Action::Activate { login }
            | Action::Create { login, .. }
            | Action::Disable { login }
            | Action::Join { login }
            | Action::LookUp { login }
            | Action::Probe { login }
            | Action::SetPassword { login }
            | Action::Unstage { login } => login,
            Action::Finish(_) | Action::Tell(_) => return Ok(Event::Misunderstood),
        };
        // Ours keep a stricter rule, and the directory's own keep its.
        let Ok(login) = login.as_str().parse() else { return Ok(Event::Misunderstood) };
        match action {
            Action::Activate { .. } => self.activate(&login).await,
            Action::Create { place: Place::Staged, .. } => {
                self.server.stageuser_add(&self.new_user(login)).await.map(|_| Event::Created)
            }
            Action::Create { .. } => {
                self.server.user_add(&self.new_user(login)).await.map(|_| Event::Created)
            }
            Action::Disable { .. } => {
                if self.ours(&login).await?.is_none() {
                    return Ok(Event::NotOurs);
                }
                self.server.user_disable(&login).await.map(|_| Event::Disabled)
            }
            Action::Join { .. } => self.join(&login).await,
            Action::Probe { .. } => {
                let user = found(self.server.user_show(&login).await)?;
                Ok(if user.is_some() { Event::Taken } else { Event::Free })
            }
            Action::SetPassword { .. } => self.set_password(&login).await,
            Action::Unstage { .. } => self.unstage(&login).await,
            _ => self.look_up(&login).await,
        }
    }

    /// What stands against a new account before any name is tried: it is there and was forgotten here, its id is another person's,
    /// the person has one, or somebody has the mail address.
    ///
    /// It is a question and no lock: of two persons who come with the same address in the same moment, both may pass.
    pub(super) async fn objection(&self) -> Result<Option<Event>, CallError> {
        if self.is_unsought {
            let places = if self.stages { &[ACTIVE, STAGED][..] } else { &[ACTIVE] };
            match self.find(places).await? {
                Event::NotFound => {}
                found => return Ok(Some(found)),
            }
        }
        let marker = self.registration.id.marker();
        let others = |users: &[User]| users.iter().any(|user| !user.has_class(&marker));
        if self.policy.one_account_per_person {
            let person = self.registration.applicant().marker();
            let mut users = self.server.user_find("userclass", &person, MOST).await?.users;
            if self.stages {
                users.extend(self.find_with("stageuser_find", &person, false).await?);
            }
            users.retain(|user| user.has_class(&person));
            if others(&users) {
                return Ok(Some(Event::HasAccount));
            }
        }
        if let Some(email) = self.registration.email.as_deref().filter(|_| self.policy.email_unique)
            && others(&self.server.user_find("mail", email, MOST).await?.users)
        {
            return Ok(Some(Event::EmailTaken));
        }
        Ok(None)
    }

    /// Who is to be made.
    fn new_user(&self, login: freeipa_client::Login) -> NewUser {
        let Registration { id, first_name, last_name, email, phone, .. } = self.registration;
        // Whose it is stands there in any case: the same id may come with another person.
        let mut user = NewUser::new(login, first_name, last_name)
            .user_class(id.marker())
            .user_class(self.registration.applicant().marker());
        if let Some(email) = email {
            user = user.mail(email);
        }
        match phone {
            Some(phone) => user.phone(phone),
            None => user,
        }
    }

    /// An entry with our marker, in these places.
    async fn find(&self, places: &[(&'static str, bool, Place)]) -> Result<Event, CallError> {
        let marker = self.registration.id.marker();
        let mut is_taken = false;
        for (command, preserved, place) in places {
            for user in self.find_with(command, &marker, *preserved).await? {
                match (self.whose(&user, *place), user.text("uid")) {
                    (Owner::Ours(place), Some(login)) => {
                        return Ok(Event::Found { login: Login::of_directory(login), place });
                    }
                    (Owner::OtherApplicant, _) => is_taken = true,
                    _ => {}
                }
            }
        }
        Ok(if is_taken { Event::IdTaken } else { Event::NotFound })
    }

    /// Whose an entry is. The directory finds without regard to case, and markers are compared to the letter.
    fn whose(&self, user: &User, place: Place) -> Owner {
        let (registration, applicant) = (self.registration, self.registration.applicant().marker());
        let is_somebodys = || user.texts("userclass").into_iter().any(Applicant::is_marker);
        if !user.has_class(&registration.id.marker()) {
            Owner::Stranger
        } else if user.has_class(&applicant) || !is_somebodys() {
            // One that says nothing of a person was made by an earlier release, or by hand.
            Owner::Ours(place)
        } else {
            Owner::OtherApplicant
        }
    }

    async fn find_with(
        &self,
        command: &'static str,
        class: &str,
        preserved: bool,
    ) -> Result<Vec<User>, CallError> {
        let mut command = Command::read(command)
            .option("userclass", class)
            .option("all", true)
            .option("sizelimit", MOST)
            .option("no_members", true);
        if preserved {
            command = command.option("preserved", true);
        }
        let reply = self.server.call(&command).await?;
        // A list that is none has nobody in it.
        Ok(reply.entries().unwrap_or_default().into_iter().map(User::new).collect())
    }

    /// Whose a login is.
    async fn look_up(&self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        let owner = match found(self.server.user_show(login).await)? {
            Some(user) if user.is_preserved() => self.whose(&user, Place::Preserved),
            Some(user) => self.whose(&user, Place::Active),
            None if !self.stages => Owner::Nobody,
            None => match found(self.server.stageuser_show(login).await)? {
                Some(user) => self.whose(&user, Place::Staged),
                None => Owner::Nobody,
            },
        };
        Ok(Event::Owned(owner))
    }

    /// The active user of that login, if it is ours. Whoever writes to one asks just before: a login is no identity, and an
    /// administrator may have given it to somebody else.
    async fn ours(&self, login: &freeipa_client::Login) -> Result<Option<User>, CallError> {
        let user = found(self.server.user_show(login).await)?;
        Ok(user.filter(|user| !user.is_preserved() && self.is_ours(user, Place::Active)))
    }

    async fn seen_or_ours(
        &self,
        seen: Option<User>,
        login: &freeipa_client::Login,
    ) -> Result<Option<User>, CallError> {
        if seen.is_some() { Ok(seen) } else { self.ours(login).await }
    }

    fn is_ours(&self, user: &User, place: Place) -> bool {
        matches!(self.whose(user, place), Owner::Ours(_))
    }

    /// Activates the stage user, if it is ours.
    async fn activate(&self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        match found(self.server.stageuser_show(login).await)? {
            None => return Ok(Event::Gone),
            Some(staged) if !self.is_ours(&staged, Place::Staged) => return Ok(Event::NotOurs),
            Some(_) => {}
        }
        let user = self.server.stageuser_activate(login).await?;
        if self.is_ours(&user, Place::Active) {
            return Ok(Event::Activated);
        }
        self.has_hit_another("activated");
        Ok(Event::NotOurs)
    }

    /// Makes a password, if the account is ours, and its owner has not chosen one.
    async fn set_password(&mut self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        match self.ours(login).await? {
            None => return Ok(Event::NotOurs),
            Some(user) if user.has_own_password() == Some(true) => {
                self.password = None;
                return Ok(Event::PasswordKept);
            }
            Some(_) => {}
        }
        let marker = self.registration.id.marker();
        self.password = None;
        let Some(password) = self.server.user_reset_password_of(login, &marker).await? else {
            self.has_hit_another("given another password");
            return Ok(Event::NotOurs);
        };
        self.password = Some(Secret::from(password.expose_secret()));
        Ok(Event::PasswordSet)
    }

    /// Somebody else got the login between the look and the write.
    fn has_hit_another(&self, what: &str) {
        let id = self.registration.id;
        tracing::error!(registration = %id, "an account that somebody else has made in that moment was {what}; see the directory's log for which");
    }

    /// Deletes the stage user, if it is ours.
    async fn unstage(&self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        let staged = found(self.server.stageuser_show(login).await)?;
        if staged.is_some_and(|user| self.is_ours(&user, Place::Staged)) {
            found(self.server.stageuser_del(login).await)?;
        }
        Ok(Event::Unstaged)
    }

    /// Puts the user into all groups that it is not in, and looks whether it is in all.
    async fn join(&mut self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        self.unjoined.clear();
        let mut seen = None;
        for group in &self.groups {
            // Before each: what was seen before the last one is as old as that one took.
            let Some(user) = self.seen_or_ours(seen.take(), login).await? else { return Ok(Event::NotOurs) };
            if user.is_member_of(group) {
                seen = Some(user);
                continue;
            }
            let why = match self.server.group_add_member(group, login).await {
                Ok(Membership::Added | Membership::AlreadyMember) => continue,
                // Just made, and not there: this is not the server that made it, or it was removed.
                Ok(Membership::NoSuchUser) => return Ok(Event::Unknown),
                Ok(refused) => refused.as_str(),
                // About this group, and not about the server.
                Err(error) if error.fault().is_some() && error.class() == Class::Configuration => "missing",
                Err(error) if error.class() == Class::Denied => "denied",
                Err(error) => return Err(error),
            };
            self.unjoined.push(format!("{group} ({why})"));
        }
        let Some(user) = self.seen_or_ours(seen, login).await? else { return Ok(Event::NotOurs) };
        let is_in_all = self.groups.iter().all(|group| user.is_member_of(group));
        Ok(if is_in_all { Event::Joined } else { Event::NotJoined })
    }
}

/// What is not there is no error.
fn found<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
