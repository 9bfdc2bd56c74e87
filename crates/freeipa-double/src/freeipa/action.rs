//! What happens to a server that no client does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::DoubleError;
use crate::freeipa::commands::set_password;
use crate::freeipa::config::{AccountSpec, GroupSpec};
use crate::freeipa::directory::{Directory, Entry};
use crate::freeipa::parameters::generalized;
use crate::freeipa::rights::Rights;
use crate::freeipa::{Shared, kdc};

/// What happens to a server that no client does. The control API takes the same, as JSON.
///
/// ```
/// use freeipa_double::FreeIpaAction;
///
/// let action: FreeIpaAction = serde_json::from_str(r#"{"do":"kdc_down","down":true}"#).unwrap();
/// assert_eq!(action, FreeIpaAction::KdcDown { down: true });
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FreeIpaAction {
    /// Kerberos is away, or back: nobody logs in, sessions go on.
    KdcDown {
        /// Whether it is away.
        down: bool,
    },
    /// The directory is away, or back: nobody logs in, and calls get 500.
    LdapDown {
        /// Whether it is away.
        down: bool,
    },
    /// All sessions end.
    ExpireSessions,
    /// Time goes by.
    Advance {
        /// So many seconds.
        seconds: u64,
    },
    /// A new active user, past all rights.
    AddAccount {
        /// The login.
        login: String,
        /// The password, which does not expire.
        password: String,
        /// What it may do.
        #[serde(default)]
        rights: Rights,
    },
    /// A new group, past all rights.
    AddGroup {
        /// The name.
        name: String,
        /// Who manages its members.
        #[serde(default)]
        managers: Vec<String>,
    },
    /// Who a group's members are managed by, from now on.
    SetManagers {
        /// The group.
        name: String,
        /// All of them.
        managers: Vec<String>,
    },
    /// A group goes.
    RemoveGroup {
        /// The name.
        name: String,
    },
    /// An active user may do this from now on, and nothing else.
    SetRights {
        /// The login.
        login: String,
        /// All it may do.
        rights: Rights,
    },
    /// An active user has another password from now on. It does not expire.
    SetPassword {
        /// The login.
        login: String,
        /// The password.
        password: String,
    },
    /// An active user's password has expired, or expires no more.
    ExpirePassword {
        /// The login.
        login: String,
        /// Whether it has expired.
        expired: bool,
    },
    /// An active user's principal has expired, or expires no more.
    ExpirePrincipal {
        /// The login.
        login: String,
        /// Whether it has expired.
        expired: bool,
    },
    /// An active user is disabled, or enabled.
    SetDisabled {
        /// The login.
        login: String,
        /// Whether it is disabled.
        disabled: bool,
    },
    /// An active user is locked as by wrong passwords, or unlocked.
    SetLocked {
        /// The login.
        login: String,
        /// Whether it is locked.
        locked: bool,
    },
}

// === impl FreeIpaAction ===

impl FreeIpaAction {
    pub(super) fn apply(self, shared: &Shared) -> Result<(), DoubleError> {
        let now = shared.clock.now();
        let mut state = shared.state();
        match self {
            Self::KdcDown { down } => state.outages.kdc = down,
            Self::LdapDown { down } => state.outages.ldap = down,
            Self::ExpireSessions => state.sessions.close_all(),
            Self::Advance { seconds } => shared.clock.advance(Duration::from_secs(seconds)),
            Self::AddAccount { login, password, rights } => {
                state.directory.put_account(&AccountSpec::new(login, password).rights(rights), now)?;
            }
            Self::AddGroup { name, managers } => {
                state.directory.put_group(&GroupSpec { managers, ..GroupSpec::new(name) })?;
            }
            Self::SetManagers { name, managers } => {
                let group = state.directory.groups.get_mut(&name).ok_or_else(|| no_group(&name))?;
                group.manager_users = managers;
            }
            Self::RemoveGroup { name } => {
                state.directory.groups.remove(&name).ok_or_else(|| no_group(&name))?;
            }
            Self::SetRights { login, rights } => account(&mut state.directory, &login)?.rights = rights,
            Self::SetPassword { login, password } => {
                let entry = account(&mut state.directory, &login)?;
                set_password(entry, &password, true, now);
                entry.set("krbpasswordexpiration", Vec::new());
            }
            Self::ExpirePassword { login, expired } => {
                let values = expired.then(|| generalized(now)).into_iter().collect();
                account(&mut state.directory, &login)?.set("krbpasswordexpiration", values);
            }
            Self::ExpirePrincipal { login, expired } => {
                let values = expired.then(|| generalized(now)).into_iter().collect();
                account(&mut state.directory, &login)?.set("krbprincipalexpiration", values);
            }
            Self::SetDisabled { login, disabled } => {
                let value = if disabled { "TRUE" } else { "FALSE" };
                account(&mut state.directory, &login)?.set("nsaccountlock", vec![value.to_owned()]);
            }
            Self::SetLocked { login, locked } => {
                let entry = account(&mut state.directory, &login)?;
                if locked {
                    kdc::lock(entry, now);
                } else {
                    entry.failures = 0;
                    entry.last_failure = None;
                }
            }
        }
        Ok(())
    }

    /// The name of what happens.
    fn name(&self) -> &'static str {
        match self {
            Self::KdcDown { .. } => "KdcDown",
            Self::LdapDown { .. } => "LdapDown",
            Self::ExpireSessions => "ExpireSessions",
            Self::Advance { .. } => "Advance",
            Self::AddAccount { .. } => "AddAccount",
            Self::AddGroup { .. } => "AddGroup",
            Self::SetManagers { .. } => "SetManagers",
            Self::RemoveGroup { .. } => "RemoveGroup",
            Self::SetRights { .. } => "SetRights",
            Self::SetPassword { .. } => "SetPassword",
            Self::ExpirePassword { .. } => "ExpirePassword",
            Self::ExpirePrincipal { .. } => "ExpirePrincipal",
            Self::SetDisabled { .. } => "SetDisabled",
            Self::SetLocked { .. } => "SetLocked",
        }
    }
}

// Some hold passwords.
impl std::fmt::Debug for FreeIpaAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.name()).finish_non_exhaustive()
    }
}

fn account<'a>(directory: &'a mut Directory, login: &str) -> Result<&'a mut Entry, DoubleError> {
    directory.entry_mut(crate::freeipa::directory::Container::Active, login).ok_or_else(|| {
        DoubleError::refused(format!("the account {login:?}"), "there is no active user of that login")
    })
}

fn no_group(name: &str) -> DoubleError {
    DoubleError::refused(format!("the group {name:?}"), "there is no group of that name")
}
