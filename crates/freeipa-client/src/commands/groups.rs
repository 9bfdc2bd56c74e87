//! Groups.

use crate::client::Pinned;
use crate::command::Command;
use crate::error::CallError;
use crate::group::{Group, Membership};
use crate::login::Login;

impl Pinned {
    /// A group, with its direct members.
    ///
    /// # Errors
    /// [`CallError`]; of class [`NotFound`](crate::Class::NotFound) if there is none.
    pub async fn group_show(&self, name: &str) -> Result<Group, CallError> {
        let command = Command::read("group_show").argument(name);
        self.ask(&command, |reply| reply.entry().map(Group::new)).await
    }

    /// Makes a user a member of a group. It may be repeated: who is a member already stays one.
    ///
    /// # Errors
    /// [`CallError`]; of class [`Configuration`](crate::Class::Configuration) if there is no such group. What the server has against the
    /// member is no error to it, but a [`Membership`].
    pub async fn group_add_member(&self, group: &str, login: &Login) -> Result<Membership, CallError> {
        let command = Command::write("group_add_member")
            .argument(group)
            .option("user", vec![login.as_str().to_owned()]);
        self.ask(&command, |reply| Membership::read(reply, login)).await
    }
}
