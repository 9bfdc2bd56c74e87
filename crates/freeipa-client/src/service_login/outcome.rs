//! What the server's answer to a login means: the table.

use std::time::Duration;

use super::guard::{EarlierRefusal, Spell};
use crate::negotiate::NegotiateError;
use crate::transport::TransportError;

/// What became of a login.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginOutcome {
    /// There is a session.
    Accepted,
    /// Not with these credentials. Trying again may lock the account.
    Rejected(LoginRejected),
    /// Not now. It says nothing about the credentials.
    Unavailable(LoginUnavailable),
    /// The request is not from where the server wants it (`Referer`): the name is not the server's own.
    WrongName,
    /// There is nothing of FreeIPA at this name.
    NoSuchPath,
}

/// Why the server does not let the service account in.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum LoginRejected {
    /// The password is wrong.
    #[error("wrong password: correct it")]
    WrongPassword,
    /// There is no such account.
    #[error("no such account: correct the login, or make the account")]
    UnknownAccount,
    /// The account is disabled, or locked after wrong passwords. The server does not always say which.
    #[error(
        "the account is disabled, or locked: `ipa user-status` tells, `ipa user-unlock` or `ipa user-enable` helps"
    )]
    Revoked,
    /// The password is temporary or has expired.
    #[error(
        "the password is temporary or has expired: set one that lasts, and exempt the account from expiry"
    )]
    PasswordExpired,
    /// The account itself has expired.
    #[error("the account has expired: `ipa user-mod --principal-expiration` helps")]
    AccountExpired,
    /// The keytab has another key than the account: somebody has fetched or set a new one since.
    #[error("the keytab has an old key, or another account's: fetch a new one with `ipa-getkeytab`")]
    WrongKey,
    /// The server does not take the ticket that the KDC gave.
    #[error(
        "the server does not take the ticket: see that all clocks agree, and that the server's own keytab is sound"
    )]
    TicketRefused,
    /// The server knows the account and refuses it, or cannot read its name.
    #[error(
        "the server refuses the account: check its login, its realm and its rights, and that no stage user has the same login"
    )]
    Denied,
    /// The server gives a reason that is none of the known ones.
    #[error("the server gives a reason that is not known here: read its httpd error log")]
    Unrecognized,
}

impl LoginRejected {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::WrongPassword,
        Self::UnknownAccount,
        Self::Revoked,
        Self::PasswordExpired,
        Self::AccountExpired,
        Self::WrongKey,
        Self::TicketRefused,
        Self::Denied,
        Self::Unrecognized,
    ];

    /// One word, for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::UnknownAccount => "unknown_account",
            Self::Revoked => "revoked",
            Self::PasswordExpired => "password_expired",
            Self::AccountExpired => "account_expired",
            Self::WrongKey => "wrong_key",
            Self::TicketRefused => "ticket_refused",
            Self::Denied => "denied",
            Self::Unrecognized => "unrecognized",
        }
    }

    /// Whether such attempts may lock the account: the server has looked at the password, and found it wrong, or may have.
    #[must_use]
    pub const fn may_lock(self) -> bool {
        matches!(self, Self::WrongPassword | Self::Unrecognized)
    }
}

/// Why the server cannot log anybody in at the moment.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum LoginUnavailable {
    /// The server cannot reach its KDC.
    #[error("the server cannot reach its KDC")]
    Kdc,
    /// The server cannot reach its directory.
    #[error("the server cannot reach its directory")]
    Directory,
    /// The server fails.
    #[error("the server answered with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The server accepted the login, and gave no session.
    #[error("the server accepted the login, and gave no session")]
    NoSession,
    /// Other processes are trying the account, and nothing has come of it yet.
    #[error("others are trying the service account, one after the other")]
    Busy,
    /// The program that runs the login is shutting down.
    #[error("the login was interrupted")]
    Interrupted,
}

/// There is no session.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    /// The server rejected the credentials, now or a while ago. Nobody tries again before the time is over or the
    /// credentials are [replaced](crate::Client::replace_credentials).
    #[error("the service account was rejected: {why}; the next attempt is in {} s at the earliest", wait.as_secs())]
    Rejected {
        /// Why.
        why: LoginRejected,
        /// How long nobody tries.
        wait: Duration,
    },
    /// Another process was rejected with the same password a while ago, says the [guard](crate::LoginGuard). Nothing was tried.
    #[error("{0}")]
    RejectedEarlier(EarlierRefusal),
    /// So many logins came to nothing, in all processes together, that one more may lock the account, says the
    /// [guard](crate::LoginGuard). Nothing was tried.
    #[error(
        "too many logins of the service account came to nothing, with any password: one more may lock it; the next attempt is in {} at the earliest",
        Spell(*wait)
    )]
    Spent {
        /// How long nobody tries.
        wait: Duration,
    },
    /// The password was sent so often without an answer that says whether it was refused, that one more may lock the account. Nothing
    /// was tried.
    #[error(
        "no answer has said whether the last logins of the service account were refused: a broken connection, or a server that fails; so that they lock nothing, the next attempt is in {} at the earliest",
        Spell(*wait)
    )]
    Unclear {
        /// How long nobody tries.
        wait: Duration,
    },
    /// The server cannot log anybody in at the moment.
    #[error("no login at the moment: {0}")]
    Unavailable(LoginUnavailable),
    /// The server has another name.
    #[error("the server refuses the Referer: give its own full name, as `hostname -f` prints it there")]
    WrongName,
    /// There is nothing of FreeIPA at this name.
    #[error("the server knows no FreeIPA, or sends elsewhere: check its name")]
    NoSuchPath,
    /// The login did not get there, or its answer did not get here. In the second case it may have been a rejection.
    #[error("no login: {0}")]
    Transport(#[source] TransportError),
    /// There is no ticket to log in with.
    #[error(transparent)]
    Negotiate(NegotiateError),
}

