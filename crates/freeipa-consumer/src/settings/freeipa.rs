//! `[freeipa]`: the directory, and who we are to it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use valkey_config::{Contradiction, CsvList, Secret, Validate, settings};

settings! {
    /// The directory, and who we are to it.
    #[derive(PartialEq)]
    pub struct FreeIpaSettings in [freeipa] {
        /// The servers: each the full name that stands in its certificate, and where it is dialled at another address, that
        /// behind a `=`: `ipa1.example.org`, `ipa2.example.org=10.0.0.7:8443`. A registration stays with one of them.
        #[env("IPA_SERVERS")]
        pub servers: CsvList<IpaServer>,
        /// The CA certificates of the directory (PEM, one or several; `/etc/ipa/ca.crt` on its servers). Unset: those of the
        /// system.
        #[env("IPA_CA_FILE")]
        pub ca_file: Option<PathBuf>,
        /// The login of the service account.
        #[env("IPA_LOGIN")]
        pub login: String,
        /// Its password; also `IPA_PASSWORD_FILE`.
        #[env("IPA_PASSWORD")]
        pub password: Option<Secret>,
        /// How long connecting may take.
        #[env("IPA_CONNECT_TIMEOUT")]
        pub connect_timeout: Duration = Duration::from_secs(5),
        /// How long one call may take.
        #[env("IPA_REQUEST_TIMEOUT")]
        pub request_timeout: Duration = Duration::from_secs(30),
        /// Calls at a time to one server, at most 4: more only wait there, and keep its web interface waiting.
        #[env("IPA_MAX_IN_FLIGHT")]
        pub max_in_flight: NonZeroUsize = NonZeroUsize::new(4).expect("not 0"),
    }
}

/// A server of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IpaServer {
    fqdn: String,
    address: Option<String>,
}

/// A text that is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidServer {
    /// Behind the `=` there is no `host:port`.
    #[error("behind the `=` stands where it is dialled, as `host:port`")]
    Address,
    /// The name is none that a certificate has.
    #[error(
        "a server is its full name, such as ipa.example.org: neither a URL nor an address, for its certificate has the name"
    )]
    Name,
}

impl IpaServer {
    /// The full name, as in its certificate.
    pub fn fqdn(&self) -> &str {
        &self.fqdn
    }

    /// Where it is dialled, `host:port`, if not at its name.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

impl FromStr for IpaServer {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let (fqdn, address) = match text.split_once('=') {
            Some((fqdn, address)) => (fqdn.trim(), Some(address.trim())),
            None => (text.trim(), None),
        };
        let is_label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let is_address = fqdn.parse::<std::net::IpAddr>().is_ok();
        if !fqdn.contains('.') || is_address || fqdn.len() > 253 || !fqdn.split('.').all(is_label) {
            return Err(InvalidServer::Name);
        }
        let is_dialled = |address: &str| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
            })
        };
        if address.is_some_and(|address| !is_dialled(address)) {
            return Err(InvalidServer::Address);
        }
        Ok(Self { fqdn: fqdn.to_ascii_lowercase(), address: address.map(str::to_owned) })
    }
}

impl fmt::Display for IpaServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fqdn)?;
        self.address.as_ref().map_or(Ok(()), |address| write!(f, "={address}"))
    }
}

impl Validate for FreeIpaSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, fields: &[&'static str], message: &str| {
            if wrong {
                found.push(Contradiction::new(fields.iter().copied(), message));
            }
        };
        refuse(self.servers.is_empty(), &["servers"], "name at least one server of the directory");
        refuse(self.login.trim().is_empty(), &["login"], "name the service account");
        refuse(
            self.password.as_ref().is_none_or(Secret::is_empty),
            &["password"],
            "the service account needs its password: best as the file that IPA_PASSWORD_FILE names",
        );
        for (field, timeout) in
            [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)]
        {
            refuse(
                timeout.is_zero() || timeout > Duration::from_mins(10),
                &[field],
                "zero is no time to answer in, and nobody waits longer than 10m",
            );
        }
        refuse(
            self.max_in_flight.get() > 4,
            &["max_in_flight"],
            "at most 4: a server of the directory has four processes for all its callers",
        );
        found
    }
}
