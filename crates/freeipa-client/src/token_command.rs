//! Tokens from a program.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::credentials::{Negotiate, NegotiateError};

/// How long the program may take: it asks a KDC, or two.
const LONGEST: Duration = Duration::from_secs(20);

/// More than the largest ticket.
const MOST_BYTES: u64 = 64 << 10;

/// Takes tokens from a program, so that a keytab can be used without GSSAPI in this process.
///
/// The program is called with the service as its last argument, `HTTP@ipa.example.org`, and prints one token in Base64: what the first
/// step of GSSAPI's initiator gives for that host-based service. It inherits the environment, in which `KRB5_CLIENT_KTNAME`
/// names the keytab and `KRB5CCNAME` where tickets are kept. It is called once a login, which is about once a day, and is ended after 20 s.
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

    fn run(&self, host: &str) -> Result<Vec<u8>, String> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(format!("HTTP@{host}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("it cannot be started: {error}"))?;
        let deadline = Instant::now() + LONGEST;
        let printed = printed(&mut child, deadline);
        let status = ended(&mut child, deadline)?;
        if !status.success() {
            return Err(format!("it failed: {status}"));
        }
        let token =
            BASE64_STANDARD.decode(printed?.trim_ascii()).map_err(|_| "it printed no Base64".to_owned())?;
        if token.is_empty() { Err("it printed nothing".to_owned()) } else { Ok(token) }
    }
}

/// What the program prints, until it closes its output.
fn printed(child: &mut Child, deadline: Instant) -> Result<Vec<u8>, String> {
    let output = child.stdout.take().ok_or("it has no output")?;
    let (sender, receiver) = mpsc::channel();
    // By itself: a descendant of the program may keep the pipe open for as long as it likes.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(MOST_BYTES).read_to_end(&mut bytes);
        // Nobody may be waiting any more.
        let _ = sender.send(read.map(|_| bytes));
    });
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(read) => read.map_err(|error| format!("its output cannot be read: {error}")),
        Err(_) => Err(late()),
    }
}

/// How the program ended; it does, be it that it has to.
fn ended(child: &mut Child, deadline: Instant) -> Result<std::process::ExitStatus, String> {
    let unknown = |error: std::io::Error| format!("it cannot be waited for: {error}");
    loop {
        if let Some(status) = child.try_wait().map_err(unknown)? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // It may have ended in between.
            let _ = child.kill();
            child.wait().map_err(unknown)?;
            return Err(late());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn late() -> String {
    format!("it took longer than {} s", LONGEST.as_secs())
}

impl Negotiate for TokenCommand {
    fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError> {
        self.run(host).map_err(|reason| NegotiateError::new(format_args!("{}: {reason}", self.program)))
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
    fn one_that_prints_without_end_is_ended_by_its_pipe() {
        assert!(shell("exec yes").is_err());
    }
}