/// What an answer to a login means.
///
/// The reason alone does not tell: `invalid-password` is also what the server says when its KDC is down, when its directory
/// is, and when the account is locked. So the text counts, too.
///
/// ```
/// use freeipa_client::{LoginOutcome, LoginRejected, LoginUnavailable, login_outcome};
///
/// let wrong = "kinit: Password incorrect while getting initial credentials";
/// let down = "kinit: Cannot contact any KDC for realm 'EXAMPLE.ORG'";
/// let reason = Some("invalid-password");
/// assert_eq!(login_outcome(401, reason, wrong), LoginOutcome::Rejected(LoginRejected::WrongPassword));
/// assert_eq!(login_outcome(401, reason, down), LoginOutcome::Unavailable(LoginUnavailable::Kdc));
/// ```
#[must_use]
pub fn login_outcome(status: u16, reason: Option<&str>, body: &str) -> LoginOutcome {
    match status {
        200 => LoginOutcome::Accepted,
        400 => LoginOutcome::WrongName,
        301..=308 | 404 => LoginOutcome::NoSuchPath,
        401 => unauthorized(reason, body),
        status => LoginOutcome::Unavailable(LoginUnavailable::Status { status }),
    }
}

fn unauthorized(reason: Option<&str>, body: &str) -> LoginOutcome {
    // What says nothing about the account comes first: it goes by the name of a wrong password.
    if body.contains("Cannot contact any KDC") {
        return LoginOutcome::Unavailable(LoginUnavailable::Kdc);
    }
    if body.contains("Generic error (see e-text)") {
        return LoginOutcome::Unavailable(LoginUnavailable::Directory);
    }
    LoginOutcome::Rejected(match reason {
        Some("password-expired") => LoginRejected::PasswordExpired,
        Some("krbprincipal-expired") => LoginRejected::AccountExpired,
        Some("user-locked" | "account disabled") => LoginRejected::Revoked,
        Some("denied") => LoginRejected::Denied,
        Some("invalid-password") if body.contains("credentials have been revoked") => LoginRejected::Revoked,
        Some("invalid-password") if body.contains("not found in Kerberos database") => {
            LoginRejected::UnknownAccount
        }
        Some("invalid-password") if body.contains("entry in database has expired") => {
            LoginRejected::AccountExpired
        }
        Some("invalid-password")
            if body.contains("Password incorrect") || body.contains("Preauthentication failed") =>
        {
            LoginRejected::WrongPassword
        }
        _ => LoginRejected::Unrecognized,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> String {
        format!(
            "<html>\n<head>\n<title>401 Unauthorized</title>\n</head>\n<body>\n<p>\n<strong>{text}</strong>\n</p>\n</body>\n</html>"
        )
    }

    #[test]
    fn the_table() {
        use LoginOutcome::{Accepted, NoSuchPath, Rejected, Unavailable, WrongName};
        let rows = [
            (200, None, "", Accepted),
            (
                401,
                Some("invalid-password"),
                "kinit: Password incorrect while getting initial credentials",
                Rejected(LoginRejected::WrongPassword),
            ),
            (
                401,
                Some("invalid-password"),
                "kinit: Client 'x@IPA.TEST' not found in Kerberos database while getting initial credentials",
                Rejected(LoginRejected::UnknownAccount),
            ),
            (
                401,
                Some("invalid-password"),
                "kinit: Cannot contact any KDC for realm 'IPA.TEST' while getting initial credentials",
                Unavailable(LoginUnavailable::Kdc),
            ),
            (
                401,
                Some("invalid-password"),
                "kinit: Generic error (see e-text) while getting initial credentials",
                Unavailable(LoginUnavailable::Directory),
            ),
            (
                401,
                Some("invalid-password"),
                "kinit: Client's credentials have been revoked while getting initial credentials",
                Rejected(LoginRejected::Revoked),
            ),
            (
                401,
                Some("invalid-password"),
                "kinit: Client&#x27;s credentials have been revoked while getting initial credentials",
                Rejected(LoginRejected::Revoked),
            ),
            (
                401,
                Some("user-locked"),
                "kinit: Client's credentials have been revoked while getting initial credentials",
                Rejected(LoginRejected::Revoked),
            ),
            (
                401,
                Some("password-expired"),
                "kinit: Cannot read password while getting initial credentials",
                Rejected(LoginRejected::PasswordExpired),
            ),
            (
                401,
                Some("krbprincipal-expired"),
                "kinit: Client's entry in database has expired while getting initial credentials",
                Rejected(LoginRejected::AccountExpired),
            ),
            (401, Some("denied"), "Invalid credentials", Rejected(LoginRejected::Denied)),
            (401, Some("account disabled"), "", Rejected(LoginRejected::Revoked)),
            (401, Some("Authentication failed"), "", Rejected(LoginRejected::Unrecognized)),
            (401, Some("invalid-password"), "something new", Rejected(LoginRejected::Unrecognized)),
            (401, None, "", Rejected(LoginRejected::Unrecognized)),
            (400, None, "denied", WrongName),
            (301, None, "", NoSuchPath),
            (404, None, "Not Found", NoSuchPath),
            (500, None, "", Unavailable(LoginUnavailable::Status { status: 500 })),
            (503, None, "", Unavailable(LoginUnavailable::Status { status: 503 })),
            (418, None, "", Unavailable(LoginUnavailable::Status { status: 418 })),
        ];
        for (status, reason, text, outcome) in rows {
            assert_eq!(login_outcome(status, reason, &page(text)), outcome, "{status} {reason:?} {text}");
        }
    }
}
