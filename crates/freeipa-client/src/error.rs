//! Why a call came to nothing.

use std::borrow::Cow;
use std::fmt;

use crate::check::needed_for;
use crate::class::{Class, Outcome};
use crate::command::{Command, Effect};
use crate::envelope::BadReply;
use crate::fault::Fault;
use crate::negotiate::NegotiateFault;
use crate::service_login::LoginError;
use crate::transport::{CertificateFault, TransportError};

/// Why a call came to nothing, and what became of it.
///
/// What it shows names the command, the server, the reason and the remedy, and no person: it may go into logs.
///
/// Questions it answers: what is to be done ([`class`](Self::class)), whether the server may have done it all the same
/// ([`outcome`](Self::outcome)), and which attribute is at fault ([`field`](Self::field)).
#[derive(Clone)]
pub struct CallError {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    command: Cow<'static, str>,
    effect: Effect,
    sets_password: bool,
    server: String,
    cause: Cause,
}

/// What is behind a [`CallError`].
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// The request did not get there, or its answer did not get here.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is no session, and no login to be had.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The server gave a session, and refuses it.
    #[error("the server does not take the session that it has just given")]
    SessionRefused,
    /// The server knows the session, and refuses the account.
    #[error(
        "the server refuses the account ({reason}): it was disabled since its login, or a stage user has the same login"
    )]
    SessionDenied {
        /// The server's word for it.
        reason: String,
    },
    /// The server does not speak the API at this moment, or at this name.
    #[error("the server answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// An error of the API.
    #[error("{0}")]
    Fault(Fault),
    /// A reply that is not what the command promises.
    #[error(transparent)]
    BadReply(#[from] BadReply),
    /// Other calls to this server took all the time there was. Nothing was sent.
    #[error("no turn came in time: too many calls to this server at once, or it is slow")]
    NoTurn,
    /// The client is closed. Nothing was sent.
    #[error("the client is closed")]
    Closed,
}

impl CallError {
    pub(crate) fn new(command: &Command, server: &str, cause: impl Into<Cause>) -> Self {
        let inner = Inner {
            command: command.shared_name(),
            effect: command.effect(),
            sets_password: command.sets_password(),
            server: server.to_owned(),
            cause: cause.into(),
        };
        Self { inner: Box::new(inner) }
    }

    /// What is behind it.
    pub fn cause(&self) -> &Cause {
        &self.inner.cause
    }

    /// The command, such as `user_add`.
    pub fn command(&self) -> &str {
        &self.inner.command
    }

    /// The server's name.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The error of the API, if it is one.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.inner.cause {
            Cause::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    /// What is to be done about it.
    pub fn class(&self) -> Class {
        match &self.inner.cause {
            Cause::Fault(fault) => fault.class(&self.inner.command),
            Cause::Transport(error) => of_transport(error),
            Cause::Login(error) => match error {
                LoginError::Rejected { .. } | LoginError::RejectedEarlier(_) | LoginError::Spent { .. } => {
                    Class::LoginRejected
                }
                LoginError::Negotiate(error) => match error.fault() {
                    NegotiateFault::Credentials | NegotiateFault::Rejected(_) => Class::LoginRejected,
                    NegotiateFault::Unavailable => Class::Unavailable,
                    NegotiateFault::Configuration => Class::Configuration,
                },
                LoginError::WrongName | LoginError::NoSuchPath => Class::Configuration,
                LoginError::Transport(error) => of_transport(error),
                LoginError::Unavailable(_) | LoginError::Unclear { .. } => Class::Unavailable,
            },
            Cause::SessionDenied { .. } => Class::LoginRejected,
            Cause::Status { status } => of_status(*status),
            Cause::SessionRefused | Cause::NoTurn | Cause::Closed => Class::Unavailable,
            Cause::BadReply(_) => Class::Failed,
        }
    }

