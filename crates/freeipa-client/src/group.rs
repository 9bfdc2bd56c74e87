//! Groups, and who could be put into them.

use std::fmt;
use std::ops::Deref;

use serde_json::Value;

use crate::entry::Entry;
use crate::envelope::{BadReply, Reply};
use crate::login::Login;

/// A group: an [`Entry`] with names for what is asked most.
#[derive(Clone, PartialEq)]
pub struct Group {
    entry: Entry,
}

impl Group {
    /// The group that an entry is.
    pub fn new(entry: Entry) -> Self {
        Self { entry }
    }

    /// The group's name.
    pub fn name(&self) -> Option<&str> {
        self.entry.text("cn")
    }

    /// Whether the user is a direct member.
    pub fn has_user(&self, login: &Login) -> bool {
        self.entry.texts("member_user").iter().any(|member| member.eq_ignore_ascii_case(login.as_str()))
    }
}

impl Deref for Group {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.entry).finish()
    }
}

/// What came of making somebody a member. The server reports failures of single members in a reply that is a success.
#[non_exhaustive]
#[derive(Clone, Eq, PartialEq)]
#[must_use = "the server reports failures here, and not as an error"]
pub enum Membership {
    /// A member from now on.
    Added,
    /// A member already.
    AlreadyMember,
    /// There is no such user, at least not on this server yet.
    NoSuchUser,
    /// The service account may not change who is in this group. With the server's words, which may name entries.
    Denied(String),
    /// Something else. With the server's words, which may name entries.
    Refused(String),
}

impl Membership {
    /// Whether it is a member now.
    pub fn is_member(&self) -> bool {
        matches!(self, Self::Added | Self::AlreadyMember)
    }

    /// As a word for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::AlreadyMember => "already_member",
            Self::NoSuchUser => "no_such_user",
            Self::Denied(_) => "denied",
            Self::Refused(_) => "refused",
        }
    }

    /// What the server's words mean.
    fn of(text: &str) -> Self {
        if text.contains("already a member") {
            Self::AlreadyMember
        } else if text.contains("no such entry") || text.contains("not found") {
            Self::NoSuchUser
        } else if text.contains("Insufficient access") {
            Self::Denied(text.to_owned())
        } else {
            Self::Refused(text.to_owned())
        }
    }

    /// What a reply to `group_add_member` says about one user.
    pub(crate) fn read(reply: &Reply, login: &Login) -> Result<Self, BadReply> {
        let is_the_login =
            |name: &Value| name.as_str().is_some_and(|name| name.eq_ignore_ascii_case(login.as_str()));
        let failed = reply.result().pointer("/failed/member/user").and_then(Value::as_array);
        let text =
            failed.into_iter().flatten().filter_map(Value::as_array).find_map(|pair| match pair.as_slice() {
                [name, text] if is_the_login(name) => text.as_str(),
                _ => None,
            });
        match (text, reply.result().get("completed").and_then(Value::as_i64)) {
            (Some(text), _) => Ok(Self::of(text)),
            (None, Some(1..)) => Ok(Self::Added),
            // It neither failed nor was done: the group knows.
            (None, _) if Group::new(reply.entry()?).has_user(login) => Ok(Self::AlreadyMember),
            (None, _) => Err(BadReply::new("it does not say what became of the member")),
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn read(result: &Value) -> Result<Membership, BadReply> {
        let bytes = json!({"result": result, "error": null}).to_string();
        let reply = crate::envelope::decode(bytes.as_bytes()).unwrap().unwrap();
        Membership::read(&reply, &"anna".parse().unwrap())
    }

    fn failed(text: &str) -> Value {
        json!({
            "completed": 0,
            "failed": {"member": {"user": [["boris", "no such entry"], ["Anna", text]], "group": []}},
            "result": {"cn": ["staff"]},
        })
    }

    #[test]
    fn failures_are_read_from_a_success() {
        assert_eq!(read(&failed("This entry is already a member")), Ok(Membership::AlreadyMember));
        assert_eq!(read(&failed("no such entry")), Ok(Membership::NoSuchUser));
        let denied = "Insufficient access: Insufficient 'write' privilege to the 'member' attribute of entry 'cn=staff'.";
        assert_eq!(read(&failed(denied)), Ok(Membership::Denied(denied.to_owned())));
        assert_eq!(read(&failed("something else")), Ok(Membership::Refused("something else".to_owned())));
    }

    #[test]
    fn others_failures_are_not_ours() {
        let result = json!({
            "completed": 1,
            "failed": {"member": {"user": [["boris", "no such entry"]]}},
            "result": {"cn": ["staff"], "member_user": ["anna"]},
        });
        assert_eq!(read(&result), Ok(Membership::Added));
    }

    #[test]
    fn a_reply_that_says_nothing_is_no_success() {
        let silent = json!({"completed": 0, "failed": {"member": {"user": []}}, "result": {"cn": ["staff"]}});
        assert!(read(&silent).is_err());
        let member =
            json!({"completed": 0, "failed": {}, "result": {"cn": ["staff"], "member_user": ["anna"]}});
        assert_eq!(read(&member), Ok(Membership::AlreadyMember));
    }
}
