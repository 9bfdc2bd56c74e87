//! Deleting, preserving and bringing back users.

use serde_json::json;

use super::{Output, Run, access, object};
use crate::freeipa::directory::{ADMINS, Change, Container};
use crate::freeipa::error::RpcError;
use crate::freeipa::rights::Right;

// === impl Run ===

impl Run<'_> {
    pub(super) fn user_del(&mut self) -> Result<Output, RpcError> {
        let preserve = self.parameters.switch("preserve");
        let (done, failed) = self.each_login(|run, login| {
            run.refuse_protected(login)?;
            if preserve { run.preserve(login) } else { run.delete(login) }
        })?;
        let what = if preserve { "Preserved" } else { "Deleted" };
        Ok(self.deleted(&format!("{what} user"), &done, &failed))
    }

    pub(super) fn stageuser_del(&mut self) -> Result<Output, RpcError> {
        let (done, failed) = self.each_login(|run, login| {
            let there = run.directory.entry(Container::Staged, login).is_some();
            if !there || !(run.sees(Container::Staged) || run.allows(Right::RemoveStageUsers)) {
                return Err(RpcError::no_such("stage user", login));
            }
            if !run.allows(Right::RemoveStageUsers) {
                return Err(access::no_delete(&run.directory.names.user(Container::Staged, login)));
            }
            run.directory.remove(Container::Staged, login);
            run.directory.note(run.now, run.caller, Change::StageDeleted, login);
            Ok(())
        })?;
        Ok(self.deleted("Deleted stage user", &done, &failed))
    }

    /// One login after the other; the first that fails ends it, unless the call says to go on.
    fn each_login(
        &mut self,
        mut act: impl FnMut(&mut Self, &str) -> Result<(), RpcError>,
    ) -> Result<(Vec<String>, Vec<String>), RpcError> {
        let logins = self.parameters.many("uid").to_vec();
        let go_on = self.parameters.switch("continue");
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for login in logins {
            match act(self, &login) {
                Ok(()) => done.push(login),
                Err(_) if go_on => failed.push(login),
                Err(error) => return Err(error),
            }
        }
        Ok((done, failed))
    }

    fn deleted(&self, what: &str, done: &[String], failed: &[String]) -> Output {
        object(json!({
            "result": {"failed": self.keys(failed)},
            "value": self.keys(done),
            "summary": format!("{what} \"{}\"", done.join(",")),
        }))
    }

    fn refuse_protected(&self, login: &str) -> Result<(), RpcError> {
        if login == "admin" {
            return Err(RpcError::protected("user", login, "privileged user"));
        }
        let enabled: Vec<&str> = self
            .directory
            .of(Container::Active)
            .into_iter()
            .filter(|entry| !entry.is_disabled() && self.directory.is_admin(&entry.login))
            .map(|entry| entry.login.as_str())
            .collect();
        if enabled == [login] { Err(RpcError::last_member(login, ADMINS)) } else { Ok(()) }
    }

    fn delete(&mut self, login: &str) -> Result<(), RpcError> {
        let container = self.either(login).ok_or_else(|| RpcError::no_such("user", login))?;
        let may = match container {
            Container::Active => self.may_touch(login, Right::RemoveUsers),
            Container::Staged | Container::Preserved => {
                self.allows(Right::ReadPreservedUsers) && self.allows(Right::RemoveStageUsers)
            }
        };
        if !may {
            return Err(access::no_delete(&self.directory.names.user(container, login)));
        }
        self.directory.remove(container, login);
        self.directory.note(self.now, self.caller, Change::Deleted, login);
        Ok(())
    }

    /// Whether the caller has a right that ends at members of `admins`.
    fn may_touch(&self, login: &str, right: Right) -> bool {
        self.rights.is_admin() || (self.allows(right) && !self.directory.is_admin(login))
    }

    fn preserve(&mut self, login: &str) -> Result<(), RpcError> {
        match self.either(login) {
            None => return Err(RpcError::no_such("user", login)),
            Some(Container::Active) => {}
            Some(_) => {
                let text = format!("{login}: user is already preserved");
                return Err(RpcError::new(4000, "ExecutionError", text, &json!({})));
            }
        }
        if !self.may_touch(login, Right::PreserveUsers) {
            return Err(access::no_move(&self.directory.names.container(Container::Preserved)));
        }
        let mut entry = self.directory.remove(Container::Active, login).ok_or_else(RpcError::internal)?;
        entry.password = None;
        for name in ["krbpasswordexpiration", "krblastpwdchange"] {
            entry.set(name, Vec::new());
        }
        self.directory.insert(Container::Preserved, entry);
        self.directory.note(self.now, self.caller, Change::Preserved, login);
        Ok(())
    }

    pub(super) fn user_undel(&mut self) -> Result<Output, RpcError> {
        let login = self.key("uid");
        match self.either(&login) {
            None => return Err(RpcError::no_such("user", &login)),
            Some(Container::Active) => {
                return Err(RpcError::invocation(format!("user \"{login}\" is already active")));
            }
            Some(_) => {}
        }
        if !self.allows(Right::UndeleteUsers) {
            return Err(access::no_move(&self.directory.names.container(Container::Active)));
        }
        let entry = self.directory.remove(Container::Preserved, &login).ok_or_else(RpcError::internal)?;
        let number = entry.first("uidnumber").unwrap_or_default().to_owned();
        self.directory.insert(Container::Active, entry);
        self.directory.add_private_group(&login, &number);
        self.directory.note(self.now, self.caller, Change::Undeleted, &login);
        self.join_default_group(&login)?;
        let summary = format!("Undeleted user account \"{login}\"");
        Ok(object(json!({"result": true, "value": login, "summary": summary})))
    }
}
