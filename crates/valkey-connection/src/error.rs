//! What can go wrong between a caller and the store, and what the caller may conclude from it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::classify;

/// The class of a failure. What to do about it follows from the class, never from the text.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server refused the user name or the password.
    Auth,
    /// The queue of unsent commands in this process is full.
    Backpressure,
    /// The circuit breaker is open; nothing was sent.
    BreakerOpen,
    /// This connection was closed by its owner.
    Closed,
    /// Settings, URL or usage are wrong; trying again changes nothing.
    Configuration,
    /// The keys of one command live in different hash slots.
    CrossSlot,
    /// The user lacks a permission (ACL).
    Denied,
    /// There is no connection, or it broke while the command was under way.
    Disconnected,
    /// The server does not know the script under its hash.
    NoScript,
    /// The server is at `maxmemory` and refuses to grow.
    OutOfMemory,
    /// The bytes received are not the reply expected.
    Protocol,
    /// Any other refusal of the server, such as a syntax error.
    Rejected,
    /// The node is no longer (or not yet) the primary.
    RoleChange,
    /// A script failed or was killed while it ran.
    Script,
    /// The server refuses writes because it could not keep them safe (replicas or disk missing).
    StoreUnsafe,
    /// No reply came within the deadline.
    Timeout,
    /// The TLS handshake failed, or a certificate or key could not be used.
    Tls,
    /// A value is larger than the server accepts.
    TooLarge,
    /// The server is temporarily unable: loading, busy, slot moving, cluster down.
    Transient,
    /// The server did it, but did not acknowledge in time that it is as safe as was asked for.
    Unconfirmed,
    /// A key of another type sits under this name.
    WrongType,
}

/// How far a request got, as far as this side can know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// It never left this process.
    NotSent,
    /// The server answered: what the answer says is what happened.
    Answered,
    /// The server answered that a script was stopped by an error: what it had done by then stays done.
    Stopped,
    /// It may or may not have been executed.
    Unknown,
}

/// Who speaks to whom; shared by all errors of one connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// Server address for humans, without credentials.
    pub(crate) server: String,
    /// User name, `default` unless set.
    pub(crate) user: String,
    /// Whether it is a fixed address, which stays where it is when the primary moves.
    pub(crate) fixed: bool,
}

const REDIRECTION: &str = "the hash slot of the key is moving between nodes";

