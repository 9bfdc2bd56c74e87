//! The exit codes, which are a promise to scripts.

use std::process::ExitCode;

use valkey_connection::ErrorKind;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Ok,
    /// 1: failed, for a reason that has no code of its own.
    Failed,
    /// 2: the command line or the settings make no sense.
    Usage,
    /// 3: part of it was done; or nobody knows whether it, or part of it, was.
    Partial,
    /// 4: the queue, dead letter, route or rule is not there.
    NotFound,
    /// 5: the server cannot be reached, or is not able to work now.
    Unreachable,
    /// 6: the server refuses this user; or a limit refuses its subject.
    Denied,
    /// 7: refused because it would not be safe: nobody said yes, or the store says so. Nothing was done.
    Refused,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::NotFound => 4,
            Self::Unreachable => 5,
            Self::Denied => 6,
            Self::Refused => 7,
        }
    }

    /// The code of what the connection says.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Configuration => Self::Usage,
            ErrorKind::BreakerOpen
            | ErrorKind::Closed
            | ErrorKind::Disconnected
            | ErrorKind::RoleChange
            | ErrorKind::Timeout
            | ErrorKind::Tls
            | ErrorKind::Transient => Self::Unreachable,
            ErrorKind::Auth | ErrorKind::Denied => Self::Denied,
            ErrorKind::StoreUnsafe => Self::Refused,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_fixed() {
        let all = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Partial,
            Exit::NotFound,
            Exit::Unreachable,
            Exit::Denied,
            Exit::Refused,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn every_kind_of_error_has_its_code() {
        for (kind, exit) in [
            (ErrorKind::Configuration, Exit::Usage),
            (ErrorKind::Disconnected, Exit::Unreachable),
            (ErrorKind::Timeout, Exit::Unreachable),
            (ErrorKind::Tls, Exit::Unreachable),
            (ErrorKind::Transient, Exit::Unreachable),
            (ErrorKind::Auth, Exit::Denied),
            (ErrorKind::Denied, Exit::Denied),
            (ErrorKind::StoreUnsafe, Exit::Refused),
            (ErrorKind::WrongType, Exit::Failed),
            (ErrorKind::OutOfMemory, Exit::Failed),
            (ErrorKind::Script, Exit::Failed),
        ] {
            assert_eq!(Exit::of(kind), exit, "{kind}");
        }
    }
}
