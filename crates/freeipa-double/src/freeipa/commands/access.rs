//! Who may write which attribute of whom.

use super::Run;
use crate::freeipa::directory::{ADMINS, Container};
use crate::freeipa::error::RpcError;
use crate::freeipa::rights::Right;

/// What the permission to modify users is about.
const MODIFIABLE: &[&str] = &[
    "businesscategory",
    "carlicense",
    "cn",
    "departmentnumber",
    "description",
    "displayname",
    "employeetype",
    "employeenumber",
    "facsimiletelephonenumber",
    "gecos",
    "givenname",
    "homedirectory",
    "homephone",
    "inetuserhttpurl",
    "initials",
    "l",
    "labeleduri",
    "loginshell",
    "manager",
    "mail",
    "mobile",
    "ou",
    "pager",
    "postalcode",
    "roomnumber",
    "secretary",
    "seealso",
    "sn",
    "st",
    "street",
    "telephonenumber",
    "title",
    "uid",
    "userclass",
    "preferredlanguage",
];

/// What everybody may change of themselves. The marker `userclass` is not among it, `employeetype` is.
const OWN: &[&str] = &[
    "businesscategory",
    "carlicense",
    "cn",
    "description",
    "displayname",
    "employeetype",
    "facsimiletelephonenumber",
    "gecos",
    "givenname",
    "homephone",
    "inetuserhttpurl",
    "initials",
    "ipasshpubkey",
    "l",
    "labeleduri",
    "loginshell",
    "manager",
    "mobile",
    "ou",
    "pager",
    "postalcode",
    "roomnumber",
    "secretary",
    "seealso",
    "sn",
    "st",
    "street",
    "telephonenumber",
    "title",
    "userpassword",
];

/// What the permission to change passwords is about.
const PASSWORD: &[&str] = &["userpassword", "krbpasswordexpiration"];

// === impl Run ===

impl Run<'_> {
    /// Whether the caller may write an attribute of an entry.
    pub(super) fn may_write(&self, container: Container, login: &str, attribute: &str) -> bool {
        if self.rights.is_admin() {
            return true;
        }
        match container {
            Container::Staged => self.allows(Right::ModifyStageUsers),
            // Only those who keep stage users change preserved ones; the same right stands for both here.
            Container::Preserved => {
                self.allows(Right::ReadPreservedUsers) && self.allows(Right::ModifyStageUsers)
            }
            Container::Active => {
                let own = login == self.caller && OWN.contains(&attribute);
                own || (!self.directory.is_admin(login) && self.may_write_others(attribute))
            }
        }
    }

    fn may_write_others(&self, attribute: &str) -> bool {
        (self.allows(Right::ModifyUsers) && MODIFIABLE.contains(&attribute))
            || (self.allows(Right::ChangePasswords) && PASSWORD.contains(&attribute))
            || (self.allows(Right::UnlockUsers) && attribute == "nsaccountlock")
            || (self.allows(Right::ModifyUsers)
                && attribute == "ipasshpubkey"
                && self.allows(Right::UnlockUsers))
    }

    pub(super) fn may_write_members(&self, group: &str) -> bool {
        if self.rights.is_admin() {
            return true;
        }
        let Some(group) = self.directory.group(group) else { return false };
        let (mine, mine_indirectly) = self.directory.groups_of(self.caller);
        let manages = group.manager_users.iter().any(|user| user == self.caller)
            || mine.iter().chain(&mine_indirectly).any(|mine| group.manager_groups.contains(mine));
        manages || (group.name != ADMINS && self.allows(Right::ModifyGroupMembership))
    }
}

/// `dn` may not be added.
pub(super) fn no_add(dn: &str) -> RpcError {
    RpcError::access(&format!("Insufficient 'add' privilege to add the entry '{dn}'."))
}

/// `dn` may not be deleted.
pub(super) fn no_delete(dn: &str) -> RpcError {
    RpcError::access(&format!("Insufficient 'delete' privilege to delete the entry '{dn}'."))
}

/// `dn` may not be moved to this container.
pub(super) fn no_move(container: &str) -> RpcError {
    RpcError::access(&format!("Insufficient 'moddn' privilege to move an entry to '{container}'."))
}

/// An attribute of `dn` may not be written.
pub(super) fn no_write(attribute: &str, dn: &str) -> RpcError {
    let spelled = super::syntax::spelled(attribute);
    RpcError::access(&format!("Insufficient 'write' privilege to the '{spelled}' attribute of entry '{dn}'."))
}
