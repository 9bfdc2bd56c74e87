//! What the service account may do, as far as that can be read.

use serde_json::Value;

use super::{Account, Probe, Report};
use crate::entry::Entry;
use crate::error::CallError;

/// A right that a role grants, by the permission of FreeIPA that it stands for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Right {
    /// To make active users.
    AddUsers,
    /// To put new users into the default group, which is a part of making them.
    AddToDefaultGroup,
    /// To read how private groups are made, without which no user can be.
    ReadGroupDefinition,
    /// To set passwords.
    ChangePasswords,
    /// To change users.
    ModifyUsers,
    /// To disable and enable users, and to unlock them.
    UnlockUsers,
    /// To delete users.
    RemoveUsers,
    /// To make staged users.
    AddStagedUsers,
    /// To read staged users.
    ReadStagedUsers,
    /// To change staged users.
    ModifyStagedUsers,
    /// To delete staged users.
    RemoveStagedUsers,
}

impl Right {
    /// The permission, as FreeIPA calls it.
    pub const fn permission(self) -> &'static str {
        match self {
            Self::AddUsers => "System: Add Users",
            Self::AddToDefaultGroup => "System: Add User to default group",
            Self::ReadGroupDefinition => "System: Read UPG Definition",
            Self::ChangePasswords => "System: Change User password",
            Self::ModifyUsers => "System: Modify Users",
            Self::UnlockUsers => "System: Unlock User",
            Self::RemoveUsers => "System: Remove Users",
            Self::AddStagedUsers => "System: Add Stage User",
            Self::ReadStagedUsers => "System: Read Stage Users",
            Self::ModifyStagedUsers => "System: Modify Stage User",
            Self::RemoveStagedUsers => "System: Remove Stage User",
        }
    }
}

/// What an account needs for a command that was refused, as the remedy says it; `None` for commands that nobody here makes.
///
/// Changing a user is two things to FreeIPA: its password, and all else.
pub(crate) fn needed_for(command: &str, sets_password: bool) -> Option<String> {
    use Right::{
        AddStagedUsers, AddToDefaultGroup, AddUsers, ChangePasswords, ModifyStagedUsers, ModifyUsers,
        ReadGroupDefinition, ReadStagedUsers, RemoveStagedUsers, RemoveUsers, UnlockUsers,
    };
    let rights: &[Right] = match command {
        "user_add" => &[AddUsers, AddToDefaultGroup, ReadGroupDefinition],
        "user_mod" if sets_password => &[ChangePasswords],
        "user_mod" => &[ModifyUsers],
        "user_disable" | "user_enable" | "user_unlock" => &[UnlockUsers],
        "user_del" => &[RemoveUsers],
        "stageuser_add" => &[AddStagedUsers],
        "stageuser_find" | "stageuser_show" => &[ReadStagedUsers],
        "stageuser_mod" => &[ModifyStagedUsers],
        "stageuser_del" => &[RemoveStagedUsers],
        // What FreeIPA does here is to add the one and to delete the other.
        "stageuser_activate" => &[
            AddUsers,
            AddToDefaultGroup,
            ReadGroupDefinition,
            ReadStagedUsers,
            ModifyStagedUsers,
            RemoveStagedUsers,
        ],
        "group_add_member" | "group_remove_member" => {
            return Some(
                "make it a member manager of the group (`ipa group-add-member-manager GROUP --users=LOGIN`), or give a service a permission to write member"
                    .to_owned(),
            );
        }
        _ => return None,
    };
    let names: Vec<String> = rights.iter().map(|right| format!("\"{}\"", right.permission())).collect();
    Some(format!(
        "a privilege of its role has to have {}: `ipa privilege-add-permission PRIVILEGE --permissions=NAME`",
        names.join(", ")
    ))
}

/// The permissions that an entry is a member of, through roles and privileges: the directory lists them all in `memberof`.
pub(super) fn permissions(entry: &Entry) -> Vec<String> {
    let of_dn = |dn: &str| {
        let (first, rest) = dn.split_once(',')?;
        let (kind, name) = first.split_once('=')?;
        let rest = rest.to_ascii_lowercase();
        (kind.eq_ignore_ascii_case("cn") && rest.starts_with("cn=permissions,cn=pbac,"))
            .then(|| name.trim().to_owned())
    };
    entry.texts("memberof").into_iter().filter_map(of_dn).collect()
}

