//! What an account may do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One permission, as FreeIPA's roles grant them through privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Right {
    /// Member of `admins`: everything, on everybody.
    Everything,
    /// System: Add Users.
    AddUsers,
    /// System: Read UPG Definition. Without it `user_add` is refused before anything happens.
    ReadUpgDefinition,
    /// System: Add User to default group. Without it `user_add` is refused *after* the account exists.
    AddToDefaultGroup,
    /// System: Change User password. Not of members of `admins`.
    ChangePasswords,
    /// System: Modify Users. Not members of `admins`.
    ModifyUsers,
    /// System: Remove Users. Not members of `admins`.
    RemoveUsers,
    /// System: Unlock User: enable, disable, unlock. Not members of `admins`.
    UnlockUsers,
    /// System: Add Stage User.
    AddStageUsers,
    /// System: Read Stage Users. Without it stage users do not exist for the account, those it adds included.
    ReadStageUsers,
    /// System: Modify Stage User.
    ModifyStageUsers,
    /// System: Remove Stage User.
    RemoveStageUsers,
    /// System: Read Preserved Users. Without it they do not exist for the account; their logins are taken all the same.
    ReadPreservedUsers,
    /// System: Preserve User.
    PreserveUsers,
    /// System: Undelete User.
    UndeleteUsers,
    /// System: Add Groups.
    AddGroups,
    /// System: Modify Groups: their managers, too. Not `admins`.
    ModifyGroups,
    /// System: Modify Group Membership. Not of `admins`.
    ModifyGroupMembership,
    /// System: Remove Groups.
    RemoveGroups,
}

/// What an account may do. Reading users and groups, and changing some attributes of its own, everybody may.
///
/// ```
/// use freeipa_double::{Right, Rights};
///
/// let rights = Rights::registrar().without(Right::ReadUpgDefinition);
/// assert!(rights.has(Right::AddUsers) && !rights.has(Right::ReadUpgDefinition));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rights(BTreeSet<Right>);

// === impl Rights ===

impl Rights {
    /// An ordinary user.
    pub fn none() -> Self {
        Self::default()
    }

    /// What creating accounts takes and no more: add users, to the default group, read the UPG definition, set
    /// passwords. Other groups such an account fills as their member manager ([`GroupSpec`](crate::GroupSpec)).
    pub fn registrar() -> Self {
        [Right::AddUsers, Right::ReadUpgDefinition, Right::AddToDefaultGroup, Right::ChangePasswords]
            .into_iter()
            .collect()
    }

    /// The privilege *User Administrators*.
    pub fn user_administrator() -> Self {
        Self::registrar().with(Right::ModifyUsers).with(Right::RemoveUsers).with(Right::UnlockUsers)
    }

    /// The privilege *Stage User Provisioning*: adds stage users, and does not even see them.
    pub fn stage_provisioning() -> Self {
        [Right::AddStageUsers].into_iter().collect()
    }

    /// The privilege *Stage User Administrators*. Activating takes [`Rights::registrar`] besides.
    pub fn stage_administrator() -> Self {
        [
            Right::AddStageUsers,
            Right::ReadStageUsers,
            Right::ModifyStageUsers,
            Right::RemoveStageUsers,
            Right::ReadPreservedUsers,
            Right::PreserveUsers,
            Right::UndeleteUsers,
        ]
        .into_iter()
        .collect()
    }

    /// A member of `admins`.
    pub fn admin() -> Self {
        [Right::Everything].into_iter().collect()
    }

    /// These, and one more.
    #[must_use]
    pub fn with(mut self, right: Right) -> Self {
        self.0.insert(right);
        self
    }

    /// These and those of another.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.0.extend(&others.0);
        self
    }

    /// These without one.
    #[must_use]
    pub fn without(mut self, right: Right) -> Self {
        self.0.remove(&right);
        self
    }

    /// Whether it is granted, by itself or through [`Right::Everything`].
    pub fn has(&self, right: Right) -> bool {
        self.is_admin() || self.0.contains(&right)
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.0.contains(&Right::Everything)
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().collect())
    }
}
