//! Tokens from a program.

use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::negotiate::{Negotiate, NegotiateError, NegotiateFault};
use crate::program::{self, Failed, LONGEST};

/// The exit status by which a program says that it will go well later: `EX_TEMPFAIL` of sysexits.h.
const LATER: i32 = 75;

/// Takes tokens from a program, so that Kerberos can be used where this crate is built without GSSAPI.
///
/// The program is called with the service as its last argument, `HTTP@ipa.example.org`, and prints one token in Base64: what the first
/// step of GSSAPI's initiator gives for that host-based service. It inherits the environment, in which `KRB5_CLIENT_KTNAME`
/// names the keytab and `KRB5CCNAME` where tickets are kept. It is called once a login, which is about once a day, and is ended after 20 s.
/// Its exit status says what is wrong: 75 that the KDC is away, so that it is worth another try; any other that a person has to look.
/// What it writes to its standard error goes to that of this process.
///
/// ```
/// use std::sync::Arc;
/// use freeipa_client::{Credentials, TokenCommand};
///
/// let command = TokenCommand::new("/usr/local/libexec/spnego-token");
/// let credentials = Credentials::Negotiate(Arc::new(command));
/// ```
#[derive(Clone, Debug)]
pub struct TokenCommand {
    program: String,
    arguments: Vec<String>,
}

impl TokenCommand {
    /// This program, found as a shell would find it.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), arguments: Vec::new() }
    }

    /// Adds an argument before the service. Arguments are seen by everybody on the machine: they are no place for secrets.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    fn run(&self, host: &str) -> Result<Vec<u8>, (NegotiateFault, String)> {
        let failed = |failed| match failed {
            Failed::Late => {
                (NegotiateFault::Unavailable, format!("it took longer than {} s", LONGEST.as_secs()))
            }
            Failed::Otherwise(reason) => (NegotiateFault::Credentials, reason),
        };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(format!("HTTP@{host}"));
        let ended = program::run(&mut command).map_err(failed)?;
        if !ended.status.success() {
            let is_later = ended.status.code() == Some(LATER);
            let fault = if is_later { NegotiateFault::Unavailable } else { NegotiateFault::Credentials };
            return Err((fault, format!("it failed: {}", ended.status)));
        }
        let wrong = |reason: &str| (NegotiateFault::Credentials, reason.to_owned());
        let token = BASE64_STANDARD
            .decode(ended.printed.map_err(failed)?.trim_ascii())
            .map_err(|_| wrong("it printed no Base64"))?;
        if token.is_empty() { Err(wrong("it printed nothing")) } else { Ok(token) }
    }
}

impl Negotiate for TokenCommand {
    fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError> {
        self.run(host).map_err(|(fault, reason)| {
            NegotiateError::with_fault(fault, format_args!("{}: {reason}", self.program))
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shell(script: &str) -> Result<Vec<u8>, String> {
        let command = TokenCommand::new("sh").argument("-c").argument(script).argument("sh");
        command.token("ipa.example.test").map_err(|error| error.to_string())
    }

    #[test]
    fn the_program_gets_the_service_and_prints_the_token() {
        assert_eq!(shell("printf %s \"$1\" | base64").unwrap(), b"HTTP@ipa.example.test");
    }

    #[test]
    fn a_program_that_fails_is_named_and_what_it_printed_is_not_shown() {
        let failed = shell("echo c2VjcmV0; exit 3").unwrap_err();
        assert!(failed.contains("sh: it failed: exit status: 3") && !failed.contains("c2Vj"), "{failed}");
        assert!(shell("echo '!!!'").unwrap_err().ends_with("it printed no Base64"));
        assert!(shell(":").unwrap_err().ends_with("it printed nothing"));
        let missing = TokenCommand::new("/nowhere/at-all").token("x").unwrap_err().to_string();
        assert!(missing.contains("/nowhere/at-all: it cannot be started"), "{missing}");
    }

    #[test]
    fn its_exit_status_tells_an_outage_from_a_fault() {
        let fault = |script: &str| {
            TokenCommand::new("sh").argument("-c").argument(script).token("x").unwrap_err().fault()
        };
        assert_eq!(fault("exit 75"), NegotiateFault::Unavailable);
        assert_eq!(fault("exit 1"), NegotiateFault::Credentials);
        assert_eq!(fault("kill -9 $$"), NegotiateFault::Credentials);
    }

    #[test]
    fn one_that_prints_without_end_is_ended_by_its_pipe() {
        assert!(shell("exec yes").is_err());
    }
}
