//! Users who wait for approval.

use super::users::{unless_done, with_values};
use crate::client::Pinned;
use crate::command::Command;
use crate::error::CallError;
use crate::login::Login;
use crate::user::{NewUser, User, UserChanges};

impl Pinned {
    /// Makes a staged user.
    ///
    /// **The server does not look whether there is an active user of the same login, and from then on refuses that user every call**,
    /// until the staged one is deleted. So look with [`user_show`](Self::user_show) first, and once more afterwards, and never take the login of
    /// a service account.
    ///
    /// # Errors
    /// [`CallError`]; of class [`Exists`](crate::Class::Exists) if there is a staged user of this login.
    pub async fn stageuser_add(&self, user: &NewUser) -> Result<User, CallError> {
        let command = with_values(Command::write("stageuser_add").argument(user.login()), user.values());
        self.ask(&command, |reply| reply.entry().map(User::new)).await
    }

    /// A staged user, with all attributes that may be seen.
    ///
    /// # Errors
    /// [`CallError`]; of class [`NotFound`](crate::Class::NotFound) if there is none.
    pub async fn stageuser_show(&self, login: &Login) -> Result<User, CallError> {
        let command = Command::read("stageuser_show").argument(login).option("all", true);
        self.ask(&command, |reply| reply.entry().map(User::new)).await
    }

    /// Changes a staged user. `Ok(None)`: it was so before.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn stageuser_mod(
        &self,
        login: &Login,
        changes: &UserChanges,
    ) -> Result<Option<User>, CallError> {
        let command = with_values(Command::write("stageuser_mod").argument(login), changes.values());
        unless_done(self.ask(&command, |reply| reply.entry().map(User::new)).await)
    }

    /// Makes a staged user an active one, who keeps `userclass` and password.
    ///
    /// # Errors
    /// [`CallError`]; of class [`NotFound`](crate::Class::NotFound) also if it was done before: then there is an active user with the same
    /// `userclass`. Of class [`Exists`](crate::Class::Exists) if an active or a preserved user has the login; the staged one stays. After one of class
    /// [`Denied`](crate::Class::Denied) the outcome is `Unknown`.
    pub async fn stageuser_activate(&self, login: &Login) -> Result<User, CallError> {
        let command = Command::write("stageuser_activate").argument(login);
        self.ask(&command, |reply| reply.entry().map(User::new)).await
    }

    /// Deletes a staged user.
    ///
    /// # Errors
    /// [`CallError`]; of class [`NotFound`](crate::Class::NotFound) if there is none.
    pub async fn stageuser_del(&self, login: &Login) -> Result<(), CallError> {
        self.tell(&Command::write("stageuser_del").argument(login)).await
    }
}
