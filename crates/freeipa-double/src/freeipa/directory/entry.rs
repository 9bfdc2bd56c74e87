//! A user, wherever it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::freeipa::parameters::from_generalized;
use crate::freeipa::rights::Rights;

/// Where in the tree a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Container {
    /// `cn=users,cn=accounts`.
    Active,
    /// `cn=staged users,cn=accounts,cn=provisioning`.
    Staged,
    /// `cn=deleted users,cn=accounts,cn=provisioning`.
    Preserved,
}

/// One user.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) login: String,
    /// By name in lower case. What is not there has no values.
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
    pub(crate) password: Option<String>,
    /// Passwords it ever had.
    pub(crate) passwords_set: u64,
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<Timestamp>,
    pub(crate) rights: Rights,
    /// How many entries came before it.
    pub(crate) order: u64,
}

// === impl Entry ===

impl Entry {
    pub(crate) fn new(login: &str) -> Self {
        let mut entry = Self {
            login: login.to_lowercase(),
            attributes: BTreeMap::new(),
            password: None,
            passwords_set: 0,
            failures: 0,
            last_failure: None,
            rights: Rights::none(),
            order: 0,
        };
        entry.set("uid", vec![login.to_lowercase()]);
        entry
    }

    /// The values of an attribute.
    pub(crate) fn get(&self, name: &str) -> &[String] {
        self.attributes.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.get(name).first().map(String::as_str)
    }

    /// Replaces the values; without any the attribute goes.
    pub(crate) fn set(&mut self, name: &str, values: Vec<String>) {
        if values.is_empty() {
            self.attributes.remove(name);
        } else {
            self.attributes.insert(name.to_owned(), values);
        }
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.first("nsaccountlock").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether a time of it has come: of the password, or of the principal.
    pub(crate) fn has_come(&self, name: &str, now: Timestamp) -> bool {
        self.first(name).and_then(from_generalized).is_some_and(|moment| moment <= now)
    }
}

// The password stays out, and the attributes are personal data.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("login", &self.login).finish_non_exhaustive()
    }
}
