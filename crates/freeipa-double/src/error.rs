//! Why a double did not start.

use std::io;
use std::net::SocketAddr;

/// Why a double did not start, or why it refused what it was asked to become.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoubleError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}; take another address, or port 0")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate came about for this name.
    #[error("cannot make a certificate for {fqdn:?}: {reason}; take a host name such as ipa.example.test")]
    Certificate {
        /// The name asked for.
        fqdn: String,
        /// What the maker said.
        reason: String,
    },
    /// What the double was asked to be, or to do, makes no sense.
    #[error("{what}: {why}")]
    Refused {
        /// The setting, account or group.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

impl DoubleError {
    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), why: why.into() }
    }
}
