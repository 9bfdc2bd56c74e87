//! What is in the directory from the beginning, and what a test puts there.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{ADMINS, Container, DEFAULT_GROUP, Directory, Entry, Group, Names};
use crate::DoubleError;
use crate::freeipa::config::{AccountSpec, Config, GroupSpec};
use crate::freeipa::parameters::{generalized, is_name};
use crate::freeipa::rights::Rights;

/// Where home directories are.
pub(crate) const HOMES: &str = "/home";
/// The shell of whoever names none.
pub(crate) const SHELL: &str = "/bin/sh";
/// What is wrong with a name.
const NO_NAME: &str = "FreeIPA takes no such name; take letters and digits in lower case, _, . and -";

impl Directory {
    /// A directory as after the installation, with what the settings add.
    pub(crate) fn seed(config: &Config) -> Result<Self, DoubleError> {
        let mut directory = Self {
            names: Names::new(config.domain()),
            entries: BTreeMap::new(),
            groups: BTreeMap::new(),
            next_id: config.first_id,
            added: 0,
            history: Vec::new(),
        };
        let now = config.clock.now();
        directory.put_group(&GroupSpec::new(ADMINS))?;
        directory.put_group(&GroupSpec::new("editors"))?;
        directory.put_group(&GroupSpec::new(DEFAULT_GROUP).non_posix())?;
        if !config.accounts.iter().any(|account| account.login == "admin") {
            // Nobody knows this password: who wants to be admin says so in the settings.
            let password = uuid::Uuid::new_v4().to_string();
            directory.put_account(&AccountSpec::new("admin", password).rights(Rights::admin()), now)?;
        }
        for account in &config.accounts {
            directory.put_account(account, now)?;
        }
        for group in &config.groups {
            directory.put_group(group)?;
        }
        Ok(directory)
    }

    /// Puts an active user there, past all rights and without a trace in the history.
    pub(crate) fn put_account(&mut self, spec: &AccountSpec, now: Timestamp) -> Result<(), DoubleError> {
        let login = spec.login.as_str();
        let refused = |why: &str| DoubleError::refused(format!("the account {login:?}"), why);
        if !is_name(login) || login != login.to_lowercase() {
            return Err(refused(NO_NAME));
        }
        if self.is_taken(login, &[]) || self.group(login).is_some() {
            return Err(refused("there is a user or group of that name already"));
        }
        let id = self.allocate().to_string();
        let mut entry = Entry::new(login);
        for (name, value) in [
            ("givenname", login.to_owned()),
            ("sn", "Account".to_owned()),
            ("cn", format!("{login} Account")),
            ("displayname", format!("{login} Account")),
            ("gecos", format!("{login} Account")),
            ("homedirectory", format!("{HOMES}/{login}")),
            ("loginshell", SHELL.to_owned()),
            ("krbcanonicalname", self.names.principal(login)),
            ("uidnumber", id.clone()),
            ("gidnumber", id.clone()),
            ("ipauniqueid", uuid::Uuid::new_v4().to_string()),
            ("krblastpwdchange", generalized(now)),
        ] {
            entry.set(name, vec![value]);
        }
        let principals = std::iter::once(login).chain(spec.aliases.iter().map(String::as_str));
        entry.set("krbprincipalname", principals.map(|name| self.names.principal(name)).collect());
        entry.password = Some(spec.password.clone());
        entry.passwords_set = 1;
        entry.rights = spec.rights.clone();
        let admin = entry.rights.is_admin();
        self.insert(Container::Active, entry);
        self.add_private_group(login, &id);
        for group in std::iter::once(DEFAULT_GROUP).chain(admin.then_some(ADMINS)) {
            self.join(group, login).map_err(|error| refused(&error.message))?;
        }
        Ok(())
    }

    /// Puts a group there, past all rights and without a trace in the history.
    pub(crate) fn put_group(&mut self, spec: &GroupSpec) -> Result<(), DoubleError> {
        let refused = |why: &str| DoubleError::refused(format!("the group {:?}", spec.name), why);
        if !is_name(&spec.name) || spec.name != spec.name.to_lowercase() {
            return Err(refused(NO_NAME));
        }
        if self.group(&spec.name).is_some() {
            return Err(refused("it is there already"));
        }
        let mut named = spec.managers.iter().chain(&spec.members);
        if let Some(stranger) = named.find(|login| self.active(login).is_none()) {
            let why = format!("its member or manager {stranger:?} is no user; add the account first");
            return Err(refused(&why));
        }
        let id = spec.posix.then(|| self.allocate().to_string());
        let group = Group {
            id,
            users: spec.members.clone(),
            manager_users: spec.managers.clone(),
            ..Group::new(&spec.name)
        };
        self.groups.insert(group.name.clone(), group);
        Ok(())
    }
}
