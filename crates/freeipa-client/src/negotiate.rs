//! Tokens for a login with Kerberos: who gives them, and why there may be none.

use std::fmt;
use std::sync::Arc;

use crate::service_login::LoginRejected;

/// Where the tokens for a login with Kerberos come from.
///
/// There are two of them here: `Keytab`, with the feature `keytab`, and [`TokenCommand`](crate::TokenCommand), which asks a program.
/// A program that has a binding of GSSAPI of its own can be a third:
///
/// ```
/// use std::sync::Arc;
/// use freeipa_client::{Credentials, Negotiate, NegotiateError, NegotiateFault};
///
/// /// The tickets that somebody else keeps in the default cache.
/// #[derive(Debug)]
/// struct Tickets;
///
/// impl Negotiate for Tickets {
///     fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError> {
///         // With GSSAPI: import `HTTP@host` as a host-based service, start an initiator's context for it with the
///         // mechanism SPNEGO, and return what its first step gives.
///         first_step(&format!("HTTP@{host}"))
///             .map_err(|error| NegotiateError::with_fault(NegotiateFault::Unavailable, error))
///     }
/// }
///
/// let credentials = Credentials::Negotiate(Arc::new(Tickets));
/// # fn first_step(_service: &str) -> Result<Vec<u8>, std::io::Error> { Ok(vec![0x60]) }
/// ```
pub trait Negotiate: fmt::Debug + Send + Sync {
    /// The first token for the service `HTTP` at `host`, the server's own name. It may block: it runs where that harms nobody. It should
    /// end within seconds all the same, for the login waits for it.
    ///
    /// # Errors
    /// [`NegotiateError`] if there is no ticket to be had.
    fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError>;
}

/// There is no token for a login with Kerberos.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no token for the login with Kerberos: {reason}")]
pub struct NegotiateError {
    fault: NegotiateFault,
    reason: Arc<str>,
}

/// Who has to do something about it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NegotiateFault {
    /// Whoever holds what the account logs in with: it is not there, or of no use. Nobody was asked.
    Credentials,
    /// Whoever runs the KDC: it does not answer. It comes back by itself.
    Unavailable,
    /// Whoever set it up: a name, a realm, a clock.
    Configuration,
    /// The KDC was asked and refuses the account. That counts as a rejected login, for it may bring an account nearer to being locked.
    Rejected(LoginRejected),
}

impl NegotiateError {
    /// With the reason that the source gives, as a fault of the [credentials](NegotiateFault::Credentials). It is shown to
    /// operators: it must hold no secret.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self::with_fault(NegotiateFault::Credentials, reason)
    }

    /// The same with another fault.
    pub fn with_fault(fault: NegotiateFault, reason: impl fmt::Display) -> Self {
        Self { fault, reason: reason.to_string().into() }
    }

    /// Who has to do something about it.
    pub fn fault(&self) -> NegotiateFault {
        self.fault
    }
}
