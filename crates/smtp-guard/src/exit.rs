//! The exit codes: those of `valkit`, as far as they can happen here.

use std::process::ExitCode;

use smtp_guard::GuardError;
use valkey_connection::{Error, ErrorKind};
use valkey_ratelimit::LimitError;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: as wished.
    Ok,
    /// 1: for a reason that has no code of its own.
    Failed,
    /// 2: the command line or the settings make no sense.
    Usage,
    /// 3: by force; connections were cut, and their places are free after the lease.
    Partial,
    /// 5: Valkey cannot be reached.
    Unreachable,
    /// 6: Valkey refuses this user.
    Denied,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Unreachable => 5,
            Self::Denied => 6,
        }
    }

    /// The code of why a guard does not run.
    pub(crate) fn of(error: &GuardError) -> Self {
        match error {
            GuardError::Limits(_) => Self::Usage,
            GuardError::Store(error) | GuardError::Probe(LimitError::Unavailable { source: error, .. }) => {
                Self::of_store(error)
            }
            GuardError::Probe(error) if error.is_unavailable() => Self::Unreachable,
            _ => Self::Failed,
        }
    }

    /// The code of what the connection says.
    fn of_store(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Configuration => Self::Usage,
            ErrorKind::Auth | ErrorKind::Denied => Self::Denied,
            _ if error.is_store_failure() => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