/// A failed request to the store.
///
/// Three questions matter to a caller, and each has a method:
///
/// | question | answer |
/// |---|---|
/// | may the same request work later by itself? | [`is_transient`](Self::is_transient) |
/// | is it certain that the server never saw it? | [`is_not_sent`](Self::is_not_sent) |
/// | might it have been executed all the same? | [`outcome_unknown`](Self::outcome_unknown) |
///
/// A fourth is about scripts only: [`stopped_midway`](Self::stopped_midway).
///
/// `Display` names the command or script, the server and the remedy. It never contains a password or a payload.
#[derive(Clone, Eq, PartialEq)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone, Eq, PartialEq)]
struct Inner {
    kind: ErrorKind,
    progress: Progress,
    operation: Cow<'static, str>,
    detail: Cow<'static, str>,
    server_message: bool,
    origin: Option<Arc<Origin>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, progress: Progress, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                progress,
                operation: Cow::Borrowed(""),
                detail: detail.into(),
                server_message: false,
                origin: None,
            }),
        }
    }

    /// A wrong setting or a wrong use, found before anything was sent.
    pub(crate) fn configuration(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Configuration, Progress::NotSent, detail)
    }

    /// The server's own words, as an answer to exactly this request.
    pub(crate) fn from_reply(message: &str) -> Self {
        let (kind, progress) = classify::classify(message);
        let mut error = Self::new(kind, progress, printable(&classify::redact(message)));
        error.inner.server_message = true;
        error
    }

    /// A cluster node has sent the request elsewhere: it was not executed.
    pub(crate) fn redirection() -> Self {
        Self::new(ErrorKind::Transient, Progress::Answered, REDIRECTION)
    }

    pub(crate) fn is_redirection(&self) -> bool {
        self.inner.kind == ErrorKind::Transient && self.inner.detail == REDIRECTION
    }

    /// The same error for a connection that knows of no cluster: being sent elsewhere means that it should.
    pub(crate) fn outside_cluster(mut self) -> Self {
        if self.server_message().is_some_and(|message| message.starts_with("MOVED ")) {
            self.inner.kind = ErrorKind::Configuration;
            self.inner.detail = "the server belongs to a cluster: set mode to `cluster`".into();
            self.inner.server_message = false;
        }
        self
    }

    /// A reply that does not have the form the caller expects.
    pub(crate) fn unexpected(expected: &'static str, found: &'static str) -> Self {
        Self::new(
            ErrorKind::Protocol,
            Progress::Answered,
            format!("expected {expected}, the reply is {found}"),
        )
    }

    #[must_use]
    pub(crate) fn with_operation(mut self, operation: impl Into<Cow<'static, str>>) -> Self {
        self.inner.operation = operation.into();
        self
    }

    #[must_use]
    pub(crate) fn with_origin(mut self, origin: &Arc<Origin>) -> Self {
        self.inner.origin = Some(Arc::clone(origin));
        self
    }

    #[must_use]
    pub(crate) fn with_progress(mut self, progress: Progress) -> Self {
        self.inner.progress = progress;
        self
    }

    /// What happened, without who, where and what to do.
    pub(crate) fn detail(&self) -> &str {
        &self.inner.detail
    }

    pub(crate) fn progress(&self) -> Progress {
        self.inner.progress
    }

    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same request may succeed later without anyone changing it, the settings or the permissions.
    ///
    /// Transient does not mean harmless to repeat: a write whose [outcome is unknown](Self::outcome_unknown) may
    /// happen twice.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Backpressure
                | ErrorKind::BreakerOpen
                | ErrorKind::Disconnected
                | ErrorKind::NoScript
                | ErrorKind::OutOfMemory
                | ErrorKind::RoleChange
                | ErrorKind::StoreUnsafe
                | ErrorKind::Timeout
                | ErrorKind::Transient
                | ErrorKind::Unconfirmed
        )
    }

    /// Whether it is certain that the request never left this process.
    pub fn is_not_sent(&self) -> bool {
        self.inner.progress == Progress::NotSent
    }

    /// Whether the request may have been executed, wholly or in part, although it failed here: the connection broke
    /// before the reply, the deadline passed, a running script was killed, or it was [stopped](Self::stopped_midway).
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.inner.progress, Progress::Stopped | Progress::Unknown)
    }

    /// Whether a script was stopped by an error in its midst. No server undoes what it had done by then, and none tells
    /// how much that was. To repeat it does that part twice, however well the script recognises what it has done wholly.
    pub fn stopped_midway(&self) -> bool {
        self.inner.progress == Progress::Stopped
    }

    /// Whether the server answered, be it with a refusal.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.inner.progress, Progress::Answered | Progress::Stopped)
    }

    /// The server's message, if the server answered with an error. Payload echoes are cut off.
    pub fn server_message(&self) -> Option<&str> {
        self.inner.server_message.then_some(self.inner.detail.as_ref())
    }

    /// The command that failed, such as `LPUSH`, or the name of the script; empty while connecting.
    pub fn operation(&self) -> &str {
        &self.inner.operation
    }

    /// Whether the server wants a password and was given none.
    pub fn lacks_password(&self) -> bool {
        self.inner.kind == ErrorKind::Auth && self.inner.detail.starts_with("NOAUTH ")
    }

    /// Whether a fixed address, at which nobody looks for the primary, is that of a replica.
    pub fn is_fixed_replica(&self) -> bool {
        self.inner.kind == ErrorKind::RoleChange
            && self.inner.detail.starts_with("READONLY ")
            && self.inner.origin.as_ref().is_some_and(|origin| origin.fixed)
    }

    /// Whether this failure says something about the health of the store (and so counts for the circuit breaker),
    /// rather than about the request.
    pub fn is_store_failure(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Auth
                | ErrorKind::Backpressure
                | ErrorKind::Disconnected
                | ErrorKind::Protocol
                | ErrorKind::RoleChange
                | ErrorKind::StoreUnsafe
                | ErrorKind::Timeout
                | ErrorKind::Tls
                | ErrorKind::Transient
        )
    }
}

