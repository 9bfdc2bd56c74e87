//! Active users.

use secrecy::SecretString;
use serde_json::Value;

use crate::class::Class;
use crate::client::Pinned;
use crate::command::Command;
use crate::envelope::BadReply;
use crate::error::CallError;
use crate::login::Login;
use crate::user::{NewUser, User, UserChanges};

/// What remains of a user who is deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// The account stays, preserved: it cannot log in, its login stays taken, and it can be brought back.
    Preserve,
    /// Nothing.
    ForGood,
}

/// Users that were found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// Who was found.
    pub users: Vec<User>,
    /// Whether there are more.
    pub is_truncated: bool,
}

impl Pinned {
    /// Makes a user.
    ///
    /// It may not be repeated blindly, and need not be: mark the user with [`NewUser::user_class`]. After an error of class
    /// [`Exists`](Class::Exists), or whose outcome is `Unknown`, [`user_show`](Self::user_show) tells by the mark whether the user is one's own.
    ///
    /// # Errors
    /// [`CallError`]. With a class of [`Denied`](Class::Denied) or [`Configuration`](Class::Configuration) the outcome is `Unknown`: the user may be
    /// there, and only not in the default group.
    pub async fn user_add(&self, user: &NewUser) -> Result<User, CallError> {
        let command = with_values(Command::write("user_add").argument(user.login()), user.values());
        self.ask(&command, |reply| reply.entry().map(User::new)).await
    }

    /// A user, active or preserved, with all attributes that may be seen.
    ///
    /// # Errors
    /// [`CallError`]; of class [`NotFound`](Class::NotFound) if there is none.
    pub async fn user_show(&self, login: &Login) -> Result<User, CallError> {
        let command = Command::read("user_show").argument(login).option("all", true);
        self.ask(&command, |reply| reply.entry().map(User::new)).await
    }

    /// Active users with this value of this attribute (`mail`, `userclass`, `employeenumber`), the whole of it, in any case. At most
    /// `most` of them; 0 for as many as the server gives.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn user_find(&self, attribute: &str, value: &str, most: u32) -> Result<Found, CallError> {
        let command = Command::read("user_find")
            .option(attribute, value)
            .option("all", true)
            .option("sizelimit", most)
            .option("no_members", true);
        self.ask(&command, |reply| {
            let users = reply.entries()?.into_iter().map(User::new).collect();
            Ok(Found { users, is_truncated: reply.is_truncated() })
        })
        .await
    }

    /// Changes a user. `Ok(None)`: it was so before.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn user_mod(&self, login: &Login, changes: &UserChanges) -> Result<Option<User>, CallError> {
        let command = with_values(Command::write("user_mod").argument(login), changes.values());
        unless_done(self.ask(&command, |reply| reply.entry().map(User::new)).await)
    }

    /// Gives a user a new random password, which must be changed at the first login. It may be repeated; each one invalidates the
    /// one before, and is told once.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn user_reset_password(&self, login: &Login) -> Result<SecretString, CallError> {
        let command = Command::write("user_mod").argument(login).option("random", true);
        self.ask(&command, |reply| {
            let entry = reply.entry()?;
            let password = entry.text("randompassword").filter(|password| !password.is_empty());
            password.map(SecretString::from).ok_or(BadReply::new("it holds no password"))
        })
        .await
    }

    /// The same for a user with this value of `userclass`. `None`: the user who has the login by now, and whose password was reset, is
    /// not of that class; the password is known to nobody. Look before whose the login is: this only tells what came in between.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn user_reset_password_of(
        &self,
        login: &Login,
        class: &str,
    ) -> Result<Option<SecretString>, CallError> {
        let command = Command::write("user_mod").argument(login).option("random", true);
        self.ask(&command, |reply| {
            let entry = reply.entry()?;
            if !entry.has("userclass", class) {
                return Ok(None);
            }
            let password = entry.text("randompassword").filter(|password| !password.is_empty());
            password
                .map(|password| Some(SecretString::from(password)))
                .ok_or(BadReply::new("it holds no password"))
        })
        .await
    }

    /// Disables a user. `false`: it was so before. It may be repeated.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn user_disable(&self, login: &Login) -> Result<bool, CallError> {
        let done = unless_done(self.tell(&Command::write("user_disable").argument(login)).await)?;
        Ok(done.is_some())
    }

    /// Deletes a user. Look first whose it is.
    ///
    /// # Errors
    /// [`CallError`]; of class [`NotFound`](Class::NotFound) if there is none.
    pub async fn user_del(&self, login: &Login, deletion: Deletion) -> Result<(), CallError> {
        let preserve = deletion == Deletion::Preserve;
        self.tell(&Command::write("user_del").argument(login).option("preserve", preserve)).await
    }
}

/// The command with these options.
pub(super) fn with_values(command: Command, values: &serde_json::Map<String, Value>) -> Command {
    values.iter().fold(command, |command, (name, value)| command.option(name, value.clone()))
}

/// `None` if there was nothing to do.
pub(super) fn unless_done<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.class() == Class::AlreadyDone => Ok(None),
        Err(error) => Err(error),
    }
}
