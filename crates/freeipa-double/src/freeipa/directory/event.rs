//! What happened to the directory.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Counted from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The login that did it.
    pub by: String,
    /// What was done.
    pub change: Change,
    /// To whom: a login, or the name of a group.
    pub subject: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// An active user came to be, by `user_add`.
    Created,
    /// A stage user came to be.
    Staged,
    /// A stage user became an active one.
    Activated,
    /// Attributes of a user changed.
    Modified,
    /// A user's password was set by somebody else.
    PasswordSet,
    /// A user changed its own password.
    PasswordChanged,
    /// A user was disabled.
    Disabled,
    /// A user was enabled.
    Enabled,
    /// A user's failed logins were forgotten.
    Unlocked,
    /// An active or preserved user was deleted.
    Deleted,
    /// A stage user was deleted.
    StageDeleted,
    /// An active user became a preserved one.
    Preserved,
    /// A preserved user became an active one.
    Undeleted,
    /// A group came to be.
    GroupCreated,
    /// A group was deleted.
    GroupDeleted,
    /// A user came into this group.
    Joined(String),
    /// A user left this group.
    Left(String),
    /// A user became a manager of this group's members.
    Manages(String),
}