/// Compares what is needed with what is to be seen. Where nothing is to be seen, nothing is known: an administrator's rights, for one, come
/// from no permission.
pub(super) fn judge(needed: &[Right], permissions: Result<Vec<String>, CallError>, report: &mut Report) {
    let permissions = permissions.unwrap_or_default();
    if permissions.is_empty() {
        let names: Vec<&str> = needed.iter().map(|right| right.permission()).collect();
        report.unknown(
            Probe::Right,
            format_args!("the account's permissions are not to be seen; needed are: {}", names.join(", ")),
            "`ipa role-show \"Registrar\"` has to show the account, and `ipa privilege-show \"Registrar\"` these permissions, under whatever names they were made; what is missing shows at the first registration",
        );
        return;
    }
    for right in needed {
        let name = right.permission();
        if permissions.iter().any(|permission| permission.eq_ignore_ascii_case(name)) {
            report.good(Probe::Right, format_args!("the account has \"{name}\""));
        } else {
            // A permission of one's own may grant the same under another name.
            report.unknown(
                Probe::Right,
                format_args!("the account does not have \"{name}\", unless under another name"),
                format!("`ipa privilege-add-permission PRIVILEGE --permissions=\"{name}\"`, with a privilege of the account's role"),
            );
        }
    }
}

/// Whether users may be put into the group, by what the directory says of the attribute `member`.
pub(super) fn judge_group(group: &str, entry: &Entry, account: Option<&Account>, report: &mut Report) {
    let rights =
        entry.get("attributelevelrights").and_then(|rights| rights.get("member")).and_then(Value::as_str);
    match rights {
        Some(rights) if rights.contains('w') => {
            report.good(Probe::Group, format_args!("users can be put into {group}"));
        }
        Some(_) => report.bad(
            Probe::Group,
            format_args!("the account may not put users into {group}"),
            match account {
                // Only users can be member managers.
                Some(Account::Service(_)) => format!(
                    "give a privilege of its role a permission for it: `ipa permission-add NAME --right=write --attrs=member --targetgroup={group}`"
                ),
                Some(Account::User(login)) => {
                    format!("make it a member manager: `ipa group-add-member-manager {group} --users={login}`")
                }
                None => format!("make it a member manager: `ipa group-add-member-manager {group} --users=LOGIN`"),
            },
        ),
        None => report.unknown(
            Probe::Group,
            format_args!("{group} is there; whether users can be put into it is not to be seen"),
            format!("see that the account is a member manager: `ipa group-show {group}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::check::Verdict;

    #[test]
    fn permissions_are_read_from_names_of_the_directory() {
        let entry = Entry::of(&json!({"memberof": [
            "cn=ipausers,cn=groups,cn=accounts,dc=ipa,dc=test",
            "cn=registrar,cn=roles,cn=accounts,dc=ipa,dc=test",
            "cn=System: Add Users,cn=permissions,cn=pbac,dc=ipa,dc=test",
            "CN=System: Change User password,CN=Permissions,CN=pbac,dc=ipa,dc=test",
            "nonsense",
        ]}));
        assert_eq!(permissions(&entry.unwrap()), ["System: Add Users", "System: Change User password"]);
    }

    #[test]
    fn each_command_names_what_it_needs() {
        for (command, sets_password, named) in [
            ("user_add", false, "System: Add User to default group"),
            ("user_mod", true, "System: Change User password"),
            ("user_mod", false, "System: Modify Users"),
            ("user_disable", false, "System: Unlock User"),
            ("stageuser_activate", false, "System: Remove Stage User"),
            ("group_add_member", false, "group-add-member-manager"),
        ] {
            let needed = needed_for(command, sets_password).unwrap();
            assert!(needed.contains(named), "{command}: {needed}");
        }
        assert_eq!(needed_for("host_add", false), None);
    }

    #[test]
    fn what_is_not_to_be_seen_is_not_known() {
        let verdicts = |permissions: Vec<String>| {
            let mut report = Report::default();
            judge(&[Right::AddUsers, Right::ChangePasswords], Ok(permissions), &mut report);
            report.findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(vec![]), [Verdict::Unknown]);
        assert_eq!(verdicts(vec!["System: Add Users".to_owned()]), [Verdict::Good, Verdict::Unknown]);
    }

    #[test]
    fn a_group_tells_whether_it_may_be_written() {
        let verdict = |entry: Value| {
            let mut report = Report::default();
            judge_group("staff", &Entry::of(&entry).unwrap(), None, &mut report);
            report.findings[0].verdict
        };
        assert_eq!(verdict(json!({"attributelevelrights": {"member": "rscwo"}})), Verdict::Good);
        assert_eq!(verdict(json!({"attributelevelrights": {"member": "rsc"}})), Verdict::Bad);
        assert_eq!(verdict(json!({"cn": ["staff"]})), Verdict::Unknown);
    }
}
