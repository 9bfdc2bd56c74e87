//! A stage user becomes an active one.

use serde_json::json;

use super::attributes::Changes;
use super::{Output, Run, access, object};
use crate::freeipa::directory::{Change, Container};
use crate::freeipa::error::RpcError;
use crate::freeipa::rights::Right;

// === impl Run ===

impl Run<'_> {
    /// The active entry comes, the stage entry goes, the default group gets a member: in this order.
    pub(super) fn stageuser_activate(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        if !self.sees(Container::Staged) || self.directory.entry(Container::Staged, &login).is_none() {
            return Err(RpcError::no_such("stage user", &login));
        }
        if self.directory.active(&login).is_some() {
            return Err(RpcError::duplicate(format!("active user with name \"{login}\" already exists")));
        }
        let longest = self.config.longest_login;
        if login.chars().count() > longest {
            return Err(RpcError::validation("login", &format!("can be at most {longest} characters")));
        }
        let staged =
            self.directory.entry(Container::Staged, &login).cloned().ok_or_else(RpcError::internal)?;
        // A preserved twin, or a stranger's alias: the directory says no more than that.
        if self.directory.is_taken(&login, staged.get("krbprincipalname")) {
            return Err(RpcError::duplicate("This entry already exists"));
        }
        if !self.allows(Right::AddUsers) {
            return Err(access::no_add(&self.directory.names.user(Container::Active, &login)));
        }
        if !self.allows(Right::RemoveStageUsers) {
            return Err(access::no_delete(&self.directory.names.user(Container::Staged, &login)));
        }

        let mut entry = staged;
        let number = match entry.first("uidnumber") {
            Some("-1") | None => self.directory.allocate().to_string(),
            Some(number) => number.to_owned(),
        };
        if entry.first("gidnumber").is_none_or(|id| id == "-1") {
            entry.set("gidnumber", vec![number.clone()]);
        }
        entry.set("uidnumber", vec![number.clone()]);
        entry.set("ipauniqueid", vec![uuid::Uuid::new_v4().to_string()]);
        entry.set("description", Vec::new());
        self.directory.insert(Container::Active, entry);
        if self.directory.group(&login).is_none() {
            self.directory.add_private_group(&login, &number);
        }
        self.directory.remove(Container::Staged, &login);
        self.directory.note(self.now, self.caller, Change::Activated, &login);
        self.join_default_group(&login)?;

        let entry = self.directory.active(&login).ok_or_else(RpcError::internal)?;
        let mut result = self.shown(Container::Active, entry, &Changes::new());
        result.insert("dn".into(), json!(self.directory.names.user(Container::Active, &login)));
        let summary = format!("Stage user {login} activated");
        Ok(object(json!({"result": result, "value": login, "summary": summary})))
    }
}
