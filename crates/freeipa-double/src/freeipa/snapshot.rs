//! What is in the directory, for those who check.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::freeipa::directory::{Change, Container, Directory, Event};
use crate::freeipa::kdc;

/// What is in the directory at one moment, and all that happened to it.
///
/// Users and groups that were there from the beginning are in it, and not in its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DirectorySnapshot {
    /// All users: active, staged and preserved.
    pub users: Vec<UserSnapshot>,
    /// All groups, private ones included.
    pub groups: Vec<GroupSnapshot>,
    /// What happened, in order.
    pub history: Vec<Event>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserSnapshot {
    /// The login.
    pub login: String,
    /// Where it is.
    pub container: Container,
    /// All attributes with all values, without the password.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// The groups it is in directly.
    pub groups: Vec<String>,
    /// Whether it has a password.
    pub has_password: bool,
    /// How many passwords it ever had.
    pub passwords_set: u64,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Whether too many wrong passwords came.
    pub locked: bool,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupSnapshot {
    /// The name.
    pub name: String,
    /// The users in it directly.
    pub users: Vec<String>,
    /// The users who manage its members.
    pub managers: Vec<String>,
    /// Whether it is the private group of a user.
    pub private: bool,
}

// === impl DirectorySnapshot ===

impl DirectorySnapshot {
    pub(crate) fn of(directory: &Directory, now: jiff::Timestamp) -> Self {
        let users = directory
            .entries()
            .map(|(container, entry)| UserSnapshot {
                login: entry.login.clone(),
                container,
                attributes: entry.attributes.clone(),
                groups: match container {
                    Container::Active => directory.groups_of(&entry.login).0,
                    Container::Staged | Container::Preserved => Vec::new(),
                },
                has_password: entry.password.is_some(),
                passwords_set: entry.passwords_set,
                disabled: entry.is_disabled(),
                locked: kdc::is_locked(entry, now),
            })
            .collect();
        let groups = directory
            .groups
            .values()
            .map(|group| GroupSnapshot {
                name: group.name.clone(),
                users: group.users.clone(),
                managers: group.manager_users.clone(),
                private: group.private_of.is_some(),
            })
            .collect();
        Self { users, groups, history: directory.history().to_vec() }
    }

    /// An active user.
    #[must_use]
    pub fn user(&self, login: &str) -> Option<&UserSnapshot> {
        self.user_in(Container::Active, login)
    }

    /// A user, where one looks for it.
    #[must_use]
    pub fn user_in(&self, container: Container, login: &str) -> Option<&UserSnapshot> {
        self.users.iter().find(|user| user.container == container && user.login == login)
    }

    /// A group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&GroupSnapshot> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// How often this happened to a login or group.
    #[must_use]
    pub fn times(&self, change: &Change, subject: &str) -> usize {
        self.history.iter().filter(|event| event.change == *change && event.subject == subject).count()
    }

    /// The logins that came to be active users, by creation or activation, in order; one as often as it did.
    #[must_use]
    pub fn created(&self) -> Vec<&str> {
        self.history
            .iter()
            .filter(|event| matches!(event.change, Change::Created | Change::Activated))
            .map(|event| event.subject.as_str())
            .collect()
    }
}

// === impl UserSnapshot ===

impl UserSnapshot {
    /// The values of an attribute.
    #[must_use]
    pub fn values(&self, name: &str) -> &[String] {
        self.attributes.get(name).map_or(&[], Vec::as_slice)
    }
}
