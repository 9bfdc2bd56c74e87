//! Server message -> class of failure. A pure table; the order of the rows matters.

use std::borrow::Cow;

use crate::error::{ErrorKind, Progress};

/// First words that decide the class on their own.
const BY_CODE: &[(&str, ErrorKind)] = &[
    ("ASK", ErrorKind::Transient),
    ("BUSY", ErrorKind::Transient),
    ("CLUSTERDOWN", ErrorKind::Transient),
    ("CROSSSLOT", ErrorKind::CrossSlot),
    ("DENIED", ErrorKind::Configuration),
    ("INPROG", ErrorKind::Transient),
    ("LOADING", ErrorKind::Transient),
    ("MASTERDOWN", ErrorKind::Transient),
    ("MISCONF", ErrorKind::StoreUnsafe),
    ("MOVED", ErrorKind::RoleChange),
    ("NOAUTH", ErrorKind::Auth),
    ("NOPERM", ErrorKind::Denied),
    ("NOREPLICAS", ErrorKind::StoreUnsafe),
    ("NOSCRIPT", ErrorKind::NoScript),
    ("OOM", ErrorKind::OutOfMemory),
    ("READONLY", ErrorKind::RoleChange),
    ("REDIRECT", ErrorKind::RoleChange),
    ("TRYAGAIN", ErrorKind::Transient),
    ("UNBLOCKED", ErrorKind::RoleChange),
    ("UNKILLABLE", ErrorKind::Script),
    ("WRONGPASS", ErrorKind::Auth),
    ("WRONGTYPE", ErrorKind::WrongType),
];

/// Beginnings of `ERR` messages (after `ERR `) that carry a class of their own.
const BY_ERR_TEXT: &[(&str, ErrorKind)] = &[
    ("ACL failure in script", ErrorKind::Denied),
    ("AUTH <password> called without any password", ErrorKind::Auth),
    ("Client sent AUTH, but no password is set", ErrorKind::Auth),
    ("invalid password", ErrorKind::Auth),
    ("DB index is out of range", ErrorKind::Configuration),
    ("SELECT is not allowed in cluster mode", ErrorKind::Configuration),
    ("This instance has cluster support disabled", ErrorKind::Configuration),
    ("max number of clients", ErrorKind::Transient),
    // The slot is moving. What the script did before it stays done; with every key declared it is a clean TRYAGAIN.
    ("Script attempted to access a non local key", ErrorKind::Transient),
    ("Script attempted to access keys that do not hash to the same slot", ErrorKind::CrossSlot),
    ("Script attempted to access keys that don't hash to the same slot", ErrorKind::CrossSlot),
    ("Protocol error: invalid bulk length", ErrorKind::TooLarge),
    ("Protocol error: too big", ErrorKind::TooLarge),
    ("string exceeds maximum allowed size", ErrorKind::TooLarge),
];

/// The class of a server message, and whether it settles what happened.
///
/// Every error reply settles it (the server says that it did not do it) except for a killed script, which keeps
/// what it had done until then.
pub(crate) fn classify(message: &str) -> (ErrorKind, Progress) {
    let message = message.trim_start_matches('-').trim();
    let (code, rest) = message.split_once(' ').unwrap_or((message, ""));
    if let Some(&(_, kind)) = BY_CODE.iter().find(|(known, _)| *known == code) {
        return (kind, Progress::Answered);
    }
    if code == "ERR" {
        if let Some(nested) = nested_in_old_script_error(rest) {
            return classify(nested);
        }
        if rest.starts_with("Script killed") || rest.starts_with("Error running script: Script killed") {
            return (ErrorKind::Script, Progress::Unknown);
        }
        if let Some(&(_, kind)) = BY_ERR_TEXT.iter().find(|(known, _)| rest.starts_with(known)) {
            return (kind, Progress::Answered);
        }
    }
    if is_from_script(message) {
        return (ErrorKind::Script, Progress::Answered);
    }
    (ErrorKind::Rejected, Progress::Answered)
}

/// Whether the message carries the suffix the server adds to errors that escape a script
/// (`... script: <sha>, on @user_script:3.`).
fn is_from_script(message: &str) -> bool {
    message.contains("user_script:")
}

/// Servers before 7.0 wrap the error of a script: `Error running script (call to f_<sha>): @user_script:1: <it>`.
fn nested_in_old_script_error(rest: &str) -> Option<&str> {
    let wrapped = rest.strip_prefix("Error running script (call to ")?;
    let (_, inner) = wrapped.split_once("@user_script:")?;
    let (_line, inner) = inner.split_once(": ")?;
    let inner = inner.trim_start_matches('-');
    // Without a code of its own it is a plain script failure.
    inner
        .split(' ')
        .next()
        .is_some_and(|code| BY_CODE.iter().any(|(known, _)| *known == code))
        .then_some(inner)
}

