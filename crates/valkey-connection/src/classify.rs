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
    // The same in the words of Redis 7.0.
    ("The user executing the script", ErrorKind::Denied),
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

/// Refusals of writes that a server makes before the first write of a script, or not at all: a script that has written
/// is let through, for it could not be undone.
const BEFORE_THE_FIRST_WRITE: &[&str] = &["MISCONF", "NOREPLICAS", "OOM", "READONLY"];

/// How servers before 7.0 begin the error of a script: `Error running script (call to f_<sha>): @user_script:1: <it>`.
/// Later ones begin so where they know no place.
const RUNNING: &str = "Error running script";

/// The class of a server message, and whether it settles what happened.
///
/// An error reply settles it (the server says that it did not do it), unless it ended a script: nothing is undone, and
/// nobody says how far it came. An error that a script returns by itself is the script's own word, and settles it.
pub(crate) fn classify(message: &str) -> (ErrorKind, Progress) {
    let message = message.trim_start_matches('-').trim();
    let (said, ended_script) = unwrapped(message);
    let (code, rest) = said.split_once(' ').unwrap_or((said, ""));
    if said.contains("Script killed by user") {
        return (ErrorKind::Script, Progress::Unknown);
    }
    let settled = !ended_script || BEFORE_THE_FIRST_WRITE.contains(&code);
    let progress = if settled { Progress::Answered } else { Progress::Stopped };
    (kind_of(code, rest, ended_script), progress)
}

fn kind_of(code: &str, rest: &str, ended_script: bool) -> ErrorKind {
    if let Some(&(_, kind)) = BY_CODE.iter().find(|(known, _)| *known == code) {
        return kind;
    }
    let by_text = BY_ERR_TEXT.iter().find(|(known, _)| code == "ERR" && rest.starts_with(known));
    match by_text {
        Some(&(_, kind)) => kind,
        None if ended_script => ErrorKind::Script,
        None => ErrorKind::Rejected,
    }
}

/// What the server says, without what older ones wrap around the error of a script; and whether it ended one: from 7.0 on
/// the server appends the place (`... script: <sha>, on @user_script:3.`).
fn unwrapped(message: &str) -> (&str, bool) {
    let Some(wrapped) = message.strip_prefix("ERR ").filter(|rest| rest.starts_with(RUNNING)) else {
        return (message, message.contains("user_script:"));
    };
    let inner = wrapped.split_once("@user_script:").and_then(|(_, inner)| inner.split_once(": "));
    let inner = inner.map_or("", |(_line, inner)| inner.trim_start_matches('-'));
    // Without a code of its own it is a plain script failure.
    let coded = inner.split(' ').next().is_some_and(|code| BY_CODE.iter().any(|(known, _)| *known == code));
    (if coded { inner } else { message }, true)
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
            ("ERR The user executing the script can't run this command or subcommand", ErrorKind::Denied),
            (
                "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
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
            // The same error, escaped from a script, has the same class. Whatever it is, it may come after a write, unless
            // the server never refuses a script that has written for this.
            let (in_script, progress) = classify(&format!("{message} {sha}"));
            let expected = if *kind == ErrorKind::Rejected { ErrorKind::Script } else { *kind };
            assert_eq!(in_script, expected, "{message} in a script");
            let code = message.split(' ').next().unwrap_or("");
            let before_writes = ["OOM", "READONLY", "NOREPLICAS", "MISCONF"].contains(&code);
            let expected = if before_writes { Progress::Answered } else { Progress::Stopped };
            assert_eq!(progress, expected, "{message} in a script");
        }
    }

    #[test]
    fn a_failing_script_is_a_script_error() {
        for message in [
            "ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: 7fd9, on @user_script:1.",
            "ERR my own words script: 7fd9, on @user_script:12.",
            // Valkey 9.1 leaves out the hash.
            "ERR Wrong number of args calling command from script script: on @user_script:1.",
            "ERR Error running script (call to f_7fd9): @user_script:1: user_script:1: attempt to index a nil value",
        ] {
            assert_eq!(classify(message), (ErrorKind::Script, Progress::Stopped), "{message}");
        }
    }

    #[test]
    fn what_a_script_returns_is_its_own_word() {
        for (message, kind) in [
            ("ERR push: item 1 has no lane n, h or l, or no due time", ErrorKind::Rejected),
            ("WRONGTYPE key queue:x holds another type than push needs (LLEN)", ErrorKind::WrongType),
            ("NOPERM the scripts of this queue need the 'hset' command", ErrorKind::Denied),
        ] {
            assert_eq!(classify(message), (kind, Progress::Answered), "{message}");
        }
    }

    #[test]
    fn old_servers_wrap_the_error_of_a_script() {
        let message =
            "ERR Error running script (call to f_7fd9): @user_script:1: WRONGTYPE Operation against a key";
        assert_eq!(classify(message), (ErrorKind::WrongType, Progress::Stopped));
        let message = "ERR Error running script (call to f_7fd9): @user_script:1: -OOM command not allowed";
        assert_eq!(classify(message), (ErrorKind::OutOfMemory, Progress::Answered));
        let message = "ERR Error running script f_7fd9, execution failure";
        assert_eq!(classify(message), (ErrorKind::Script, Progress::Stopped));
    }

    #[test]
    fn a_killed_script_leaves_the_outcome_open() {
        for message in [
            "ERR Script killed by user with SCRIPT KILL. script: 7fd9, on @user_script:1.",
            "ERR Script killed by user with SCRIPT KILL.",
            "ERR Error running script (call to f_7fd9): @user_script:1: Script killed by user with SCRIPT KILL...",
        ] {
            assert_eq!(classify(message), (ErrorKind::Script, Progress::Unknown), "{message}");
        }
    }

    #[test]
    fn echoed_arguments_are_cut() {
        let message =
            "ERR unknown command 'LPUSHH', with args beginning with: 'queue:q' '{\"password\":\"hunter2\"}' ";
        assert_eq!(redact(message), "ERR unknown command 'LPUSHH'");
    }
}
