//! Members of groups, and who may manage them. What fails here fails within a reply that says nothing of an error.

use serde_json::{Value as Json, json};

use super::{Output, Run, access, object};
use crate::freeipa::directory::{ADMINS, Change};
use crate::freeipa::error::RpcError;
use crate::freeipa::rights::Right;

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Add,
    Remove,
    Manage,
}

/// The kinds of members, as options and in replies.
const KINDS: &[&str] = &["user", "group", "service", "idoverrideuser"];

// === impl Run ===

impl Run<'_> {
    pub(super) fn group_add_member(&mut self) -> Result<Output, RpcError> {
        self.members(Act::Add)
    }

    pub(super) fn group_remove_member(&mut self) -> Result<Output, RpcError> {
        let name = self.key("cn");
        if name == ADMINS && self.parameters.was_given("user") {
            let leaving = self.parameters.many("user");
            let left = self.directory.group(&name).is_some_and(|group| {
                group.users.iter().any(|user| !leaving.iter().any(|leaving| leaving == user))
            });
            if !left {
                let first = leaving.iter().min().cloned().unwrap_or_default();
                return Err(RpcError::last_member(&first, ADMINS));
            }
        }
        self.members(Act::Remove)
    }

    pub(super) fn group_add_member_manager(&mut self) -> Result<Output, RpcError> {
        self.members(Act::Manage)
    }

    fn members(&mut self, act: Act) -> Result<Output, RpcError> {
        let name = self.key("cn");
        let kinds = if act == Act::Manage { &KINDS[..2] } else { KINDS };
        let mut completed = 0;
        let mut failed = Output::new();
        for kind in kinds {
            let mut refused: Vec<Json> = Vec::new();
            for key in self.parameters.many(kind).to_vec() {
                match self.member(act, &name, kind, &key) {
                    Ok(()) => completed += 1,
                    Err(error) => refused.push(json!([key, error.message])),
                }
            }
            failed.insert((*kind).to_owned(), refused.into());
        }
        if act != Act::Manage && !self.parameters.many("ipaexternalmember").is_empty() {
            let text = "Cannot perform external member validation without Samba 4 support installed. Make sure you \
                        have installed server-trust-ad sub-package of IPA on the server";
            return Err(RpcError::not_found(text));
        }
        let group = self.directory.group(&name).ok_or_else(|| RpcError::no_such("group", &name))?;
        let members = !self.parameters.switch("no_members");
        let result = self.render_group(group, members, self.parameters.switch("all"));
        let attribute = if act == Act::Manage { "membermanager" } else { "member" };
        let mut by_attribute = Output::new();
        by_attribute.insert(attribute.to_owned(), failed.into());
        Ok(object(json!({"result": result, "failed": by_attribute, "completed": completed})))
    }

    /// One member. Who is none is told before who may not write, and that before who is one already.
    fn member(&mut self, act: Act, name: &str, kind: &str, key: &str) -> Result<(), RpcError> {
        let no_entry = || RpcError::not_found("no such entry");
        let key = match kind {
            "user" => self.directory.active(key).map(|entry| entry.login.clone()),
            "group" => self.directory.group(key).map(|group| group.name.clone()),
            _ => None,
        };
        // What is not there cannot be added; it can be taken out, and is no member then.
        let key = match key {
            Some(key) => key,
            None if act == Act::Remove && self.directory.group(name).is_some() => {
                return Err(RpcError::not_a_member());
            }
            None => return Err(no_entry()),
        };
        if kind == "group" && key == name {
            return Err(RpcError::same_group());
        }
        let group = self.directory.group(name).ok_or_else(no_entry)?;
        let (may, attribute) = match act {
            Act::Manage => (
                self.rights.is_admin() || (self.allows(Right::ModifyGroups) && group.name != ADMINS),
                "membermanager",
            ),
            Act::Add | Act::Remove => (self.may_write_members(name), "member"),
        };
        if !may {
            return Err(access::no_write(attribute, &self.directory.names.group(&group.name)));
        }
        let group = self.directory.groups.get_mut(name).ok_or_else(no_entry)?;
        let list = match (act, kind) {
            (Act::Manage, "user") => &mut group.manager_users,
            (Act::Manage, _) => &mut group.manager_groups,
            (_, "user") => &mut group.users,
            _ => &mut group.groups,
        };
        let at = list.iter().position(|member| *member == key);
        match (act, at) {
            (Act::Remove, Some(at)) => {
                list.remove(at);
            }
            (Act::Remove, None) => return Err(RpcError::not_a_member()),
            (_, Some(_)) => return Err(RpcError::already_a_member()),
            (_, None) => list.push(key.clone()),
        }
        let change = match act {
            Act::Add => Change::Joined(name.to_owned()),
            Act::Remove => Change::Left(name.to_owned()),
            Act::Manage => Change::Manages(name.to_owned()),
        };
        self.directory.note(self.now, self.caller, change, &key);
        Ok(())
    }
}
