//! What a double is, and who is in it from the beginning.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::freeipa::rights::Rights;
use crate::freeipa::version::Version;
use crate::{Clock, DoubleError};

/// What a [`FreeIpaDouble`](crate::FreeIpaDouble) is, and who is in it from the beginning.
///
/// Everything has a default; an `admin`, and the groups `admins`, `editors` and `ipausers`, are there anyway.
///
/// ```
/// use freeipa_double::{AccountSpec, Config, GroupSpec, Rights};
///
/// let config = Config::new()
///     .account(AccountSpec::new("svc-registrar", "Secret.123").rights(Rights::registrar()))
///     .group(GroupSpec::new("tg-users").manager("svc-registrar"));
/// assert_eq!(config.realm(), "EXAMPLE.TEST");
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Config {
    pub(crate) fqdn: String,
    pub(crate) alias: Option<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) version: Version,
    pub(crate) clock: Clock,
    pub(crate) session: Duration,
    pub(crate) longest_login: usize,
    pub(crate) mail_domain: Option<String>,
    pub(crate) records: usize,
    pub(crate) first_id: u32,
    pub(crate) accounts: Vec<AccountSpec>,
    pub(crate) groups: Vec<GroupSpec>,
}

/// An account that is there from the beginning, or that a test puts there.
#[derive(Clone)]
#[must_use]
pub struct AccountSpec {
    pub(crate) login: String,
    pub(crate) password: String,
    pub(crate) rights: Rights,
    pub(crate) aliases: Vec<String>,
}

/// A group that is there from the beginning, or that a test puts there.
#[derive(Debug, Clone)]
#[must_use]
pub struct GroupSpec {
    pub(crate) name: String,
    pub(crate) managers: Vec<String>,
    pub(crate) members: Vec<String>,
    pub(crate) posix: bool,
}

// === impl Config ===

impl Config {
    /// `ipa.example.test`, FreeIPA 4.12.4, on a free port of the loopback address.
    pub fn new() -> Self {
        Self {
            fqdn: "ipa.example.test".to_owned(),
            alias: None,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            version: Version::default(),
            clock: Clock::default(),
            session: Duration::from_hours(24),
            longest_login: 32,
            mail_domain: None,
            records: 100,
            first_id: 100_000,
            accounts: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// The server's own name. Its certificate is for this name alone, the Referer has to begin with it, and what it is
    /// in makes the realm and the directory's suffix.
    pub fn fqdn(mut self, fqdn: impl Into<String>) -> Self {
        self.fqdn = fqdn.into();
        self
    }

    /// Another name that it is reached by, as behind a balancer: its certificate has that name, too, and the balancer gives the server
    /// its own `Host`. The Referer stays what the client says.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.alias = Some(name.into());
        self
    }

    /// Where to listen.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Which FreeIPA it is.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The time it lives in; its own by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How long a session lives: that of a Kerberos ticket, a day by default.
    pub fn session(mut self, lifetime: Duration) -> Self {
        self.session = lifetime;
        self
    }

    /// The longest login, 32 by default, as `config_show` says it.
    pub fn longest_login(mut self, characters: usize) -> Self {
        self.longest_login = characters;
        self
    }

    /// The domain of mail addresses that have none; the server's own by default.
    pub fn mail_domain(mut self, domain: impl Into<String>) -> Self {
        self.mail_domain = Some(domain.into());
        self
    }

    /// Adds an account.
    pub fn account(mut self, account: AccountSpec) -> Self {
        self.accounts.push(account);
        self
    }

    /// Adds a group.
    pub fn group(mut self, group: GroupSpec) -> Self {
        self.groups.push(group);
        self
    }

    /// The Kerberos realm.
    #[must_use]
    pub fn realm(&self) -> String {
        self.domain().to_uppercase()
    }

    /// What the server's name is in.
    pub(crate) fn domain(&self) -> &str {
        self.fqdn.split_once('.').map_or("", |(_, domain)| domain)
    }

    pub(crate) fn validate(&self) -> Result<(), DoubleError> {
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        if self.fqdn.split('.').count() < 3 || !self.fqdn.split('.').all(label) {
            return Err(DoubleError::refused(
                format!("the server's name {:?}", self.fqdn),
                "it needs a host and a domain in lower case, such as ipa.example.test",
            ));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

// === impl AccountSpec ===

impl AccountSpec {
    /// An ordinary user whose password is set and does not expire.
    pub fn new(login: impl Into<String>, password: impl Into<String>) -> Self {
        Self { login: login.into(), password: password.into(), rights: Rights::none(), aliases: Vec::new() }
    }

    /// What it may do.
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// One more Kerberos principal of it. A login of that name is taken then, though no user has it.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self
    }
}

impl std::fmt::Debug for AccountSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountSpec")
            .field("login", &self.login)
            .field("rights", &self.rights)
            .field("aliases", &self.aliases)
            .finish_non_exhaustive()
    }
}

// === impl GroupSpec ===

impl GroupSpec {
    /// A POSIX group without members.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), managers: Vec::new(), members: Vec::new(), posix: true }
    }

    /// One who may add and remove members, without any right of their own.
    pub fn manager(mut self, login: impl Into<String>) -> Self {
        self.managers.push(login.into());
        self
    }

    /// One who is in it.
    pub fn member(mut self, login: impl Into<String>) -> Self {
        self.members.push(login.into());
        self
    }

    /// Without a number.
    pub fn non_posix(mut self) -> Self {
        self.posix = false;
        self
    }
}
