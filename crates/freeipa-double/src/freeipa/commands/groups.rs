//! Groups: added, shown, deleted.

use serde_json::{Value as Json, json};

use super::{Output, Run, access, object};
use crate::freeipa::directory::{ADMINS, Change, DEFAULT_GROUP, Group};
use crate::freeipa::error::RpcError;
use crate::freeipa::rights::Right;

// === impl Run ===

impl Run<'_> {
    pub(super) fn group_add(&mut self) -> Result<Output, RpcError> {
        let name = self.key("cn");
        for named in ["setattr", "addattr"] {
            if let Some(pair) = self.parameters.many(named).first() {
                let attribute = pair.split('=').next().unwrap_or_default().trim().to_lowercase();
                return Err(RpcError::not_in_schema(&format!("attribute \"{attribute}\" not allowed")));
            }
        }
        let (external, non_posix) = (self.parameters.switch("external"), self.parameters.switch("nonposix"));
        let number = self.parameters.number("gidnumber");
        if external && number.is_some() {
            let text = "gid cannot be set for external group";
            return Err(RpcError::new(4303, "MutuallyExclusiveError", text, &json!({"reason": text})));
        }
        if self.directory.group(&name).is_some() {
            return Err(RpcError::exists("group", &name));
        }
        if !self.allows(Right::AddGroups) {
            return Err(access::no_add(&self.directory.names.group(&name)));
        }
        if non_posix && number.is_some() {
            return Err(RpcError::not_in_schema("attribute \"gidNumber\" not allowed with --nonposix"));
        }
        let id = match number {
            Some(number) => Some(number.to_string()),
            None if external || non_posix => None,
            None => Some(self.directory.allocate().to_string()),
        };
        let description = self.parameters.text("description").map(str::to_owned);
        let group = Group { description, id, ..Group::new(&name) };
        let result = self.render_group(&group, false, true);
        self.directory.groups.insert(name.clone(), group);
        self.directory.note(self.now, self.caller, Change::GroupCreated, &name);
        Ok(object(json!({"result": result, "value": name, "summary": format!("Added group \"{name}\"")})))
    }

    pub(super) fn group_show(&self) -> Result<Output, RpcError> {
        let name = self.key("cn");
        let group = self.directory.group(&name).ok_or_else(|| RpcError::no_such("group", &name))?;
        let all = self.parameters.switch("all");
        let mut result = self.render_group(group, !self.parameters.switch("no_members"), all);
        if all && self.parameters.switch("rights") {
            result.insert("attributelevelrights".into(), self.group_rights(&group.name));
        }
        Ok(object(json!({"result": result, "value": name, "summary": null})))
    }

    fn group_rights(&self, group: &str) -> Json {
        let modify = self.rights.is_admin() || (self.allows(Right::ModifyGroups) && group != ADMINS);
        let written = |may: bool| if may { "rscwo" } else { "rsc" };
        json!({
            "cn": written(modify), "description": written(modify), "gidnumber": written(modify),
            "member": written(self.may_write_members(group)), "membermanager": written(modify),
            "objectclass": written(modify),
        })
    }

    pub(super) fn group_del(&mut self) -> Result<Output, RpcError> {
        let names = self.parameters.many("cn").to_vec();
        let go_on = self.parameters.switch("continue");
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for name in names {
            match self.delete_group(&name) {
                Ok(()) => done.push(name),
                Err(_) if go_on => failed.push(name),
                Err(error) => return Err(error),
            }
        }
        Ok(object(json!({
            "result": {"failed": self.keys(&failed)}, "value": self.keys(&done),
            "summary": format!("Deleted group \"{}\"", done.join(",")),
        })))
    }

    fn delete_group(&mut self, name: &str) -> Result<(), RpcError> {
        if name == DEFAULT_GROUP {
            return Err(RpcError::default_group());
        }
        let group = self.directory.group(name).ok_or_else(|| RpcError::no_such("group", name))?;
        if name == ADMINS {
            return Err(RpcError::protected("group", name, "privileged group"));
        }
        if group.private_of.is_some() {
            return Err(RpcError::managed_group());
        }
        if !self.allows(Right::RemoveGroups) {
            return Err(access::no_delete(&self.directory.names.group(name)));
        }
        self.directory.groups.remove(name);
        for other in self.directory.groups.values_mut() {
            other.groups.retain(|inner| inner != name);
            other.manager_groups.retain(|inner| inner != name);
        }
        self.directory.note(self.now, self.caller, Change::GroupDeleted, name);
        Ok(())
    }
}
