//! Which server, and how to get there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// One FreeIPA server.
///
/// Its name is what its certificate and its own configuration say: every request carries it as `Host` and in the mandatory
/// `Referer`. Where to connect to may be something else, such as an address behind a NAT; an alias in the name's
/// place is refused by the server.
///
/// ```
/// use freeipa_client::Server;
///
/// let direct: Server = "ipa1.example.org".parse()?;
/// let tunnelled = Server::new("ipa2.example.org")?.connect_to("127.0.0.1:8443")?;
/// assert_eq!(tunnelled.to_string(), "ipa2.example.org at 127.0.0.1:8443");
/// assert!(Server::new("10.0.0.1").is_err()); // certificates carry names
/// # Ok::<(), freeipa_client::InvalidServer>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Server {
    name: String,
    connect: Option<Connect>,
}

/// Where to connect to, instead of port 443 of the name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Connect {
    Address(SocketAddr),
    Name { host: String, port: u16 },
}

/// What is no server.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidServer {
    /// The name cannot be that of a FreeIPA server.
    #[error(
        "`{given}` is no full host name: write the server's own, as `hostname -f` prints it there, such as ipa1.example.org"
    )]
    Name {
        /// What was given.
        given: String,
    },
    /// Nothing can connect there.
    #[error("`{given}` is no place to connect to: write ADDRESS, ADDRESS:PORT, HOST or HOST:PORT")]
    Connect {
        /// What was given.
        given: String,
    },
}

impl Server {
    /// The server of this name, at port 443 of the addresses that the name has.
    ///
    /// # Errors
    /// [`InvalidServer`] unless it is a host name with at least one dot.
    pub fn new(name: &str) -> Result<Self, InvalidServer> {
        let lower = name.trim().trim_end_matches('.').to_ascii_lowercase();
        let full = lower.contains('.') && lower.parse::<IpAddr>().is_err();
        if full && is_host(&lower) {
            Ok(Self { name: lower, connect: None })
        } else {
            Err(InvalidServer::Name { given: name.to_owned() })
        }
    }

    /// Connects there, and asks for the same name: `ADDRESS`, `ADDRESS:PORT`, `HOST` or `HOST:PORT`.
    ///
    /// # Errors
    /// [`InvalidServer`] if it is none of these.
    pub fn connect_to(mut self, place: &str) -> Result<Self, InvalidServer> {
        let invalid = || InvalidServer::Connect { given: place.to_owned() };
        let text = place.trim();
        self.connect = Some(if let Ok(address) = text.parse::<SocketAddr>() {
            Connect::Address(address)
        } else if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            Connect::Address(SocketAddr::new(address, 443))
        } else {
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().map_err(|_| invalid())?),
                None => (text, 443),
            };
            if !is_host(host) {
                return Err(invalid());
            }
            Connect::Name { host: host.to_owned(), port }
        });
        match &self.connect {
            Some(Connect::Address(address)) if address.port() == 0 => Err(invalid()),
            Some(Connect::Name { port: 0, .. }) => Err(invalid()),
            _ => Ok(self),
        }
    }

    /// The server's own name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn connect(&self) -> Option<&Connect> {
        self.connect.as_ref()
    }
}

/// Whether it is a host name by the rules of the DNS.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

impl FromStr for Server {
    type Err = InvalidServer;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.connect {
            None => Ok(()),
            Some(Connect::Address(address)) => write!(f, " at {address}"),
            Some(Connect::Name { host, port }) => write!(f, " at {host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_full_host_names() {
        for (given, name) in
            [("ipa.example.org", "ipa.example.org"), (" IPA.Example.Org. ", "ipa.example.org")]
        {
            assert_eq!(Server::new(given).unwrap().name(), name);
        }
        let label = "a".repeat(64);
        for given in [
            "",
            "ipa",
            "10.0.0.1",
            "::1",
            "ipa.example.org:443",
            "https://ipa.example.org",
            "a..b",
            "-a.b",
            &label,
        ] {
            assert!(Server::new(given).is_err(), "{given}");
        }
    }

    #[test]
    fn one_connects_to_addresses_and_to_hosts() {
        let at = |place: &str| {
            Server::new("ipa.example.org").unwrap().connect_to(place).map(|server| server.to_string())
        };
        assert_eq!(at("10.0.0.1").unwrap(), "ipa.example.org at 10.0.0.1:443");
        assert_eq!(at("10.0.0.1:8443").unwrap(), "ipa.example.org at 10.0.0.1:8443");
        assert_eq!(at("[::1]:8443").unwrap(), "ipa.example.org at [::1]:8443");
        assert_eq!(at("::1").unwrap(), "ipa.example.org at [::1]:443");
        assert_eq!(at("gateway").unwrap(), "ipa.example.org at gateway:443");
        assert_eq!(at("gateway:8443").unwrap(), "ipa.example.org at gateway:8443");
        for place in ["", "gateway:0", "10.0.0.1:0", "gateway:http", "https://gateway", "a b"] {
            assert!(at(place).is_err(), "{place}");
        }
    }
}
