//! The directory: entries, groups, and what happened to them.

mod entry;
mod event;
mod group;
mod names;
mod seed;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::entry::Container;
pub(crate) use self::entry::Entry;
pub use self::event::{Change, Event};
pub(crate) use self::group::Group;
pub(crate) use self::names::Names;
pub(crate) use self::seed::{HOMES, SHELL};
use crate::freeipa::error::RpcError;

/// The group of all users.
pub(crate) const DEFAULT_GROUP: &str = "ipausers";
/// The group of those who may do everything.
pub(crate) const ADMINS: &str = "admins";

/// All that the server stores.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) names: Names,
    entries: BTreeMap<(Container, String), Entry>,
    pub(crate) groups: BTreeMap<String, Group>,
    next_id: u32,
    added: u64,
    history: Vec<Event>,
}

// === impl Directory ===

impl Directory {
    pub(crate) fn entry(&self, container: Container, login: &str) -> Option<&Entry> {
        // DNs are compared without regard to case.
        self.entries.get(&(container, login.to_lowercase()))
    }

    pub(crate) fn entry_mut(&mut self, container: Container, login: &str) -> Option<&mut Entry> {
        self.entries.get_mut(&(container, login.to_lowercase()))
    }

    pub(crate) fn active(&self, login: &str) -> Option<&Entry> {
        self.entry(Container::Active, login)
    }

    /// All entries of a container, in the order in which they came.
    pub(crate) fn of(&self, container: Container) -> Vec<&Entry> {
        let mut found: Vec<&Entry> =
            self.entries.iter().filter(|((of, _), _)| *of == container).map(|(_, entry)| entry).collect();
        found.sort_by_key(|entry| entry.order);
        found
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (Container, &Entry)> {
        self.entries.iter().map(|((container, _), entry)| (*container, entry))
    }

    /// The next number for a user or group.
    pub(crate) fn allocate(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Whether a unique attribute stands in the way: the login among active and preserved users, or a principal.
    pub(crate) fn is_taken(&self, login: &str, principals: &[String]) -> bool {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        self.entries().filter(|(container, _)| *container != Container::Staged).any(|(_, entry)| {
            same(&entry.login, login)
                || entry.get("krbprincipalname").iter().any(|own| principals.iter().any(|new| same(own, new)))
        })
    }

    /// Puts an entry in. Whether it may be there was asked before.
    pub(crate) fn insert(&mut self, container: Container, mut entry: Entry) {
        entry.order = self.added;
        self.added += 1;
        self.entries.insert((container, entry.login.clone()), entry);
    }

    /// Takes an entry out; groups forget it, and its private group goes.
    pub(crate) fn remove(&mut self, container: Container, login: &str) -> Option<Entry> {
        let entry = self.entries.remove(&(container, login.to_lowercase()))?;
        if container == Container::Active {
            for group in self.groups.values_mut() {
                group.users.retain(|user| *user != entry.login);
                group.manager_users.retain(|user| *user != entry.login);
            }
            self.groups.retain(|_, group| group.private_of.as_deref() != Some(&entry.login));
        }
        Some(entry)
    }

    /// The private group of a user, with the user's number.
    pub(crate) fn add_private_group(&mut self, login: &str, id: &str) {
        let group = Group {
            description: Some(format!("User private group for {login}")),
            id: Some(id.to_owned()),
            private_of: Some(login.to_owned()),
            ..Group::new(login)
        };
        self.groups.insert(login.to_owned(), group);
    }

    /// Puts a user into a group.
    pub(crate) fn join(&mut self, group: &str, login: &str) -> Result<(), RpcError> {
        let group =
            self.groups.get_mut(&group.to_lowercase()).ok_or_else(|| RpcError::not_found("no such entry"))?;
        if group.users.iter().any(|user| user == login) {
            return Err(RpcError::already_a_member());
        }
        group.users.push(login.to_owned());
        Ok(())
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(&name.to_lowercase())
    }

    /// The groups a user is in by itself, and those it is in through them.
    pub(crate) fn groups_of(&self, login: &str) -> (Vec<String>, Vec<String>) {
        let direct: Vec<String> = self
            .groups
            .values()
            .filter(|group| group.users.iter().any(|user| user == login))
            .map(|group| group.name.clone())
            .collect();
        let mut all = direct.clone();
        let mut at = 0;
        while let Some(inner) = all.get(at).cloned() {
            for group in self.groups.values() {
                if group.groups.contains(&inner) && !all.contains(&group.name) {
                    all.push(group.name.clone());
                }
            }
            at += 1;
        }
        let indirect = all.split_off(direct.len());
        (direct, indirect)
    }

    /// Whether a user is in `admins`, directly or not.
    pub(crate) fn is_admin(&self, login: &str) -> bool {
        let (direct, indirect) = self.groups_of(login);
        direct.iter().chain(&indirect).any(|group| group == ADMINS)
    }

    /// Notes what happened.
    pub(crate) fn note(&mut self, at: Timestamp, by: &str, change: Change, subject: &str) {
        let number = self.history.len() as u64 + 1;
        self.history.push(Event { number, at, by: by.to_owned(), change, subject: subject.to_owned() });
    }

    pub(crate) fn history(&self) -> &[Event] {
        &self.history
    }
}