impl ErrorKind {
    /// The class as a word for metrics and logs (`snake_case`, stable).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Backpressure => "backpressure",
            Self::BreakerOpen => "breaker_open",
            Self::Closed => "closed",
            Self::Configuration => "configuration",
            Self::CrossSlot => "cross_slot",
            Self::Denied => "denied",
            Self::Disconnected => "disconnected",
            Self::NoScript => "no_script",
            Self::OutOfMemory => "out_of_memory",
            Self::Protocol => "protocol",
            Self::Rejected => "rejected",
            Self::RoleChange => "role_change",
            Self::Script => "script",
            Self::StoreUnsafe => "store_unsafe",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::TooLarge => "too_large",
            Self::Transient => "transient",
            Self::Unconfirmed => "unconfirmed",
            Self::WrongType => "wrong_type",
        }
    }

    /// What a person can do about it; `None` where the message says it all.
    const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Auth => {
                Some("check user name and password; a password file is read again at every attempt")
            }
            Self::Backpressure => Some("too many commands wait for the server; send slower"),
            Self::BreakerOpen => {
                Some("the store failed repeatedly; it is tried again after the breaker's timeout")
            }
            Self::Closed => Some("the connection was closed by this program"),
            Self::Configuration | Self::NoScript | Self::Protocol | Self::Rejected | Self::Script => None,
            Self::CrossSlot => Some("all keys of one command need the same hash tag"),
            Self::Denied => Some("grant the command, key and channel with ACL SETUSER"),
            Self::Disconnected => Some("check that the server runs and is reachable"),
            Self::OutOfMemory => Some("let consumers drain, or raise maxmemory"),
            Self::RoleChange => Some("the primary has moved; the connection is looking for it"),
            Self::StoreUnsafe => Some("look at INFO persistence and INFO replication on the server"),
            Self::Timeout => Some("the server or the network is slow, or the timeout is too short"),
            Self::Tls => Some("check CA file, client certificate and server name"),
            Self::TooLarge => Some("send smaller values, or raise proto-max-bulk-len"),
            Self::Transient => Some("try again shortly"),
            Self::Unconfirmed => {
                Some("the primary has it; look at INFO replication and INFO persistence on the server")
            }
            Self::WrongType => Some("another program uses this key; look at it with TYPE"),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        match (inner.operation.is_empty(), &inner.origin) {
            (false, Some(origin)) => write!(f, "{} on {}: ", inner.operation, origin.server)?,
            (false, None) => write!(f, "{}: ", inner.operation)?,
            (true, Some(origin)) => write!(f, "{}: ", origin.server)?,
            (true, None) => {}
        }
        if self.lacks_password() {
            return f.write_str(
                "the server wants a password, and none was given (set password_file or password)",
            );
        }
        if let (ErrorKind::Auth | ErrorKind::Denied, Some(origin)) = (inner.kind, &inner.origin) {
            write!(f, "user `{}`: ", origin.user)?;
        }
        f.write_str(&inner.detail)?;
        if self.is_fixed_replica() {
            f.write_str(
                " (this server is a replica: give the primary's address, or set mode to `sentinel`)",
            )?;
        } else if let Some(remedy) = inner.kind.remedy() {
            write!(f, " ({remedy})")?;
        }
        match inner.progress {
            Progress::Answered | Progress::NotSent => Ok(()),
            Progress::Stopped => f.write_str("; what the script had done by then stays done"),
            Progress::Unknown => f.write_str("; whether it was executed is unknown"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("progress", &self.inner.progress)
            .field("message", &format_args!("{self}"))
            .finish()
    }
}

impl std::error::Error for Error {}

/// A server repeats what others wrote, names and keys among it. Errors end up in logs and on terminals, where none of it is
/// to act.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, fixed: bool) -> String {
        let origin = Origin { server: "h:1".to_owned(), user: "u".to_owned(), fixed };
        Error::from_reply(message).with_origin(&Arc::new(origin)).to_string()
    }

    #[test]
    fn only_who_looks_for_the_primary_says_so() {
        let replica = "READONLY You can't write against a read only replica.";
        assert!(
            said(replica, true)
                .contains("is a replica: give the primary's address, or set mode to `sentinel`")
        );
        assert!(said(replica, false).contains("the connection is looking for it"));
    }

    #[test]
    fn a_missing_password_is_told_in_words_for_people() {
        let told = said("NOAUTH HELLO must be called with the client already authenticated, otherwise", true);
        assert_eq!(
            told,
            "h:1: the server wants a password, and none was given (set password_file or password)"
        );
        assert!(said("WRONGPASS invalid username-password pair", true).contains("user `u`"));
    }

    #[test]
    fn the_servers_words_act_on_no_terminal() {
        let error = Error::from_reply("ERR no such user '\x1b[2J\x07\n'");
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
        assert!(error.to_string().contains("no such user '\\u{1b}[2J\\u{7}\\n'"), "{error}");
    }

    #[test]
    fn nobody_who_has_ended_says_that_it_goes_on() {
        let lost = Error::new(ErrorKind::Disconnected, Progress::NotSent, "Connection refused").to_string();
        assert_eq!(lost, "Connection refused (check that the server runs and is reachable)");
    }
}
