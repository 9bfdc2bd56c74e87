//! FreeIPA over HTTPS.

mod action;
mod change_password;
mod commands;
mod config;
mod directory;
mod error;
mod facts;
mod fault;
mod kdc;
mod pages;
mod parameters;
mod rights;
mod rpc;
mod session;
mod site;
mod snapshot;
mod state;
mod stats;
mod version;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::TlsAcceptor;

pub use self::action::FreeIpaAction;
pub use self::config::{AccountSpec, Config, GroupSpec};
pub use self::directory::{Change, Container, Event};
pub use self::fault::Fault;
pub use self::rights::{Right, Rights};
pub use self::snapshot::{DirectorySnapshot, GroupSnapshot, UserSnapshot};
pub use self::stats::Stats;
pub use self::version::Version;

use self::directory::Directory;
use self::site::IpaSite;
use self::state::State;
use crate::authority::Authority;
use crate::web::Served;
use crate::{Clock, DoubleError, Faults};

/// FreeIPA over HTTPS: its JSON-RPC interface, its logins, and what goes wrong with them.
///
/// Clones are handles to the same server, which ends when the last is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), freeipa_double::DoubleError> {
/// use freeipa_double::{AccountSpec, Config, Fault, FaultRule, FreeIpaDouble, Rights};
///
/// let config = Config::new().account(AccountSpec::new("svc", "Secret.123").rights(Rights::registrar()));
/// let ipa = FreeIpaDouble::start(config).await?;
/// assert!(ipa.ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));
///
/// // … a client connects to ipa.address() by the name ipa.fqdn(), and meets this at its first user_add:
/// ipa.faults().arm(FaultRule::new("user_add", Fault::CommitThenDrop));
///
/// assert_eq!(ipa.directory().created(), Vec::<&str>::new());
/// assert_eq!(ipa.stats().logins, 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct FreeIpaDouble {
    shared: Arc<Shared>,
    served: Arc<Served>,
    authority: Authority,
}

/// What requests, tests and the control API share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    faults: Faults,
    clock: Clock,
    fqdn: String,
    alias: Option<String>,
    ca_pem: String,
}

// === impl FreeIpaDouble ===

impl FreeIpaDouble {
    /// Starts a server, on the runtime of the caller.
    ///
    /// # Errors
    /// The address is taken; the server's name is none; an account or group makes no sense.
    pub async fn start(config: Config) -> Result<Self, DoubleError> {
        config.validate()?;
        let authority = Authority::for_server(&config.fqdn, config.alias.as_deref())?;
        let directory = Directory::seed(&config)?;
        let listen = config.listen;
        let shared = Arc::new(Shared {
            faults: Faults::default(),
            clock: config.clock.clone(),
            fqdn: config.fqdn.clone(),
            alias: config.alias.clone(),
            ca_pem: authority.ca_pem().to_owned(),
            state: Mutex::new(State {
                config,
                directory,
                sessions: session::Sessions::default(),
                outages: kdc::Outages::default(),
                stats: Stats::default(),
            }),
        });
        let site = Arc::new(IpaSite::new(Arc::clone(&shared)));
        let served = Served::start(listen, Some(TlsAcceptor::from(authority.server())), site).await?;
        Ok(Self { shared, served: Arc::new(served), authority })
    }

    /// Where it listens. Clients have to come by [`FreeIpaDouble::fqdn`] all the same.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// The server's own name: in its certificate, and in the Referer it wants.
    #[must_use]
    pub fn fqdn(&self) -> &str {
        &self.shared.fqdn
    }

    /// The Kerberos realm.
    #[must_use]
    pub fn realm(&self) -> String {
        self.shared.state().directory.names.realm.clone()
    }

    /// `https://`, the name and the port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.fqdn(), self.address().port())
    }

    /// The root that its certificate is of, as PEM. No other server has one of it.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// The faults that lie in wait.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The time it lives in.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What is in the directory, and all that happened to it.
    #[must_use]
    pub fn directory(&self) -> DirectorySnapshot {
        DirectorySnapshot::of(&self.shared.state().directory, self.shared.clock.now())
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        Stats { sessions: state.sessions.open_at(self.shared.clock.now()), ..state.stats.clone() }
    }

    /// Whether this is the password of an active user. It tells nobody a password, and counts no failure.
    #[must_use]
    pub fn has_password(&self, login: &str, password: &str) -> bool {
        self.shared
            .state()
            .directory
            .active(login)
            .is_some_and(|entry| entry.password.as_deref() == Some(password))
    }

    /// Does something to it that no client could: an outage, a lock, a new password of the service account.
    ///
    /// # Errors
    /// There is no such account or group, or there is one already.
    pub fn apply(&self, action: FreeIpaAction) -> Result<(), DoubleError> {
        action.apply(&self.shared)
    }

    /// Stops listening, and breaks all connections.
    pub async fn stop(&self) {
        self.served.stop().await;
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
