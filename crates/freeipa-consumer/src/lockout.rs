//! What keeps all consumers and checks together from locking the service account.
//!
//! FreeIPA locks an account after six wrong passwords, whoever sends them. One process tries a wrong one once and then not for ten
//! minutes; a supervisor that starts it again and again, several instances, and checks by hand add up. So each asks here first:
//!
//! - A password that the directory refused is tried by nobody for as long as it is not tried by the one who met that. Another
//!   password is tried at once.
//! - An account that is not known to be well is tried by one at a time, so that N who start with the same wrong password make one
//!   attempt. While it is well, three at a time.
//! - Whatever the passwords: no more than [`MOST`] attempts of ten minutes are refused, or under way, or came to nothing that anybody
//!   knows: their process died, or the answer was lost, or the server failed. That is the bound that holds, and it is one less than what
//!   locks the account.
//! - After two of which nothing is known the next follow evenly, one in two and a half minutes: a server that is back is noticed as soon,
//!   and with the right password nothing is held against anybody any more.
//!
//! It is Valkey's clock that counts. While Valkey is away each process goes by its own rule, which the client has: two attempts.

use std::time::Duration;

use async_trait::async_trait;
use freeipa_client::secrecy::ExposeSecret as _;
use freeipa_client::{
    EarlierRefusal, LoginAttempt, LoginGuard, LoginLeave, LoginRejected, LoginVerdict, SHORTEST_LOGIN_PAUSE,
};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use valkey_connection::{Connection, Reply};

use crate::scripts::{ADMIT, SETTLE};
use crate::telemetry::{self, HeldBack};

/// Attempts that may come to nothing in ten minutes, all in all: the sixth locks the account.
const MOST: u32 = 5;
/// Attempts at the same time while the account is known to be well. All may be refused at once if its password has just been changed,
/// and then there is room for the right one.
const ABREAST: u32 = 3;
/// What an attempt may take beyond its time limit.
const GRACE: Duration = Duration::from_secs(5);
/// How long a login waits for Valkey before it goes by the rule of this process, at most; it also leaves time for the login itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known in Valkey of the service account's logins.
#[derive(Clone, Debug)]
pub(crate) struct Lockout {
    connection: Connection,
    prefix: String,
    by: String,
    insists: bool,
}

/// What the script says.
enum Said {
    Leave(LoginLeave),
    NotOurs,
}

impl Lockout {
    /// Under this prefix.
    pub(crate) fn new(connection: Connection, prefix: impl Into<String>) -> Self {
        Self { connection, prefix: prefix.into(), by: this_process(), insists: false }
    }

    /// Tries a password also if it was refused: somebody says that it is right now.
    pub(crate) fn insisting(mut self, insists: bool) -> Self {
        self.insists = insists;
        self
    }

    fn key(&self, login: &str) -> String {
        format!("{}login:{login}", self.prefix)
    }

    async fn ask(&self, attempt: &LoginAttempt, ticket: &str) -> Result<Said, valkey_connection::Error> {
        let call = ADMIT
            .call()
            .key(self.key(&attempt.login))
            .arg(ticket)
            .arg(fingerprint(&self.prefix, attempt))
            .arg(milliseconds(attempt.within + GRACE))
            .arg(milliseconds(SHORTEST_LOGIN_PAUSE))
            .arg(MOST)
            .arg(ABREAST)
            .arg(u32::from(self.insists));
        let mut said = self.connection.invoke(call).await?.into_array()?.into_iter();
        let mut next = || said.next().unwrap_or(Reply::Nil);
        let span = |reply: Reply| reply.as_int().map(|ms| Duration::from_millis(ms.unsigned_abs()));
        Ok(Said::Leave(match next().as_int()? {
            0 => LoginLeave::Go { ticket: ticket.to_owned() },
            1 => {
                let (why, by) = (next().into_string()?, next().into_string()?);
                let (ago, wait) = (span(next())?, span(next())?);
                LoginLeave::Refused(EarlierRefusal { why: of_word(&why), by, ago, wait })
            }
            2 => LoginLeave::Busy,
            3 => LoginLeave::Spent { wait: span(next())? },
            4 => LoginLeave::Unclear { wait: span(next())? },
            _ => return Ok(Said::NotOurs),
        }))
    }
}

