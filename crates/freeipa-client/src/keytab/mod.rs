//! Logins with a keytab.
//!
//! ```text
//!  this process ── starts itself once more, with KRB5_CLIENT_KTNAME and KRB5CCNAME ──► helper ── GSSAPI ──► KDC
//!       ▲                                                                                │
//!       └──────────────── one line: the token, or a code of Kerberos ────────────────────┘
//! ```

mod code;
mod helper;

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use self::helper::Said;
use crate::negotiate::{Negotiate, NegotiateError, NegotiateFault};
use crate::program::{self, Failed, LONGEST};

/// The program that this process runs, once it has said that it can be its own helper.
static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Tickets kept in the memory of the helper: they go with it.
const IN_MEMORY: &str = "MEMORY:";

/// Logs in with a keytab: the long-term key of an account, in a file that `ipa-getkeytab` writes. The service account then has no
/// password that somebody could read, guess or let expire.
///
/// GSSAPI, the C library of Kerberos, does the work, as `/etc/krb5.conf` says. It runs in a process of its own, which is this program
/// started once more, about once a day: GSSAPI is told of the keytab by variables of its environment, which a process with threads cannot
/// set safely; and it waits for a KDC that does not answer as long as it likes, while a process can be ended. It is, after 20 s. So
/// a program that uses this begins with [`Keytab::answer_if_helper`].
///
/// ```no_run
/// use std::process::ExitCode;
/// use std::sync::Arc;
/// use freeipa_client::{Client, Credentials, Keytab, Server, Settings};
///
/// fn main() -> ExitCode {
///     if let Some(exit) = Keytab::answer_if_helper() {
///         return exit;
///     }
///     match client() {
///         Ok(_client) => ExitCode::SUCCESS, // ..
///         Err(_) => ExitCode::FAILURE,
///     }
/// }
///
/// fn client() -> Result<Client, Box<dyn std::error::Error>> {
///     let keytab = Keytab::new("/etc/registrar.keytab")?.principal("registrar/app.example.org");
///     let settings = Settings::new(Credentials::Negotiate(Arc::new(keytab))).server(Server::new("ipa.example.org")?);
///     Ok(Client::new(&settings)?)
/// }
/// ```
///
/// Each login gets new tickets, so there is nothing to renew: when the session with the server ends, which is when the ticket behind
/// it does, the next call logs in again.
///
/// # Errors
/// [`Negotiate::token`] blocks for at most 20 s, and says in a [`NegotiateFault`] whose business it is: `Credentials` for a file that is
/// missing, may not be read, is no keytab or has no such principal in it; `Rejected` for a key that the account does not have any more,
/// and for an account that is unknown, disabled or expired; `Unavailable` for a KDC that does not answer; `Configuration` for a server that
/// the realm does not know, a realm that nobody knows, and clocks that do not agree. No error holds a key or a ticket.
#[derive(Clone, Debug)]
pub struct Keytab {
    file: PathBuf,
    principal: Option<String>,
    cache: OsString,
}

/// This program cannot be the helper of its own keytab logins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this program was not made for logins with a keytab: its `main` has to begin with `Keytab::answer_if_helper`"
)]
pub struct NoTokenHelper(());

impl Keytab {
    /// What `main` begins with, before it looks at its arguments and starts threads. `None`: go on. `Some`: this process was
    /// started to get one token, has done so, and ends with that status.
    ///
    /// ```no_run
    /// # use std::process::ExitCode;
    /// fn main() -> ExitCode {
    ///     if let Some(exit) = freeipa_client::Keytab::answer_if_helper() {
    ///         return exit;
    ///     }
    ///     // ..
    ///     ExitCode::SUCCESS
    /// }
    /// ```
    #[must_use = "a helper that goes on does what the program does, a second time"]
    pub fn answer_if_helper() -> Option<ExitCode> {
        let answered = helper::answer();
        // A helper that goes on nevertheless is to start no further ones.
        if answered.is_none()
            && let Ok(program) = std::env::current_exe()
        {
            let _ = HELPER.set(program);
        }
        answered
    }

    /// This file. It is looked at when a login needs it, so that a new one is taken without a restart.
    ///
    /// # Errors
    /// [`NoTokenHelper`]: this program did not begin with [`answer_if_helper`](Self::answer_if_helper).
    pub fn new(file: impl Into<PathBuf>) -> Result<Self, NoTokenHelper> {
        HELPER.get().ok_or(NoTokenHelper(()))?;
        Ok(Self { file: file.into(), principal: None, cache: IN_MEMORY.into() })
    }

