//! What can go wrong between here and the server.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

/// The request did not get there, or its answer did not get here.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransportError {
    /// No connection: the name has no address, nobody listens, or nobody answers. Nothing was sent.
    #[error("no connection: {reason}")]
    Connect {
        /// What the system says.
        reason: String,
    },
    /// Whoever answers is not the server, as far as can be told. Nothing was sent.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// No answer in time. The request was sent, or may have been.
    #[error("no answer within {} ms", after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke after the request was sent, or in the middle of the answer.
    #[error("the connection broke before the whole answer was here: {reason}")]
    Lost {
        /// What the connection says.
        reason: String,
    },
    /// The answer is longer than it may be.
    #[error("the answer is longer than {limit} bytes: ask for less, or raise max_reply_bytes")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
}

/// Why a server's certificate is not believed.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateFault {
    /// It comes from an authority that is not trusted.
    #[error(
        "the certificate comes from an authority that is not trusted: give the domain's CA, /etc/ipa/ca.crt on the server"
    )]
    UnknownIssuer,
    /// It is for another name.
    #[error(
        "the certificate is for another name: give the server's own full name, and where to connect to apart from it"
    )]
    WrongName,
    /// Its time has not come, or is over.
    #[error(
        "the certificate is not valid at this time: check the clock here, and the server's certificate with `getcert list`"
    )]
    WrongTime,
    /// Something else is wrong with it.
    #[error("the certificate is refused: {reason}")]
    Other {
        /// What is wrong.
        reason: String,
    },
}

impl TransportError {
    /// Whether the server may have got the request.
    pub fn may_be_sent(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Certificate(_) => false,
            Self::TimedOut { .. } | Self::Lost { .. } | Self::TooLong { .. } => true,
        }
    }

    /// What the HTTP client says, after `waited`.
    pub(crate) fn of(error: &reqwest::Error, waited: Duration) -> Self {
        if error.is_connect() {
            return certificate_fault(error)
                .map_or_else(|| Self::Connect { reason: deepest(error) }, Self::Certificate);
        }
        if error.is_timeout() {
            return Self::TimedOut { after: waited };
        }
        Self::Lost { reason: deepest(error) }
    }
}

/// What TLS has against the certificate, if that is why there is no connection.
fn certificate_fault(error: &reqwest::Error) -> Option<CertificateFault> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
            return Some(fault.into());
        }
        // An I/O error hands out the source of what it wraps, and not what it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> Self {
        match error {
            // A bad signature is that of an authority of the same name with another key, as after a reinstallation.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::WrongTime,
            other => Self::Other { reason: other.to_string() },
        }
    }
}

/// What is behind an error, without the layers above it.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
