//! The exit codes: those of `valkit`, as far as they can happen here.

use std::process::ExitCode;

use valkey_connection::{Error, ErrorKind};

/// How a program ended.
///
/// ```
/// assert_eq!(valkit_service::Exit::Usage.code(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: as wished.
    Ok,
    /// 1: for a reason that has no code of its own.
    Failed,
    /// 2: the command line or the settings make no sense.
    Usage,
    /// 3: by force; what was in hand was not brought to its end.
    Partial,
    /// 5: Valkey cannot be reached.
    Unreachable,
    /// 6: Valkey refuses this user.
    Denied,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Unreachable => 5,
            Self::Denied => 6,
        }
    }

    /// The code of what the connection says.
    pub fn of_store(error: &Error) -> Self {
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