    /// Whether the server may have done it. What only reads does nothing: it is always [`Outcome::NotDone`].
    ///
    /// [`Outcome::Unknown`] includes that it happens later: the server goes on after the client has given up.
    pub fn outcome(&self) -> Outcome {
        if self.inner.effect == Effect::Reads {
            return Outcome::NotDone;
        }
        match &self.inner.cause {
            Cause::Fault(fault) => fault.outcome(&self.inner.command),
            Cause::Transport(error) if error.may_be_sent() => Outcome::Unknown,
            Cause::BadReply(_) => Outcome::Unknown,
            Cause::Status { status } if *status < 300 || *status >= 500 => Outcome::Unknown,
            Cause::Transport(_)
            | Cause::Status { .. }
            | Cause::Login(_)
            | Cause::SessionRefused
            | Cause::SessionDenied { .. }
            | Cause::NoTurn
            | Cause::Closed => Outcome::NotDone,
        }
    }

    /// The attribute that is at fault, by its LDAP name in lower case: `givenname`, `mail`, `telephonenumber`.
    pub fn field(&self) -> Option<&str> {
        self.fault()?.field()
    }

    /// Which right is lacking, and what grants it.
    fn lacking(&self, right: Option<String>) -> String {
        let lacks = match right {
            Some(right) => format!("the service account lacks the right to {right}"),
            None => "the service account lacks a right".to_owned(),
        };
        match needed_for(&self.inner.command, self.inner.sets_password) {
            Some(needed) => format!("{lacks}: {needed}"),
            None => format!("{lacks}: grant it by a role"),
        }
    }

    /// What helps, in a few words.
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let fault = self.fault();
        Some(match self.class() {
            Class::Denied => self.lacking(fault.and_then(Fault::missing_right)).into(),
            Class::Invalid => match self.field() {
                Some(field) => format!("the value of {field} is not acceptable: correct it").into(),
                None => "a value is not acceptable: correct it".into(),
            },
            Class::NotFound => "there is no such entry".into(),
            Class::Exists => "there is one already: look whose it is".into(),
            Class::AlreadyDone => "it was so before".into(),
            Class::Collision => "somebody else changed it in the same moment: once more".into(),
            Class::Overloaded => "a limit of the server is reached: ask for less, or later".into(),
            Class::Misuse => {
                "this server does not take such a call: compare its version with the program's".into()
            }
            Class::Configuration => match &self.inner.cause {
                Cause::Fault(_) => {
                    "what the command needs is missing on the server, such as the group".into()
                }
                Cause::Status { status: 400 } => {
                    "it refuses the Referer: give the server's own full name".into()
                }
                Cause::Status { .. } => "there is no FreeIPA at this name: correct it".into(),
                // The causes of the others say it.
                _ => return None,
            },
            Class::Failed if fault.is_some() => "the server's httpd error log tells more".into(),
            Class::Unavailable if fault.is_some() => "the server cannot reach its directory or KDC".into(),
            _ => return None,
        })
    }
}

fn of_transport(error: &TransportError) -> Class {
    match error {
        // A clock that is wrong, or a certificate that is renewed: still, a person has to see to it.
        TransportError::Certificate(
            CertificateFault::UnknownIssuer
            | CertificateFault::WrongName
            | CertificateFault::WrongTime
            | CertificateFault::Other { .. },
        ) => Class::Configuration,
        TransportError::TooLong { .. } => Class::Failed,
        TransportError::Connect { .. } | TransportError::TimedOut { .. } | TransportError::Lost { .. } => {
            Class::Unavailable
        }
    }
}