#[async_trait]
impl LoginGuard for Lockout {
    async fn admit(&self, attempt: &LoginAttempt) -> LoginLeave {
        let ticket = format!("{:032x}", rand::random::<u128>());
        match timeout(patience(attempt), self.ask(attempt, &ticket)).await {
            Ok(Ok(Said::Leave(leave))) => {
                match &leave {
                    LoginLeave::Refused(_) => telemetry::login_held_back(HeldBack::Refused),
                    LoginLeave::Spent { .. } => telemetry::login_held_back(HeldBack::Spent),
                    LoginLeave::Unclear { .. } => telemetry::login_held_back(HeldBack::Unclear),
                    _ => {}
                }
                leave
            }
            Ok(Ok(Said::NotOurs)) => {
                let key = self.key(&attempt.login);
                alone(&format_args!("{key} holds something else; remove it, or change key_prefix"), ticket)
            }
            Ok(Err(error)) => alone(&error, ticket),
            Err(_) => alone(&"no answer in time", ticket),
        }
    }

    async fn settle(&self, attempt: &LoginAttempt, ticket: &str, verdict: LoginVerdict) {
        let (word, why, wait) = match verdict {
            LoginVerdict::Accepted => ("accepted", None, Duration::ZERO),
            LoginVerdict::Unclear => ("unclear", None, Duration::ZERO),
            // The others may try: the directory has not looked at the password.
            LoginVerdict::Rejected { why, wait } if why.may_lock() => ("rejected", Some(why), wait),
            _ => ("nothing", None, Duration::ZERO),
        };
        let call = SETTLE
            .call()
            .key(self.key(&attempt.login))
            .arg(ticket)
            .arg(word)
            .arg(milliseconds(SHORTEST_LOGIN_PAUSE))
            .arg(fingerprint(&self.prefix, attempt))
            .arg(milliseconds(wait))
            .arg(why.map_or("none", LoginRejected::as_str))
            .arg(self.by.as_str());
        let told = timeout(patience(attempt), self.connection.invoke(call)).await;
        match told.as_ref().map(|told| told.as_ref().err()) {
            Ok(None) => {}
            Ok(Some(error)) => {
                tracing::warn!(%error, "what came of the service account's login could not be told to the others");
            }
            Err(_) => {
                tracing::warn!("what came of the service account's login was not told to the others in time");
            }
        }
    }
}

/// By the rule of this process alone.
fn alone(why: &dyn std::fmt::Display, ticket: String) -> LoginLeave {
    telemetry::login_held_back(HeldBack::Unasked);
    tracing::warn!(
        %why,
        "what others know of the service account's login could not be asked: this process goes by its own rule"
    );
    LoginLeave::Go { ticket }
}

/// By what the passwords of an account are told apart: 16 bits, and no more. Whoever reads them learns next to nothing, for one password
/// of 65,536 has the same, so no list of guesses gets short enough to be of use against an account that locks itself; and a new
/// password is mistaken for a refused one as rarely, which costs it ten minutes. The salt makes those of other accounts and
/// deployments differ.
fn fingerprint(prefix: &str, attempt: &LoginAttempt) -> String {
    let mut hash = Sha256::new();
    for part in ["freeipa-consumer service login", prefix, &attempt.login, attempt.password.expose_secret()] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    format!("{:02x}{:02x}", hash[0], hash[1])
}

fn of_word(word: &str) -> LoginRejected {
    LoginRejected::ALL.into_iter().find(|why| why.as_str() == word).unwrap_or(LoginRejected::Unrecognized)
}

fn patience(attempt: &LoginAttempt) -> Duration {
    PATIENCE.min(attempt.within / 4)
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).min(1 << 52)
}

/// A word that people find the process by: its host and number.
fn this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let host: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(64).collect();
    format!("{}:{}", if host.is_empty() { "unknown" } else { &host }, std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_passwords_accounts_and_deployments_apart_and_is_short() {
        let of = |prefix, login: &str, password: &str| {
            fingerprint(prefix, &LoginAttempt::new(login, password, Duration::ZERO))
        };
        let one = of("freeipa:reg:", "svc", "correct horse");
        assert_eq!(one.len(), 4);
        assert_eq!(one, of("freeipa:reg:", "svc", "correct horse"));
        for other in [
            of("freeipa:reg:", "svc", "correct horsf"),
            of("freeipa:reg:", "svc2", "correct horse"),
            of("other:", "svc", "correct horse"),
            of("freeipa:reg:", "svcc", "orrect horse"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn this_process_is_one_word() {
        let word = this_process();
        assert!(
            word.ends_with(&format!(":{}", std::process::id())) && !word.contains(char::is_whitespace),
            "{word}"
        );
    }

    #[test]
    fn reasons_come_back_as_they_were_and_new_ones_as_unknown() {
        for why in LoginRejected::ALL {
            assert_eq!(of_word(why.as_str()), why);
        }
        assert_eq!(of_word("of a newer release"), LoginRejected::Unrecognized);
    }
}
