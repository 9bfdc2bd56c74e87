//! Who logs in, and with what.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

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
    /// With Kerberos, at `/ipa/session/login_kerberos`. Where tickets come from is the program's business; see
    /// [`Negotiate`].
    Negotiate(Arc<dyn Negotiate>),
}

/// Where the tokens for a login with Kerberos come from: a keytab or a credentials cache, through whatever binding of GSSAPI the
/// program has. This crate brings none, since each of them needs the C library and its headers to build; a program of its own can stand in
/// for it: [`TokenCommand`](crate::TokenCommand).
///
/// ```
/// use std::sync::Arc;
/// use freeipa_client::{Credentials, Negotiate, NegotiateError};
///
/// /// The keytab that KRB5_CLIENT_KTNAME names.
/// #[derive(Debug)]
/// struct Keytab;
///
/// impl Negotiate for Keytab {
///     fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError> {
///         // With GSSAPI: import `HTTP@host` as a host-based service, start an initiator's context for it with the
///         // mechanism SPNEGO or krb5, and return what its first step gives.
///         first_step(&format!("HTTP@{host}")).map_err(NegotiateError::new)
///     }
/// }
///
/// let credentials = Credentials::Negotiate(Arc::new(Keytab));
/// # fn first_step(_service: &str) -> Result<Vec<u8>, std::io::Error> { Ok(vec![0x60]) }
/// ```
pub trait Negotiate: fmt::Debug + Send + Sync {
    /// The first token for the service `HTTP` at `host`, the server's own name. It may block: it runs where that harms nobody.
    ///
    /// # Errors
    /// [`NegotiateError`] if there is no ticket to be had.
    fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError>;
}

/// There is no token for a login with Kerberos.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no token for the login with Kerberos: {reason}")]
pub struct NegotiateError {
    reason: Arc<str>,
}

impl NegotiateError {
    /// With the reason that the binding of GSSAPI gives. It is shown to operators: it must hold no secret.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string().into() }
    }
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
