//! What a client needs to know.

use std::sync::Arc;
use std::time::Duration;

use crate::credentials::{Credentials, InvalidCredentials};
use crate::server::Server;
use crate::service_login::LoginGuard;
use crate::trust::{InvalidTrust, Trust};

/// The version of the API that is asked for: a modest one, which servers take also where theirs is older. A missing one brings a warning in
/// each reply, one below 2.84 brings times as plain text.
pub const API_VERSION: &str = "2.251";

/// The shortest pause after a rejected login. FreeIPA locks an account for so long after six wrong passwords, unless its policy
/// says otherwise.
pub const SHORTEST_LOGIN_PAUSE: Duration = Duration::from_mins(10);

/// Settings of a client.
///
/// ```
/// use std::time::Duration;
/// use freeipa_client::{Credentials, Server, Settings, Trust};
///
/// # let bundle = Vec::new();
/// let settings = Settings::new(Credentials::password("svc-registrar", "correct horse"))
///     .server(Server::new("ipa1.example.org")?)
///     .server(Server::new("ipa2.example.org")?)
///     .trust(Trust::Only(bundle)) // what /etc/ipa/ca.crt holds
///     .timeout(Duration::from_secs(20));
/// # Ok::<(), freeipa_client::InvalidServer>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) servers: Vec<Server>,
    pub(crate) trust: Trust,
    pub(crate) credentials: Credentials,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_reply_bytes: usize,
    pub(crate) login_pause: Duration,
    pub(crate) login_guard: Option<Arc<dyn LoginGuard>>,
    pub(crate) api_version: String,
    pub(crate) fail_over: FailOver,
}

/// What [`Client::server`](crate::Client::server) does when the server of a key is unwell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FailOver {
    /// Names another one, always the same for the key, until the first is well again. What was just written on the first may not
    /// have reached the other yet: a flow that has begun goes on where it began, with
    /// [`Client::server_named`](crate::Client::server_named).
    #[default]
    ToHealthy,
    /// Names the server of the key, well or not.
    Never,
}

