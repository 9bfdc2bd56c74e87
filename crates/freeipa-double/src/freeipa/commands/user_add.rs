//! Adding users, active and staged.

use serde_json::json;

use super::attributes::Changes;
use super::render::{SHOWN, Wanted, add_password_state};
use super::{Output, Run, access, object, password, syntax};
use crate::freeipa::directory::{Change, Container, DEFAULT_GROUP, Entry, HOMES, SHELL};
use crate::freeipa::error::RpcError;
use crate::freeipa::facts;
use crate::freeipa::rights::Right;

// === impl Run ===

impl Run<'_> {
    /// Three things, one after the other: the entry, its membership in the default group, the reply. What goes wrong
    /// with the second finds the first done.
    pub(super) fn user_add(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        let private = !self.parameters.switch("noprivate");
        let command = facts::command("user_add").ok_or_else(RpcError::internal)?;
        let mut changes = self.changes(command, None)?;
        if self.sees(Container::Preserved) && self.directory.entry(Container::Preserved, &login).is_some() {
            return Err(RpcError::exists("user", &login));
        }
        if private {
            if !self.allows(Right::ReadUpgDefinition) {
                return Err(RpcError::access(
                    "Could not read UPG Definition originfilter. Check your permissions.",
                ));
            }
            if self.directory.group(&login).is_some() {
                return Err(match self.either(&login) {
                    Some(_) => RpcError::exists("user", &login),
                    None => RpcError::private_group_exists(&login),
                });
            }
        }
        self.complete_user(&login, &mut changes)?;
        if !private && changes.get("gidnumber").is_none_or(Vec::is_empty) {
            let default = self.directory.group(DEFAULT_GROUP).and_then(|group| group.id.clone());
            let default =
                default.ok_or_else(|| RpcError::not_found("Default group for new users is not POSIX"))?;
            changes.insert("gidnumber".to_owned(), vec![default]);
        }
        let random = self.choose_password(&mut changes);

        let principals = changes.get("krbprincipalname").cloned().unwrap_or_default();
        if self.directory.is_taken(&login, &principals) {
            return Err(RpcError::exists("user", &login));
        }
        if !self.allows(Right::AddUsers) {
            return Err(access::no_add(&self.directory.names.user(Container::Active, &login)));
        }
        let mut entry = self.entry(&login, changes)?;
        let number = match entry.first("uidnumber") {
            Some(number) => number.to_owned(),
            None => self.directory.allocate().to_string(),
        };
        entry.set("uidnumber", vec![number.clone()]);
        if entry.get("gidnumber").is_empty() {
            entry.set("gidnumber", vec![number.clone()]);
        }
        entry.set("ipauniqueid", vec![uuid::Uuid::new_v4().to_string()]);
        self.directory.insert(Container::Active, entry);
        if private {
            self.directory.add_private_group(&login, &number);
        }
        self.directory.note(self.now, self.caller, Change::Created, &login);

        self.join_default_group(&login)?;
        let mut result = self.added(Container::Active, &login)?;
        if let Some(password) = random {
            result.insert("randompassword".to_owned(), password.into());
        }
        Ok(object(json!({"result": result, "value": login, "summary": format!("Added user \"{login}\"")})))
    }

    pub(super) fn stageuser_add(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        let command = facts::command("stageuser_add").ok_or_else(RpcError::internal)?;
        let mut changes = self.changes(command, None)?;
        self.complete_user(&login, &mut changes)?;
        let random = self.choose_password(&mut changes);
        if self.directory.entry(Container::Staged, &login).is_some() {
            return Err(RpcError::exists("stage user", &login));
        }
        if !self.allows(Right::AddStageUsers) {
            return Err(access::no_add(&self.directory.names.user(Container::Staged, &login)));
        }
        let mut entry = self.entry(&login, changes)?;
        for number in ["uidnumber", "gidnumber"] {
            if entry.get(number).is_empty() {
                entry.set(number, vec!["-1".to_owned()]);
            }
        }
        entry.set("ipauniqueid", vec!["autogenerate".to_owned()]);
        entry.set("description", vec!["__no_upg__".to_owned()]);
        self.directory.insert(Container::Staged, entry);
        self.directory.note(self.now, self.caller, Change::Staged, &login);
        // Read back with the caller's own eyes: who may add and not read is told that there is no such user.
        if !self.sees(Container::Staged) {
            return Err(RpcError::no_such("stage user", &login));
        }
        let mut result = self.added(Container::Staged, &login)?;
        if let Some(password) = random {
            result.insert("randompassword".to_owned(), password.into());
        }
        Ok(object(
            json!({"result": result, "value": login, "summary": format!("Added stage user \"{login}\"")}),
        ))
    }

    /// Checks the login's length and the mail address, and fills in what was not given.
    fn complete_user(&self, login: &str, changes: &mut Changes) -> Result<(), RpcError> {
        let longest = self.config.longest_login;
        if login.chars().count() > longest {
            return Err(RpcError::validation("login", &format!("can be at most {longest} characters")));
        }
        let fill = |changes: &mut Changes, name: &str, value: String| {
            changes.entry(name.to_owned()).or_insert_with(|| vec![value]);
        };
        fill(changes, "loginshell", SHELL.to_owned());
        fill(changes, "homedirectory", format!("{HOMES}/{login}"));
        fill(changes, "krbprincipalname", self.directory.names.principal(login));
        let mail = match changes.get("mail") {
            Some(addresses) => self.complete(addresses)?,
            None => self.complete(&[login.to_owned()])?,
        };
        changes.insert("mail".to_owned(), mail);
        self.find_manager(changes)
    }

    /// A manager is an active user, and stored by its name in the tree.
    pub(super) fn find_manager(&self, changes: &mut Changes) -> Result<(), RpcError> {
        let Some(manager) = changes.get("manager").and_then(|values| values.first()).cloned() else {
            return Ok(());
        };
        match self.directory.active(&manager) {
            Some(found) => {
                changes.insert("manager".to_owned(), vec![found.login.clone()]);
                Ok(())
            }
            None => Err(RpcError::not_found(&format!("manager {manager} not found"))),
        }
    }

    /// The password by chance, if one is asked for and none is given.
    pub(super) fn choose_password(&self, changes: &mut Changes) -> Option<String> {
        if !self.parameters.switch("random") || changes.contains_key("userpassword") {
            return None;
        }
        let password = password::random();
        changes.insert("userpassword".to_owned(), vec![password.clone()]);
        Some(password)
    }

    /// A new entry, if the schema takes it.
    fn entry(&self, login: &str, mut changes: Changes) -> Result<Entry, RpcError> {
        let password = changes.remove("userpassword").and_then(|values| values.into_iter().next());
        let mut entry = Entry::new(login);
        for (name, values) in changes {
            syntax::check(&name, &values)?;
            entry.set(&name, values);
        }
        let canonical = entry.first("krbprincipalname").map(str::to_owned);
        entry.set("krbcanonicalname", canonical.into_iter().collect());
        if let Some(password) = password {
            let expires = entry.get("krbpasswordexpiration").to_vec();
            password::set(&mut entry, &password, false, self.now);
            if !expires.is_empty() {
                entry.set("krbpasswordexpiration", expires);
            }
        }
        Ok(entry)
    }

    /// The group that all users are in. The account exists already, whatever comes of this.
    pub(super) fn join_default_group(&mut self, login: &str) -> Result<(), RpcError> {
        if !self.allows(Right::AddToDefaultGroup) && !self.allows(Right::ModifyGroupMembership) {
            return Err(access::no_write("member", &self.directory.names.group(DEFAULT_GROUP)));
        }
        match self.directory.join(DEFAULT_GROUP, login) {
            Ok(()) => {
                self.directory.note(self.now, self.caller, Change::Joined(DEFAULT_GROUP.to_owned()), login);
                Ok(())
            }
            Err(error) if error.code == 4014 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A user as the reply to its creation has it: everything.
    fn added(&self, container: Container, login: &str) -> Result<Output, RpcError> {
        let entry = self.directory.entry(container, login).ok_or_else(RpcError::internal)?;
        let members = !self.parameters.switch("no_members");
        let mut result = self.render(container, entry, &Wanted::All, members);
        if !self.parameters.switch("all") {
            result.remove("userpassword");
            result.remove("krbprincipalkey");
        }
        if container == Container::Staged {
            result.insert("nsaccountlock".into(), json!(true));
        } else if !entry.get("nsaccountlock").is_empty() {
            result.insert("nsaccountlock".into(), json!(entry.is_disabled()));
        }
        if self.parameters.switch("all") && container == Container::Active {
            result.insert("preserved".into(), json!(false));
        }
        add_password_state(&mut result, entry);
        result.insert("dn".into(), json!(self.directory.names.user(container, login)));
        Ok(result)
    }

    /// A user as it is shown, with the attributes a call was about besides.
    pub(super) fn shown(&self, container: Container, entry: &Entry, more: &Changes) -> Output {
        let all = self.parameters.switch("all");
        let more = more.keys().map(String::as_str).filter(|name| *name != "userpassword");
        let wanted = if all { Wanted::All } else { Wanted::these(SHOWN, more) };
        let mut result = self.render(container, entry, &wanted, !self.parameters.switch("no_members"));
        add_password_state(&mut result, entry);
        let locked = container != Container::Active || entry.is_disabled();
        result.insert("nsaccountlock".into(), json!(locked));
        match container {
            Container::Preserved => {
                result.insert("preserved".into(), json!(true));
            }
            Container::Active if all => {
                result.insert("preserved".into(), json!(false));
            }
            _ => {}
        }
        if all && self.parameters.switch("rights") {
            result.insert("attributelevelrights".into(), self.user_rights(container, &entry.login));
        }
        result
    }
}