    /// Logs in as this principal, `registrar/app.example.org` or `svc-registrar`, with or without its realm. Otherwise as the first
    /// that the file has.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Keeps tickets in this cache, such as `FILE:/run/registrar/tickets`, and uses what is in it. Otherwise nothing is kept.
    #[must_use]
    pub fn cache(mut self, cache: impl Into<OsString>) -> Self {
        self.cache = cache.into();
        self
    }

    /// The environment of the helper: for whom, as whom, with what.
    fn command(&self, program: &Path, host: &str) -> Command {
        let mut keytab = OsString::from("FILE:");
        keytab.push(&self.file);
        let mut command = Command::new(program);
        helper::ask(&mut command, host, self.principal.as_deref());
        command.env("KRB5_CLIENT_KTNAME", keytab).env("KRB5CCNAME", &self.cache);
        command
    }

    fn fault(&self, fault: NegotiateFault, reason: &str) -> NegotiateError {
        NegotiateError::with_fault(fault, format_args!("{}: {reason}", self.file.display()))
    }

    /// Whether the file can be read and is a keytab. GSSAPI says of all of these that there are no credentials.
    fn look(&self) -> Result<(), NegotiateError> {
        let mut format = [0; 2];
        let read = std::fs::File::open(&self.file).and_then(|mut file| file.read_exact(&mut format));
        let reason = match read {
            // 5, then the version of the format.
            Ok(()) if format[0] == 5 => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                "there is no such file: fetch one with `ipa-getkeytab -p ACCOUNT -k FILE`, or correct the name".to_owned()
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                "this user may not read it: give it to the user that runs this, with mode 0600".to_owned()
            }
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => format!("it cannot be read: {error}"),
            Ok(()) | Err(_) => {
                "it is no keytab: fetch one with `ipa-getkeytab -p ACCOUNT -k FILE`".to_owned()
            }
        };
        Err(self.fault(NegotiateFault::Credentials, &reason))
    }
}

impl Negotiate for Keytab {
    fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError> {
        self.look()?;
        let broken = |reason: &str| self.fault(NegotiateFault::Credentials, reason);
        let program = HELPER.get().ok_or_else(|| broken(&NoTokenHelper(()).to_string()))?;
        let failed = |failed| match failed {
            Failed::Late => self.fault(
                NegotiateFault::Unavailable,
                &format!("no ticket came within {} s: see that the KDC answers", LONGEST.as_secs()),
            ),
            Failed::Otherwise(reason) => broken(&format!("the helper that gets the token: {reason}")),
        };
        let ended = program::run(&mut self.command(program, host)).map_err(failed)?;
        match helper::read(&ended.printed.map_err(failed)?) {
            Some(Said::Token(token)) => Ok(token),
            Some(Said::Error { code, text }) => {
                let (fault, remedy) = code::meaning(code);
                Err(self.fault(fault, &format!("{text}; {remedy}")))
            }
            None => Err(broken(&format!("the helper that gets the token said nothing ({})", ended.status))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn keytab(file: &str) -> Keytab {
        Keytab { file: file.into(), principal: None, cache: IN_MEMORY.into() }
    }

    #[test]
    fn a_program_that_did_not_begin_with_it_gets_none() {
        assert_eq!(Keytab::new("/etc/krb5.keytab").unwrap_err(), NoTokenHelper(()));
    }

    #[test]
    fn what_is_no_keytab_is_said_before_anybody_is_asked() {
        let error = keytab("/nowhere/at-all").token("ipa.example.test").unwrap_err();
        assert_eq!(error.fault(), NegotiateFault::Credentials);
        assert!(error.to_string().contains("/nowhere/at-all: there is no such file"), "{error}");
        for file in ["/dev/null", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
            let error = keytab(file).token("ipa.example.test").unwrap_err();
            assert!(error.to_string().contains("it is no keytab"), "{error}");
        }
    }

    #[test]
    fn the_helper_is_told_by_its_environment_and_by_nothing_else() {
        let keytab = keytab("/etc/k").principal("registrar/app").cache("FILE:/run/c");
        let command = keytab.command(Path::new("/bin/app"), "ipa.example.test");
        assert_eq!(command.get_args().count(), 0);
        let is_set = |value: &str| command.get_envs().any(|(_, set)| set == Some(value.as_ref()));
        for value in ["FILE:/etc/k", "FILE:/run/c", "HTTP@ipa.example.test", "registrar/app"] {
            assert!(is_set(value), "{value}");
        }
    }
}
