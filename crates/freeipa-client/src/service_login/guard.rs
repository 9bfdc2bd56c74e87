//! What keeps several processes together from locking the account that each of them logs in with.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::outcome::LoginRejected;

/// What the processes that log in with one account know together of its passwords: a program fills it in, with whatever store its
/// processes share, and gives it to [`Settings::login_guard`](crate::Settings::login_guard).
///
/// The client asks it before each login with a password, after its own rule has allowed it, and tells it what came of the login. Without
/// one each process goes by its own rule alone: two wrong attempts in 10 minutes for each, and an account is locked after six of all.
///
/// A guard whose store is away says [`Go`](LoginLeave::Go): the rule of the process still stands.
#[async_trait]
pub trait LoginGuard: fmt::Debug + Send + Sync {
    /// Whether this attempt may be made now.
    ///
    /// # Cancel safety
    /// Dropped, it may have given a leave that nobody uses: the guard lets that end by itself.
    async fn admit(&self, attempt: &LoginAttempt) -> LoginLeave;

    /// What came of an attempt that it let go, by the ticket that it gave. An attempt whose process dies is never settled.
    async fn settle(&self, attempt: &LoginAttempt, ticket: &str, verdict: LoginVerdict);
}

/// A login that is about to be tried with a password.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginAttempt {
    /// The login of the account.
    pub login: String,
    /// The password. Nothing that a guard keeps may let anybody guess it.
    pub password: SecretString,
    /// How long it takes at most, once it may be made.
    pub within: Duration,
}

/// Whether an attempt may be made.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LoginLeave {
    /// Others are trying the account, and nobody knows yet what comes of it: ask again soon.
    Busy,
    /// Yes. The ticket is what the guard knows this attempt by.
    Go {
        /// Any text.
        ticket: String,
    },
    /// No: this password was refused a while ago.
    Refused(EarlierRefusal),
    /// No: so many attempts with any password came to nothing that one more may lock the account.
    Spent {
        /// How long nobody may try.
        wait: Duration,
    },
    /// No: of the last attempts nobody knows whether the password was refused, and so they are made with pauses.
    Unclear {
        /// How long nobody may try.
        wait: Duration,
    },
}

/// A refusal that somebody else met, with the same login and password.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(clippy::exhaustive_structs)] // Guards make it.
pub struct EarlierRefusal {
    /// Why it was refused.
    pub why: LoginRejected,
    /// Who met it, for people: a host and a process.
    pub by: String,
    /// How long ago.
    pub ago: Duration,
    /// How long nobody tries again.
    pub wait: Duration,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LoginVerdict {
    /// The account is logged in: the server counts its wrong passwords anew.
    Accepted,
    /// The server said nothing about the password.
    Nothing,
    /// The server refused it.
    Rejected {
        /// Why.
        why: LoginRejected,
        /// How long this process does not try again.
        wait: Duration,
    },
    /// The password was sent, and whether it was refused is not known: the answer was lost, or the server failed.
    Unclear,
}

impl LoginAttempt {
    /// An attempt as a guard is asked about.
    pub fn new(login: impl Into<String>, password: impl Into<SecretString>, within: Duration) -> Self {
        Self { login: login.into(), password: password.into(), within }
    }
}

impl fmt::Display for EarlierRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, by, ago, wait } = self;
        write!(
            f,
            "the service account was rejected {} ago at {by}: {why}; this password is not tried again for {}",
            Spell(*ago),
            Spell(*wait)
        )
    }
}

/// Minutes or seconds, as people say it.
pub(super) struct Spell(pub(super) Duration);

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..=119 => write!(f, "{seconds} s"),
            seconds => write!(f, "{} min", seconds / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_it_learns_who_when_why_and_how_long() {
        let refusal = EarlierRefusal {
            why: LoginRejected::WrongPassword,
            by: "node1:4711".to_owned(),
            ago: Duration::from_secs(185),
            wait: Duration::from_secs(90),
        };
        assert_eq!(
            refusal.to_string(),
            "the service account was rejected 3 min ago at node1:4711: wrong password: correct it; this password is not tried again for 90 s"
        );
    }
}