/// Settings that contradict each other or the rules of FreeIPA.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSettings {
    /// No server is given.
    #[error("no server is given: at least one full host name is needed")]
    NoServer,
    /// One is given twice.
    #[error("server {name} is given twice: each name once")]
    ServerTwice {
        /// Its name.
        name: String,
    },
    /// Nobody is trusted.
    #[error(transparent)]
    Trust(#[from] InvalidTrust),
    /// Nobody can log in.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    /// A time that cannot be.
    #[error("{name} is {} ms: {rule}", given.as_millis())]
    Time {
        /// The setting.
        name: &'static str,
        /// What was given.
        given: Duration,
        /// What it must be.
        rule: &'static str,
    },
    /// A number that cannot be.
    #[error("{name} is {given}: it must be {least} to {most}")]
    Number {
        /// The setting.
        name: &'static str,
        /// What was given.
        given: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// A version of the API that is none.
    #[error("`{given}` is no version of FreeIPA's API: write one such as {API_VERSION}")]
    ApiVersion {
        /// What was given.
        given: String,
    },
    /// The HTTP client cannot be made.
    #[error("no HTTP client can be made: {reason}")]
    Http {
        /// What it says.
        reason: String,
    },
}

impl Settings {
    /// Settings with the defaults and no server yet.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            servers: Vec::new(),
            trust: Trust::System,
            credentials,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            max_in_flight: 4,
            max_reply_bytes: 8 << 20,
            login_pause: SHORTEST_LOGIN_PAUSE,
            login_guard: None,
            api_version: API_VERSION.to_owned(),
            fail_over: FailOver::default(),
        }
    }

    /// Adds a server. At least one is needed; none twice.
    #[must_use]
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    /// Whom to believe that a server is who it says. Default: whom the system trusts.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How long connecting may take, TLS included. Default: 5 s. Less than [`timeout`](Self::timeout).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take, waiting for its turn and a login included. Default: 30 s, for servers are slow at times.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many requests may be on their way to one server. Default: 4, as many as a server works on at the same time unless its
    /// administrator changed that; more only wait there. 1 to 64.
    #[must_use]
    pub fn max_in_flight(mut self, most: usize) -> Self {
        self.max_in_flight = most;
        self
    }

    /// The longest reply that is read, in bytes. Default: 8 MiB. At least 64 KiB.
    #[must_use]
    pub fn max_reply_bytes(mut self, most: usize) -> Self {
        self.max_reply_bytes = most;
        self
    }

    /// How long nobody logs in after the server rejected the service account. Default, and at least: 10 minutes.
    #[must_use]
    pub fn login_pause(mut self, pause: Duration) -> Self {
        self.login_pause = pause;
        self
    }

    /// What several processes know together of the account's passwords. Default: nothing, each goes by its own rule.
    #[must_use]
    pub fn login_guard(mut self, guard: Arc<dyn LoginGuard>) -> Self {
        self.login_guard = Some(guard);
        self
    }

    /// The version of the API to ask for. Default: [`API_VERSION`]; a server takes any, also one that it does not know.
    #[must_use]
    pub fn api_version(mut self, version: impl Into<String>) -> Self {
        self.api_version = version.into();
        self
    }

    /// What to do when the server of a key is unwell. Default: [`FailOver::ToHealthy`].
    #[must_use]
    pub fn fail_over(mut self, fail_over: FailOver) -> Self {
        self.fail_over = fail_over;
        self
    }

    /// What is wrong with them, if anything is. [`Client::new`](crate::Client::new) asks this, too.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        if self.servers.is_empty() {
            return Err(InvalidSettings::NoServer);
        }
        for (index, server) in self.servers.iter().enumerate() {
            if self.servers[..index].iter().any(|other| other.name() == server.name()) {
                return Err(InvalidSettings::ServerTwice { name: server.name().to_owned() });
            }
        }
        self.credentials.check()?;
        let time = |name, given, good: bool, rule| {
            if good { Ok(()) } else { Err(InvalidSettings::Time { name, given, rule }) }
        };
        time(
            "connect_timeout",
            self.connect_timeout,
            !self.connect_timeout.is_zero(),
            "it must be more than nothing",
        )?;
        time(
            "timeout",
            self.timeout,
            self.timeout > self.connect_timeout,
            "it must be more than connect_timeout",
        )?;
        time("timeout", self.timeout, self.timeout <= Duration::from_hours(1), "it must be at most an hour")?;
        time(
            "login_pause",
            self.login_pause,
            self.login_pause >= SHORTEST_LOGIN_PAUSE,
            "it must be at least 10 minutes",
        )?;
        time(
            "login_pause",
            self.login_pause,
            self.login_pause <= Duration::from_hours(24),
            "it must be at most a day",
        )?;
        let number = |name, given: usize, least, most| {
            if (least..=most).contains(&given) {
                Ok(())
            } else {
                Err(InvalidSettings::Number { name, given, least, most })
            }
        };
        number("max_in_flight", self.max_in_flight, 1, 64)?;
        number("max_reply_bytes", self.max_reply_bytes, 64 << 10, 1 << 30)?;
        let mut parts = self.api_version.split('.').map(|part| part.parse::<u32>().is_ok());
        if (parts.next(), parts.next(), parts.next()) != (Some(true), Some(true), None) {
            return Err(InvalidSettings::ApiVersion { given: self.api_version.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn settings() -> Settings {
        Settings::new(Credentials::password("svc", "secret")).server(Server::new("ipa.example.org").unwrap())
    }

    #[test]
    fn the_defaults_are_fine_with_one_server() {
        assert_eq!(settings().check(), Ok(()));
        assert!(!format!("{:?}", settings()).contains("secret"));
    }

    #[test]
    fn servers_are_there_and_each_once() {
        assert_eq!(Settings::new(Credentials::password("svc", "x")).check(), Err(InvalidSettings::NoServer));
        let twice =
            settings().server(Server::new("IPA.example.org").unwrap().connect_to("10.0.0.1").unwrap());
        assert_eq!(twice.check(), Err(InvalidSettings::ServerTwice { name: "ipa.example.org".to_owned() }));
    }

    #[test]
    fn times_and_numbers_have_limits() {
        let second = Duration::from_secs(1);
        let refused = [
            settings().connect_timeout(Duration::ZERO),
            settings().timeout(second),
            settings().timeout(Duration::MAX),
            settings().login_pause(second),
            settings().login_pause(Duration::MAX),
            settings().max_in_flight(0),
            settings().max_in_flight(65),
            settings().max_reply_bytes(1),
        ];
        for settings in refused {
            assert!(
                matches!(
                    settings.check(),
                    Err(InvalidSettings::Time { .. } | InvalidSettings::Number { .. })
                ),
                "{settings:?}"
            );
        }
        assert_eq!(
            settings().timeout(second).check().unwrap_err().to_string(),
            "timeout is 1000 ms: it must be more than connect_timeout"
        );
    }

    #[test]
    fn versions_are_two_numbers() {
        for given in ["2.84", "2.999"] {
            assert_eq!(settings().api_version(given).check(), Ok(()));
        }
        for given in ["", "2", "2.", "v2.251", "2.251.1"] {
            assert!(
                matches!(settings().api_version(given).check(), Err(InvalidSettings::ApiVersion { .. })),
                "{given}"
            );
        }
    }
}