/// Cuts what the server echoes of a request (arguments, hence payloads) out of its message.
pub(crate) fn redact(message: &str) -> Cow<'_, str> {
    const ECHO: &str = ", with args beginning with:";
    match message.find(ECHO) {
        Some(at) => Cow::Borrowed(message[..at].trim()),
        None => Cow::Borrowed(message.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_of_the_table_has_its_class() {
        let sha = "script: 7fd9c5e0b1a2f3d4e5c6b7a8091a2b3c4d5e6f70, on @user_script:3.";
        let table: &[(&str, ErrorKind)] = &[
            ("LOADING Valkey is loading the dataset in memory", ErrorKind::Transient),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                ErrorKind::Transient,
            ),
            (
                "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                ErrorKind::Transient,
            ),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::Transient),
            ("CLUSTERDOWN Hash slot not served", ErrorKind::Transient),
            ("ERR max number of clients reached", ErrorKind::Transient),
            ("ERR max number of clients + cluster connections reached", ErrorKind::Transient),
            ("READONLY You can't write against a read only replica.", ErrorKind::RoleChange),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                ErrorKind::RoleChange,
            ),
            ("MOVED 3999 127.0.0.1:6381", ErrorKind::RoleChange),
            ("REDIRECT 127.0.0.1:6381", ErrorKind::RoleChange),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::StoreUnsafe),
            (
                "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                ErrorKind::StoreUnsafe,
            ),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::OutOfMemory),
            ("NOSCRIPT No matching script.", ErrorKind::NoScript),
            ("NOPERM User app has no permissions to run the 'flushall' command", ErrorKind::Denied),
            (
                "ERR ACL failure in script: User app has no permissions to access the 'x' key",
                ErrorKind::Denied,
            ),
            ("NOAUTH Authentication required.", ErrorKind::Auth),
            (
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
                ErrorKind::Auth,
            ),
            ("WRONGPASS invalid username-password pair or user is disabled.", ErrorKind::Auth),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", ErrorKind::WrongType),
            ("WRONGTYPE key queue:x holds a string", ErrorKind::WrongType),
            ("CROSSSLOT Keys in request don't hash to the same slot", ErrorKind::CrossSlot),
            ("ERR Script attempted to access a non local key in a cluster node", ErrorKind::Transient),
            ("ERR Script attempted to access keys that do not hash to the same slot", ErrorKind::CrossSlot),
            ("ERR DB index is out of range", ErrorKind::Configuration),
            ("ERR This instance has cluster support disabled", ErrorKind::Configuration),
            ("DENIED Running in protected mode because protected mode is enabled", ErrorKind::Configuration),
            ("ERR Protocol error: invalid bulk length", ErrorKind::TooLarge),
            ("ERR string exceeds maximum allowed size (proto-max-bulk-len)", ErrorKind::TooLarge),
            ("ERR syntax error", ErrorKind::Rejected),
            ("ERR value is not an integer or out of range", ErrorKind::Rejected),
            ("EXECABORT Transaction discarded because of previous errors.", ErrorKind::Rejected),
            ("", ErrorKind::Rejected),
        ];
        for (message, kind) in table {
            assert_eq!(classify(message), (*kind, Progress::Answered), "{message}");
            // The same error, escaped from a script, has the same class.
            if !message.is_empty() && *kind != ErrorKind::Rejected {
                assert_eq!(classify(&format!("{message} {sha}")).0, *kind, "{message} in a script");
            }
        }
    }

    #[test]
    fn a_failing_script_is_a_script_error() {
        for message in [
            "ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: 7fd9, on @user_script:1.",
            "ERR my own words script: 7fd9, on @user_script:12.",
            "ERR Error running script (call to f_7fd9): @user_script:1: user_script:1: attempt to index a nil value",
        ] {
            assert_eq!(classify(message), (ErrorKind::Script, Progress::Answered), "{message}");
        }
    }

    #[test]
    fn old_servers_wrap_the_error_of_a_script() {
        let message =
            "ERR Error running script (call to f_7fd9): @user_script:1: WRONGTYPE Operation against a key";
        assert_eq!(classify(message).0, ErrorKind::WrongType);
        let message = "ERR Error running script (call to f_7fd9): @user_script:1: -OOM command not allowed";
        assert_eq!(classify(message).0, ErrorKind::OutOfMemory);
    }

    #[test]
    fn a_killed_script_leaves_the_outcome_open() {
        let message = "ERR Script killed by user with SCRIPT KILL. script: 7fd9, on @user_script:1.";
        assert_eq!(classify(message), (ErrorKind::Script, Progress::Unknown));
    }

    #[test]
    fn echoed_arguments_are_cut() {
        let message =
            "ERR unknown command 'LPUSHH', with args beginning with: 'queue:q' '{\"password\":\"hunter2\"}' ";
        assert_eq!(redact(message), "ERR unknown command 'LPUSHH'");
    }
}
