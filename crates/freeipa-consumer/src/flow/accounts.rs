//! What the machine wants, done to the directory: every action one or a few calls to one server.

use freeipa_client::secrecy::ExposeSecret as _;
use freeipa_client::{CallError, Class, Command, Membership, NewUser, Pinned, User};
use valkey_config::Secret;

use crate::login::Login;
use crate::registration::{Field, Registration};
use crate::state::{Action, Event, Owner, Place};

/// As many entries as are looked at: one is enough to know, and a second may be our own.
const MOST: u32 = 5;

/// The account of one registration, on one server.
pub(super) struct Accounts<'a> {
    pub(super) server: Pinned,
    pub(super) registration: &'a Registration,
    /// Whether stage users are looked at, too.
    pub(super) stages: bool,
    /// The groups that it is to be in.
    pub(super) groups: Vec<String>,
    /// Whether the person may have no other account.
    pub(super) one_account_per_person: bool,
    /// Whether nobody else may have the mail address.
    pub(super) email_unique: bool,
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
            Action::Find => return self.find().await,
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
            Action::Activate { .. } => self.server.stageuser_activate(&login).await.map(|_| Event::Activated),
            Action::Create { place: Place::Staged, .. } => {
                self.server.stageuser_add(&self.new_user(login)).await.map(|_| Event::Created)
            }
            Action::Create { .. } => {
                self.server.user_add(&self.new_user(login)).await.map(|_| Event::Created)
            }
            Action::Disable { .. } => self.server.user_disable(&login).await.map(|_| Event::Disabled),
            Action::Join { .. } => self.join(&login).await,
            Action::Probe { .. } => {
                let user = found(self.server.user_show(&login).await)?;
                Ok(if user.is_some() { Event::Taken } else { Event::Free })
            }
            Action::SetPassword { .. } => {
                let password = self.server.user_reset_password(&login).await?;
                self.password = Some(Secret::from(password.expose_secret()));
                Ok(Event::PasswordSet)
            }
            Action::Unstage { .. } => self.unstage(&login).await,
            _ => self.look_up(&login).await,
        }
    }

    /// What stands against a new account before any name is tried: the person has one, or somebody has the mail address.
    ///
    /// It is a question and no lock: of two persons who come with the same address in the same moment, both may pass.
    pub(super) async fn objection(&self) -> Result<Option<Event>, CallError> {
        let marker = self.registration.id.marker();
        let others = |users: &[User]| users.iter().any(|user| !user.has_class(&marker));
        if self.one_account_per_person {
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
        if let Some(email) = self.registration.email.as_deref().filter(|_| self.email_unique)
            && others(&self.server.user_find("mail", email, MOST).await?.users)
        {
            return Ok(Some(Event::Refused { field: Field::Email }));
        }
        Ok(None)
    }

    /// Who is to be made.
    fn new_user(&self, login: freeipa_client::Login) -> NewUser {
        let Registration { id, first_name, last_name, email, phone, .. } = self.registration;
        let mut user = NewUser::new(login, first_name, last_name).user_class(id.marker());
        if self.one_account_per_person {
            user = user.user_class(self.registration.applicant().marker());
        }
        if let Some(email) = email {
            user = user.mail(email);
        }
        match phone {
            Some(phone) => user.phone(phone),
            None => user,
        }
    }

    /// An entry with our marker, wherever it is.
    async fn find(&self) -> Result<Event, CallError> {
        let marker = self.registration.id.marker();
        let mut places = vec![("user_find", false, Place::Active), ("user_find", true, Place::Preserved)];
        if self.stages {
            places.push(("stageuser_find", false, Place::Staged));
        }
        for (command, preserved, place) in places {
            let users = self.find_with(command, &marker, preserved).await?;
            // The directory compares without regard to case.
            if let Some(user) = users.iter().find(|user| user.has_class(&marker))
                && let Some(login) = user.text("uid")
            {
                return Ok(Event::Found { login: Login::of_directory(login), place });
            }
        }
        Ok(Event::NotFound)
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
        let marker = self.registration.id.marker();
        let owner = match found(self.server.user_show(login).await)? {
            Some(user) if !user.has_class(&marker) => Owner::Stranger,
            Some(user) if user.is_preserved() => Owner::Ours(Place::Preserved),
            Some(_) => Owner::Ours(Place::Active),
            None if !self.stages => Owner::Nobody,
            None => match found(self.server.stageuser_show(login).await)? {
                Some(user) if user.has_class(&marker) => Owner::Ours(Place::Staged),
                Some(_) => Owner::Stranger,
                None => Owner::Nobody,
            },
        };
        Ok(Event::Owned(owner))
    }

    /// Deletes the stage user, if it is ours.
    async fn unstage(&self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        let staged = found(self.server.stageuser_show(login).await)?;
        if staged.is_some_and(|user| user.has_class(&self.registration.id.marker())) {
            found(self.server.stageuser_del(login).await)?;
        }
        Ok(Event::Unstaged)
    }

    /// Puts the user into all groups that it is not in, and looks whether it is in all.
    async fn join(&mut self, login: &freeipa_client::Login) -> Result<Event, CallError> {
        self.unjoined.clear();
        let user = self.server.user_show(login).await?;
        let missing: Vec<&String> = self.groups.iter().filter(|group| !user.is_member_of(group)).collect();
        if missing.is_empty() {
            return Ok(Event::Joined);
        }
        for group in missing {
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
        let user = self.server.user_show(login).await?;
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
