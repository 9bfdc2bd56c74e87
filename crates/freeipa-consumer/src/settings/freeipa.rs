//! `[freeipa]`: the directory, and who we are to it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use valkey_config::{Contradiction, CsvList, Secret, Validate, settings};

/// Why a keytab is refused by a build without the feature.
pub(crate) const NO_KEYTAB_LOGIN: &str =
    "this build has no keytab login: build with `--features keytab`, or give a token_command or a password";

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
        /// The login of the service account: needed with a password, and then nobody is registered under it.
        #[env("IPA_LOGIN")]
        pub login: String,
        /// Its password, or with `password_file` the path of a file that holds it. Instead of it: `keytab`, or `token_command`.
        #[env("IPA_PASSWORD")]
        pub password: Option<Secret>,
        /// The keytab of the service account, as `ipa-getkeytab` writes it. Needs a build with the feature `keytab`.
        #[env("IPA_KEYTAB")]
        pub keytab: Option<PathBuf>,
        /// Whose key of the keytab is used: `svc-registrar`, `registrar/app.example.org`. Unset: the first in it.
        #[env("IPA_PRINCIPAL")]
        pub principal: Option<String>,
        /// A program, and its arguments, that prints a token for a login with Kerberos (the first SPNEGO token, in Base64) for the
        /// service that it gets as last argument, `HTTP@ipa1.example.org`. It may take 20 s; its exit status 75 says that the KDC
        /// is away.
        #[env("IPA_TOKEN_COMMAND")]
        pub token_command: CsvList<String>,
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

impl FreeIpaSettings {
    /// The login of the service account, as far as the settings tell it; services that log in with a keytab have none.
    pub fn service_login(&self) -> Option<&str> {
        let login = Some(self.login.trim()).filter(|login| !login.is_empty());
        let user = self.principal.as_deref().and_then(|principal| principal.trim().split('@').next());
        login.or(user).filter(|login| !login.contains('/'))
    }

    /// Exactly one of the ways to log in, whole.
    fn refuse_login(&self, refuse: &mut impl FnMut(bool, &[&'static str], &str)) {
        let has_password = self.password.as_ref().is_some_and(|password| !password.is_empty());
        let given: Vec<&'static str> = [
            (has_password, "password"),
            (self.keytab.is_some(), "keytab"),
            (!self.token_command.is_empty(), "token_command"),
        ]
        .iter()
        .filter_map(|(is_given, field)| is_given.then_some(*field))
        .collect();
        refuse(
            given.is_empty(),
            &["password"],
            "the service account needs its password, best as a file: freeipa.password_file, or FREEIPA_CONSUMER_IPA_PASSWORD_FILE; or a keytab; or a token_command",
        );
        refuse(given.len() > 1, &given, "the service account logs in in one way only: keep one of these");
        refuse(
            self.login.trim().is_empty() && (has_password || given.is_empty()),
            &["login"],
            "name the service account",
        );
        refuse(self.keytab.is_some() && !cfg!(feature = "keytab"), &["keytab"], NO_KEYTAB_LOGIN);
        refuse(
            self.principal.is_some() && self.keytab.is_none(),
            &["principal"],
            "a principal says whose key of a keytab is used, and there is no keytab",
        );
        let is_principal = |name: &String| !name.trim().is_empty() && !name.contains(char::is_whitespace);
        refuse(
            self.principal.as_ref().is_some_and(|name| !is_principal(name)),
            &["principal"],
            "a principal is a name such as svc-registrar or registrar/app.example.org, or unset",
        );
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
        self.refuse_login(&mut refuse);
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
