//! Showing and changing users.

use serde_json::{Map, Value as Json, json};

use super::attributes::Changes;
use super::{Output, Run, access, object, password, syntax};
use crate::freeipa::directory::{ADMINS, Change, Container, Entry};
use crate::freeipa::error::RpcError;
use crate::freeipa::facts;
use crate::freeipa::parameters::{Parameters, generalized};
use crate::freeipa::rights::Right;

/// The attributes that a question for rights is answered about.
const RIGHTS_OF: &[&str] = &[
    "cn",
    "displayname",
    "employeenumber",
    "employeetype",
    "gecos",
    "gidnumber",
    "givenname",
    "homedirectory",
    "initials",
    "krbpasswordexpiration",
    "krbprincipalexpiration",
    "krbprincipalname",
    "loginshell",
    "mail",
    "mobile",
    "nsaccountlock",
    "ou",
    "preferredlanguage",
    "sn",
    "telephonenumber",
    "title",
    "uid",
    "uidnumber",
    "userclass",
    "userpassword",
];

// === impl Run ===

impl Run<'_> {
    pub(super) fn user_show(&self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        let container = self.either(&login).ok_or_else(|| RpcError::no_such("user", &login))?;
        self.show(container, &login)
    }

    pub(super) fn stageuser_show(&self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        if !self.sees(Container::Staged) {
            return Err(RpcError::no_such("stage user", &login));
        }
        self.show(Container::Staged, &login)
    }

    fn show(&self, container: Container, login: &str) -> Result<Output, RpcError> {
        let kind = kind(container);
        let entry = self.directory.entry(container, login).ok_or_else(|| RpcError::no_such(kind, login))?;
        let mut result = self.shown(container, entry, &Changes::new());
        result.insert("dn".into(), json!(self.directory.names.user(container, &entry.login)));
        Ok(object(json!({"result": result, "value": login, "summary": null})))
    }

    pub(super) fn user_mod(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        let container = self.either(&login);
        self.modify("user_mod", container, &login)
    }

    pub(super) fn stageuser_mod(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        let there = self.sees(Container::Staged) && self.directory.entry(Container::Staged, &login).is_some();
        self.modify("stageuser_mod", there.then_some(Container::Staged), &login)
    }

    fn modify(
        &mut self,
        command: &'static str,
        container: Option<Container>,
        login: &str,
    ) -> Result<Output, RpcError> {
        let facts = facts::command(command).ok_or_else(RpcError::internal)?;
        let kind = if command == "user_mod" { "user" } else { "stage user" };
        let old = container.and_then(|container| self.directory.entry(container, login));
        let mut changes = self.changes(facts, old)?;
        if let Some(addresses) = changes.get("mail") {
            let complete = self.complete(addresses)?;
            changes.insert("mail".to_owned(), complete);
        }
        self.find_manager(&mut changes)?;
        let random = self.choose_password(&mut changes);
        let renamed = self.new_name(login)?;
        let Some(container) = container else { return Err(RpcError::no_such(kind, login)) };
        if container == Container::Staged {
            changes.remove("nsaccountlock");
        }

        let login = match renamed {
            Some(new) => self.rename(container, login, &new)?,
            None => login.to_lowercase(),
        };
        self.commit(container, &login, &changes, renamed_is_all(&self.parameters))?;

        let entry = self.directory.entry(container, &login).ok_or_else(RpcError::internal)?;
        let mut result = self.shown(container, entry, &changes);
        if let Some(password) = random {
            result.insert("randompassword".to_owned(), password.into());
        }
        if container == Container::Staged {
            result.remove("nsaccountlock");
        }
        // Only whoever asks for everything is told where the entry is.
        if self.parameters.switch("all") {
            result.insert("dn".into(), json!(self.directory.names.user(container, &login)));
        }
        let what = if kind == "user" { "Modified user" } else { "Modified stage user" };
        let key = self.key("uid");
        Ok(object(json!({"result": result, "value": key, "summary": format!("{what} \"{key}\"")})))
    }

    /// Writes what differs. `may_be_nothing`: something was done already.
    fn commit(
        &mut self,
        container: Container,
        login: &str,
        changes: &Changes,
        may_be_nothing: bool,
    ) -> Result<(), RpcError> {
        let dn = self.directory.names.user(container, login);
        let entry = self.directory.entry(container, login).ok_or_else(RpcError::internal)?;
        let differs = |name: &str, values: &[String]| name == "userpassword" || entry.get(name) != values;
        let real: Vec<(&String, &Vec<String>)> =
            changes.iter().filter(|(name, values)| differs(name, values)).collect();
        if real.is_empty() {
            return if may_be_nothing { Ok(()) } else { Err(RpcError::nothing_to_modify()) };
        }
        for (name, _) in &real {
            if !self.may_write(container, login, name) {
                return Err(access::no_write(name, &dn));
            }
        }
        for (name, values) in &real {
            syntax::check(name, values)?;
        }
        if let Some((_, principals)) = real.iter().find(|(name, _)| *name == "krbprincipalname")
            && self.directory.entries().any(|(of, other)| {
                of != Container::Staged
                    && other.login != login
                    && other.get("krbprincipalname").iter().any(|have| principals.contains(have))
            })
        {
            return Err(RpcError::duplicate("This entry already exists"));
        }

        let real: Vec<(String, Vec<String>)> =
            real.into_iter().map(|(name, values)| (name.clone(), values.clone())).collect();
        let by_owner = container == Container::Active && login == self.caller;
        let now = self.now;
        let entry = self.directory.entry_mut(container, login).ok_or_else(RpcError::internal)?;
        let mut said = None;
        // The password first: a time of expiry that comes with it stands.
        if let Some((_, values)) = real.iter().find(|(name, _)| name == "userpassword") {
            if let Some(new) = values.first() {
                if let Some(why) = by_owner.then(|| password::policy_violation(entry, new, now)).flatten() {
                    let info = why.trim_start_matches("Constraint violation: ");
                    let data = json!({"desc": "Constraint violation", "info": info});
                    return Err(RpcError::new(4203, "DatabaseError", why, &data));
                }
                password::set(entry, new, by_owner, now);
            } else {
                entry.password = None;
            }
            said = Some(if by_owner { Change::PasswordChanged } else { Change::PasswordSet });
        }
        let mut modified = false;
        for (name, values) in real.into_iter().filter(|(name, _)| name != "userpassword") {
            entry.set(&name, values);
            modified = true;
        }
        for change in said.into_iter().chain(modified.then_some(Change::Modified)) {
            self.directory.note(self.now, self.caller, change, login);
        }
        Ok(())
    }

    /// The new name that a call gives, if it may be one.
    fn new_name(&self, login: &str) -> Result<Option<String>, RpcError> {
        if !self.parameters.was_given("rename") {
            return Ok(None);
        }
        if login == "admin" {
            return Err(RpcError::protected("user", login, "privileged user"));
        }
        let Some(new) = self.parameters.text("rename") else {
            return Err(RpcError::validation("rename", "can't be empty"));
        };
        let longest = self.config.longest_login;
        if new.chars().count() > longest {
            return Err(RpcError::validation("login", &format!("can be at most {longest} characters")));
        }
        Ok(Some(new.to_owned()))
    }

    fn rename(&mut self, container: Container, old: &str, new: &str) -> Result<String, RpcError> {
        if old == new {
            return Ok(old.to_owned());
        }
        if !self.may_write(container, old, "uid") {
            return Err(access::no_write("uid", &self.directory.names.user(container, old)));
        }
        let principal = self.directory.names.principal(new);
        if self.directory.is_taken(new, std::slice::from_ref(&principal))
            || self.directory.group(new).is_some()
        {
            return Err(RpcError::duplicate("This entry already exists"));
        }
        let (groups, _) = self.directory.groups_of(old);
        let mut entry = self.directory.remove(container, old).ok_or_else(RpcError::internal)?;
        new.clone_into(&mut entry.login);
        entry.set("uid", vec![new.to_owned()]);
        entry.set("krbprincipalname", vec![principal.clone()]);
        entry.set("krbcanonicalname", vec![principal]);
        let id = entry.first("uidnumber").unwrap_or_default().to_owned();
        self.directory.insert(container, entry);
        if container == Container::Active {
            self.directory.add_private_group(new, &id);
            for group in groups {
                self.directory.join(&group, new)?;
            }
        }
        self.directory.note(self.now, self.caller, Change::Modified, new);
        Ok(new.to_owned())
    }

    /// Which rights the caller has on each attribute, as the directory writes them: r, s, c to read, w and o to write.
    pub(super) fn user_rights(&self, container: Container, login: &str) -> Json {
        let rights: Map<String, Json> = RIGHTS_OF
            .iter()
            .map(|name| {
                let read = if *name == "userpassword" { "" } else { "rsc" };
                let write = if self.may_write(container, login, name) { "wo" } else { "" };
                ((*name).to_owned(), json!(format!("{read}{write}")))
            })
            .collect();
        Json::Object(rights)
    }

    pub(super) fn set_enabled(&mut self, enabled: bool) -> Result<Output, RpcError> {
        let login = self.key("uid");
        if !enabled && self.directory.is_admin(&login) {
            let others = self.directory.of(Container::Active).into_iter().any(|entry| {
                entry.login != login && !entry.is_disabled() && self.directory.is_admin(&entry.login)
            });
            if !others {
                return Err(RpcError::last_member(&login, ADMINS));
            }
        }
        let container = self.either(&login).ok_or_else(|| RpcError::not_found("no such entry"))?;
        let disabled = self.directory.entry(container, &login).is_some_and(Entry::is_disabled);
        match (enabled, disabled) {
            (true, false) => return Err(RpcError::already_active()),
            (false, true) => return Err(RpcError::already_inactive()),
            _ => {}
        }
        if !self.may_write(container, &login, "nsaccountlock") {
            return Err(access::no_write("nsaccountlock", &self.directory.names.user(container, &login)));
        }
        if let Some(entry) = self.directory.entry_mut(container, &login) {
            entry.set("nsaccountlock", vec![if enabled { "FALSE" } else { "TRUE" }.to_owned()]);
        }
        let change = if enabled { Change::Enabled } else { Change::Disabled };
        self.directory.note(self.now, self.caller, change, &login);
        let what = if enabled { "Enabled" } else { "Disabled" };
        let summary = format!("{what} user account \"{login}\"");
        Ok(object(json!({"result": true, "value": login, "summary": summary})))
    }

    pub(super) fn user_unlock(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        let container = self.either(&login).ok_or_else(|| RpcError::not_found("no such entry"))?;
        if !self.rights.is_admin() && (self.directory.is_admin(&login) || !self.allows(Right::UnlockUsers)) {
            let dn = self.directory.names.user(container, &login);
            return Err(access::no_write("krbLastAdminUnlock", &dn));
        }
        let now = self.now;
        if let Some(entry) = self.directory.entry_mut(container, &login) {
            entry.failures = 0;
            entry.last_failure = None;
            entry.set("krblastadminunlock", vec![generalized(now)]);
        }
        self.directory.note(now, self.caller, Change::Unlocked, &login);
        Ok(object(
            json!({"result": true, "value": login, "summary": format!("Unlocked account \"{login}\"")}),
        ))
    }
}

fn kind(container: Container) -> &'static str {
    if container == Container::Staged { "stage user" } else { "user" }
}

fn renamed_is_all(parameters: &Parameters) -> bool {
    parameters.text("rename").is_some()
}
