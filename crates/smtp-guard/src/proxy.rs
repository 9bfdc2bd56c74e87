//! The PROXY protocol: who the client of a balancer is.
//!
//! ```text
//!  v1   PROXY TCP4 192.0.2.7 203.0.113.1 51234 25\r\n                          at most 107 bytes
//!  v2   12 bytes of signature | version, command | family | length | addresses | more, of no interest here
//! ```
//!
//! As specified by HAProxy's `proxy-protocol.txt`. Read are both versions, written is the second.

mod binary;
mod read;
mod text;

use std::net::SocketAddr;

pub use self::read::{ReadError, read};

/// No header is longer: what a balancer adds beyond addresses (certificates, say) has its bounds.
pub const LONGEST: usize = 4_096;

/// What a header says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is the balancer's own, as its health checks are, or it does not know of whom.
    Local,
    /// It is a client's.
    Proxied {
        /// The client.
        client: SocketAddr,
        /// Where the client connected to.
        server: SocketAddr,
    },
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// They begin otherwise.
    #[error("it begins with no PROXY header")]
    Absent,
    /// A line of version 1 that does not end where it has to.
    #[error("a PROXY line has at most 107 bytes")]
    LongLine,
    /// A line of version 1 with something else in it.
    #[error("the PROXY line makes no sense")]
    Line,
    /// Another version than 1 and 2, or a command, transport or length that makes no sense.
    #[error("the binary PROXY header makes no sense: {0}")]
    Binary(&'static str),
}

impl Header {
    /// The header at the beginning of the bytes, with its length; `None` if more bytes are needed to tell.
    ///
    /// # Errors
    /// They begin with no header, whatever may follow.
    ///
    /// ```
    /// use smtp_guard::proxy::Header;
    ///
    /// let bytes = b"PROXY TCP4 192.0.2.7 203.0.113.1 51234 25\r\nEHLO ";
    /// let client = "192.0.2.7:51234".parse().unwrap();
    /// let server = "203.0.113.1:25".parse().unwrap();
    /// assert_eq!(Header::parse(bytes), Ok(Some((Header::Proxied { client, server }, bytes.len() - 5))));
    /// assert_eq!(Header::parse(&bytes[..20]), Ok(None));
    /// assert!(Header::parse(b"EHLO there").is_err());
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidHeader> {
        match bytes.first() {
            None => Ok(None),
            Some(b'P') => text::parse(bytes),
            Some(b'\r') => binary::parse(bytes),
            Some(_) => Err(InvalidHeader::Absent),
        }
    }

    /// The header in version 2.
    ///
    /// A client and a server of different families are told as the client's: the server's address is left open then.
    pub fn to_bytes(&self) -> Vec<u8> {
        binary::write(self)
    }
}

/// An IPv4 address that is written as an IPv6 one is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
