//! Who logs in, and with what.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::negotiate::Negotiate;

/// How the service logs in.
///
/// The account must be one that may log in without a second factor and whose password does not expire.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// With a password, at `/ipa/session/login_password`.
    Password {
        /// The login of the service account, such as `svc-registrar`.
        login: String,
        /// Its password.
        password: SecretString,
    },
    /// With Kerberos, at `/ipa/session/login_kerberos`. Where tokens come from: see [`Negotiate`].
    Negotiate(Arc<dyn Negotiate>),
}

/// What cannot log in.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCredentials {
    /// No login.
    #[error(
        "the service account has no login: give the name of the account that FreeIPA knows, such as svc-registrar"
    )]
    NoLogin,
    /// No password.
    #[error("the service account has no password: give it, or a file that holds it")]
    NoPassword,
    /// A line break, which no password has, but the end of a file.
    #[error("the password of the service account ends with a line break: cut it off after reading the file")]
    LineBreak,
}

impl Credentials {
    /// A login with a password.
    pub fn password(login: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self::Password { login: login.into(), password: password.into() }
    }

    /// The login of the account, if it is known before the first reply.
    pub fn login(&self) -> Option<&str> {
        match self {
            Self::Password { login, .. } => Some(login),
            Self::Negotiate(_) => None,
        }
    }

    /// Whether they are the same, so that nothing new can come of trying them.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Password { login, password },
                Self::Password { login: other_login, password: other_password },
            ) => login == other_login && password.expose_secret() == other_password.expose_secret(),
            (Self::Negotiate(one), Self::Negotiate(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidCredentials> {
        match self {
            Self::Password { login, .. } if login.trim().is_empty() => Err(InvalidCredentials::NoLogin),
            Self::Password { password, .. } if password.expose_secret().is_empty() => {
                Err(InvalidCredentials::NoPassword)
            }
            Self::Password { password, .. } if password.expose_secret().ends_with(['\n', '\r']) => {
                Err(InvalidCredentials::LineBreak)
            }
            Self::Password { .. } | Self::Negotiate(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { login, .. } => {
                f.debug_struct("Password").field("login", login).finish_non_exhaustive()
            }
            Self::Negotiate(source) => f.debug_tuple("Negotiate").field(source).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let shown = format!("{:?}", Credentials::password("svc", "hunter2"));
        assert!(shown.contains("svc") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_cannot_log_in_is_refused() {
        let check = |login: &str, password: &str| Credentials::password(login, password).check();
        assert_eq!(check("svc", "a b "), Ok(()));
        assert_eq!(check(" ", "x"), Err(InvalidCredentials::NoLogin));
        assert_eq!(check("svc", ""), Err(InvalidCredentials::NoPassword));
        assert_eq!(check("svc", "x\n"), Err(InvalidCredentials::LineBreak));
    }
}