fn of_status(status: u16) -> Class {
    match status {
        408 | 429 | 500.. => Class::Unavailable,
        300..=499 => Class::Configuration,
        _ => Class::Failed,
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { command, server, cause, .. } = &*self.inner;
        write!(f, "{command} at {server}: {cause}")?;
        if let Some(remedy) = self.remedy() {
            write!(f, "; {remedy}")?;
        }
        match self.outcome() {
            Outcome::Unknown => f.write_str(" (it may have been done all the same)"),
            Outcome::NotDone => Ok(()),
        }
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallError({}, {:?}: {self})", self.class(), self.outcome())
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause is a part of the text already.
        self.inner.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::service_login::{LoginRejected, LoginUnavailable};

    fn error(command: &Command, cause: impl Into<Cause>) -> CallError {
        CallError::new(command, "ipa.example.org", cause)
    }

    fn lost() -> TransportError {
        TransportError::Lost { reason: "reset".to_owned() }
    }

    #[test]
    fn what_each_cause_means_for_a_write() {
        use Outcome::{NotDone, Unknown};
        let wait = Duration::from_mins(10);
        let rows: [(Cause, Class, Outcome); 22] = [
            (TransportError::Connect { reason: "refused".to_owned() }.into(), Class::Unavailable, NotDone),
            (TransportError::from(CertificateFault::UnknownIssuer).into(), Class::Configuration, NotDone),
            (TransportError::TimedOut { after: wait }.into(), Class::Unavailable, Unknown),
            (lost().into(), Class::Unavailable, Unknown),
            (TransportError::TooLong { limit: 1 }.into(), Class::Failed, Unknown),
            (
                LoginError::Rejected { why: LoginRejected::WrongPassword, wait }.into(),
                Class::LoginRejected,
                NotDone,
            ),
            (LoginError::Unavailable(LoginUnavailable::Kdc).into(), Class::Unavailable, NotDone),
            (LoginError::Transport(lost()).into(), Class::Unavailable, NotDone),
            (LoginError::Transport(CertificateFault::WrongName.into()).into(), Class::Configuration, NotDone),
            (LoginError::WrongName.into(), Class::Configuration, NotDone),
            (LoginError::NoSuchPath.into(), Class::Configuration, NotDone),
            (Cause::SessionRefused, Class::Unavailable, NotDone),
            (Cause::SessionDenied { reason: "denied".to_owned() }, Class::LoginRejected, NotDone),
            (Cause::Status { status: 302 }, Class::Configuration, NotDone),
            (Cause::Status { status: 400 }, Class::Configuration, NotDone),
            (Cause::Status { status: 404 }, Class::Configuration, NotDone),
            (Cause::Status { status: 429 }, Class::Unavailable, NotDone),
            (Cause::Status { status: 500 }, Class::Unavailable, Unknown),
            (Cause::Status { status: 503 }, Class::Unavailable, Unknown),
            (BadReply::new("x").into(), Class::Failed, Unknown),
            (Cause::NoTurn, Class::Unavailable, NotDone),
            (Cause::Closed, Class::Unavailable, NotDone),
        ];
        for (cause, class, outcome) in rows {
            let read = error(&Command::read("user_show"), cause.clone());
            assert_eq!((read.class(), read.outcome()), (class, NotDone), "{read}");
            let write = error(&Command::write("user_mod"), cause);
            assert_eq!((write.class(), write.outcome()), (class, outcome), "{write}");
        }
    }

    #[test]
    fn it_names_command_server_reason_and_remedy_and_no_person() {
        let fault =
            |code, name: &str, message: &str, data| Cause::Fault(Fault::new(code, name, message, data));
        let texts = [
            (
                error(
                    &Command::write("user_add").argument("anna"),
                    fault(
                        3009,
                        "ValidationError",
                        "invalid 'email': anna@@x",
                        json!({"name": "email", "error": "anna@@x"}),
                    ),
                ),
                "user_add at ipa.example.org: error 3009 ValidationError; the value of mail is not acceptable: correct it",
            ),
            (
                error(
                    &Command::write("user_add"),
                    fault(
                        2100,
                        "ACIError",
                        "Insufficient access: Insufficient 'add' privilege to add the entry 'uid=anna,cn=users'.",
                        json!({}),
                    ),
                ),
                "user_add at ipa.example.org: error 2100 ACIError; the service account lacks the right to add: a privilege of its role has to have \"System: Add Users\", \"System: Add User to default group\", \"System: Read UPG Definition\": `ipa privilege-add-permission PRIVILEGE --permissions=NAME` (it may have been done all the same)",
            ),
            (
                error(&Command::write("user_mod"), lost()),
                "user_mod at ipa.example.org: the connection broke before the whole answer was here: reset (it may have been done all the same)",
            ),
            (
                error(&Command::read("user_show"), Cause::Status { status: 400 }),
                "user_show at ipa.example.org: the server answered with HTTP status 400; it refuses the Referer: give the server's own full name",
            ),
        ];
        for (error, text) in texts {
            assert_eq!(error.to_string(), text);
            assert!(!format!("{error:?}").contains("anna"));
        }
    }
}
