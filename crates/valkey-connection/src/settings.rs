//! How to reach the server, how long to wait, when to give up.

use std::path::PathBuf;
use std::time::Duration;

use valkey_config::{Contradiction, CsvList, Invalid, Raw, Secret, ServerUrl, Setting, Validate, settings};

use crate::breaker::BreakerPolicy;
use crate::error::Error;

/// What stands behind the address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// One server (or a proxy that looks like one).
    #[default]
    Standalone,
    /// A Valkey Cluster; the addresses are seeds.
    Cluster,
    /// The addresses are Sentinels, which know the primary. Give all of them: each is asked all the time, and one that
    /// is down, silent or cut off does not matter as long as another answers.
    ///
    /// ```
    /// use valkey_config::{Sources, Validate};
    /// use valkey_connection::{ConnectionSettings, Mode};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let settings: ConnectionSettings = Sources::new("VALKEY_SENDER_")
    ///     .vars([
    ///         ("VALKEY_SENDER_MODE", "sentinel"),
    ///         ("VALKEY_SENDER_ADDRESS", "sentinel-1:26379,sentinel-2:26379,sentinel-3:26379"),
    ///         ("VALKEY_SENDER_SENTINEL_SERVICE", "orders"), // as in `sentinel monitor orders ...`
    ///         ("VALKEY_SENDER_SENTINEL_USERNAME", "watcher"), // to the Sentinels
    ///         ("VALKEY_SENDER_SENTINEL_PASSWORD", "canary"),
    ///         ("VALKEY_SENDER_USERNAME", "app"), // to the servers
    ///         ("VALKEY_SENDER_PASSWORD", "s3cret"),
    ///     ])
    ///     .load()?;
    /// assert_eq!((settings.mode, settings.address.len()), (Mode::Sentinel, 3));
    /// assert!(settings.validate().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    Sentinel,
}

settings! {
    /// Settings of the connection to Valkey.
    ///
    /// ```
    /// use std::time::Duration;
    /// use valkey_connection::ConnectionSettings;
    ///
    /// # fn main() -> Result<(), valkey_connection::Error> {
    /// let settings = ConnectionSettings::from_url("valkey://app@localhost:6379/0")?.read_timeout(Duration::from_secs(1));
    /// assert_eq!(settings.pool_size, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(PartialEq)]
    pub struct ConnectionSettings in [connection] {
        /// Where the server is: `host:port` or a URL (`valkey://`, `valkeys://`, `redis://`, `rediss://`, `unix://`).
        /// Several, comma separated, for a cluster (give all nodes: a lone seed that dies is never found again) or for
        /// Sentinels. The default is where a server started by hand listens.
        #[alias("URL", "ADDRESSES")]
        pub address: CsvList<ServerUrl> = CsvList(vec![ServerUrl::default()]),
        /// What stands behind the address: `standalone`, `cluster` or `sentinel`. Not guessed, because a cluster node
        /// that is asked as a single server answers half of the keys with MOVED.
        pub mode: Mode = Mode::Standalone,
        /// ACL user; without a password it logs in with an empty one (`nopass`). Without a user, the server's `default` user. Wins over the one in the URL.
        pub username: Option<String>,
        /// Password. Wins over the one in the URL.
        pub password: Option<Secret>,
        /// File with the password. Unlike a password given by value it is read again at every (re)connect, so that a
        /// rotated secret is picked up without a restart.
        pub password_file: Option<PathBuf>,
        /// Database number. Wins over the one in the URL unless it is 0. A cluster has only 0.
        #[alias("DB")]
        pub database: u32 = 0,
        /// Name of the primary in the Sentinels' configuration (`sentinel monitor NAME ...`); needed for
        /// `mode = "sentinel"`.
        pub sentinel_service: Option<String>,
        /// User for the Sentinels themselves, who needs `+sentinel|master +sentinel|get-master-addr-by-name` and, to hear of a
        /// failover at once, `+subscribe` and the channel `&+switch-master`. Without user and password nobody logs in to
        /// them; those of the server are for the server only.
        pub sentinel_username: Option<String>,
        /// Password for the Sentinels themselves. Read once, unlike that of the server.
        pub sentinel_password: Option<Secret>,
        /// How long connecting (TCP, TLS, login) may take. 5 s outlasts a lost SYN or two.
        pub dial_timeout: Duration = Duration::from_secs(5),
        /// The longest pause between two tries to connect; the first is 100 ms, and each is twice the one before. Shorter
        /// finds a server sooner that was away for long, and is more to bear for one that comes back to many.
        pub longest_pause: Duration = Duration::from_secs(5),
        /// How long a call waits for its reply, queueing included; a call may set its own. 3 s is far above any healthy
        /// reply and short enough that callers see an outage as errors, not as silence.
        pub read_timeout: Duration = Duration::from_secs(3),
        /// How long the kernel lets written bytes stay unacknowledged before it breaks the socket. The one timeout that
        /// frees a client stuck in a write.
        #[mapped("TCP_USER_TIMEOUT of the socket")]
        pub write_timeout: Duration = Duration::from_secs(3),
        /// Name of our connections in the server's `CLIENT LIST`. Empty: none is set. A user who may not set a name goes
        /// without.
        pub client_name: String = "valkit".to_owned(),
        /// Multiplexed connections. Each carries thousands of commands at once, so two are enough: one goes on while
        /// the other is being replaced. More sockets only make smaller batches.
        #[mapped("number of multiplexed connections, not of exclusive ones")]
        pub pool_size: u32 = 2,
        /// Idle connections of an exclusive pool.
        #[notice("connections are multiplexed: all of them are kept open, and none is ever idle in the pool's sense")]
        pub min_idle_conns: u32 = 2,
        /// Idle time after which an exclusive pool closes a connection.
        #[notice("connections are multiplexed and kept; a dead one is found by the watchdog and replaced")]
        pub max_idle_time: Duration = Duration::from_mins(5),
        /// Age at which an exclusive pool closes a connection.
        #[notice("connections live until they break; age alone does not end them")]
        pub conn_max_lifetime: Duration = Duration::from_hours(1),
        /// Commands that may wait unsent in each connection. Beyond it calls fail with `Backpressure` instead of
        /// filling the memory while the server is slow.
        pub max_queued_commands: usize = 10_000,
        /// Whether small writes go out at once (`TCP_NODELAY`). Off, the kernel may put several script calls into one
        /// packet: up to twice the throughput on loopback, up to one round trip more delay under load elsewhere.
        pub tcp_nodelay: bool = true,
        /// How often the watchdog asks each connection for a sign of life. A connection costs the server one PING per
        /// interval.
        pub probe_interval: Duration = Duration::from_secs(2),
        /// How long the watchdog waits for that sign. Longer than any command should block the server.
        pub probe_timeout: Duration = Duration::from_secs(1),
        /// So many signs of life missed in a row, and the connection is replaced by a fresh one.
        pub probe_misses: u32 = 3,
        /// Circuit breaker: opens when more than so many calls in a row have failed.
        pub breaker_failures: u32 = 3,
        /// Circuit breaker, half-open: so many probes at once, and so many successes close it.
        pub breaker_max_requests: u32 = 5,
        /// Circuit breaker, closed: a row of failures is forgotten after this long.
        pub breaker_interval: Duration = Duration::from_mins(2),
        /// Circuit breaker, open: refuses for this long before it probes. A store that was away and is back is probed at once.
        pub breaker_timeout: Duration = Duration::from_mins(1),
        /// TLS, whatever the URL says. `valkeys://` and `rediss://` turn it on by themselves.
        pub tls_enabled: bool = false,
        /// DANGEROUS: accepts any certificate of anybody, so that anyone on the path can read and change everything,
        /// the password included. For experiments only; every connect logs a warning.
        pub tls_skip_verify: bool = false,
        /// CA certificates (PEM) that the server's certificate must come from. Without it, those of the system. All TLS
        /// files are read once, when the connection is made.
        pub tls_ca_file: Option<PathBuf>,
        /// Client certificate (PEM) for servers that ask for one. Optional, together with `tls_key_file`.
        pub tls_cert_file: Option<PathBuf>,
        /// Key of the client certificate (PEM).
        pub tls_key_file: Option<PathBuf>,
        /// Name the server's certificate must carry, when it is not the host in the address.
        pub tls_server_name: Option<String>,
    }
}

impl ConnectionSettings {
    /// Defaults with another address.
    ///
    /// # Errors
    /// The text is not a server URL.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let url: ServerUrl =
            url.parse().map_err(|error| Error::configuration(format!("server URL: {error}")))?;
        Ok(Self::default().address(CsvList(vec![url])))
    }

    /// The breaker these settings describe.
    pub fn breaker_policy(&self) -> BreakerPolicy {
        BreakerPolicy {
            failure_threshold: self.breaker_failures,
            interval: self.breaker_interval,
            timeout: self.breaker_timeout,
            max_requests: self.breaker_max_requests,
        }
    }

    /// Whether the connection is to be encrypted.
    pub fn uses_tls(&self) -> bool {
        self.tls_enabled || self.address.iter().any(ServerUrl::is_tls)
    }

    /// The first address, which stands for the server in errors and logs.
    pub(crate) fn first(&self) -> Option<&ServerUrl> {
        self.address.first()
    }

    /// The ACL user in effect, if one is named.
    pub(crate) fn effective_username(&self) -> Option<&str> {
        self.username.as_deref().or_else(|| self.first().and_then(ServerUrl::username))
    }

    /// The password given by value, if any.
    pub(crate) fn effective_password(&self) -> Option<&Secret> {
        self.password.as_ref().or_else(|| self.first().and_then(ServerUrl::password))
    }

    /// The database in effect.
    pub(crate) fn effective_database(&self) -> u32 {
        if self.database == 0 {
            self.first().and_then(ServerUrl::database).unwrap_or(0)
        } else {
            self.database
        }
    }
}

impl Validate for ConnectionSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut check = |holds: bool, fields: &[&'static str], message: &str| {
            if !holds {
                found.push(Contradiction::new(fields.iter().copied(), message));
            }
        };
        check(!self.address.is_empty(), &["address"], "at least one address is needed");
        check(self.pool_size > 0, &["pool_size"], "at least one connection is needed");
        check(self.probe_misses > 0, &["probe_misses"], "at least one miss is needed");
        check(
            self.breaker_max_requests > 0,
            &["breaker_max_requests"],
            "at least one probe is needed to close again",
        );
        for (field, value) in [
            ("dial_timeout", self.dial_timeout),
            ("longest_pause", self.longest_pause),
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
        ] {
            check(!value.is_zero(), &[field], "zero is no time to wait: nothing could ever succeed");
        }
        check(
            self.address.len() <= 1 || self.mode != Mode::Standalone,
            &["address", "mode"],
            "several addresses belong to a cluster or to Sentinels: set mode to `cluster` or `sentinel`",
        );
        check(
            self.mode != Mode::Sentinel || self.sentinel_service.is_some(),
            &["mode", "sentinel_service"],
            "Sentinels know several primaries: name the one that is meant",
        );
        check(
            self.password.is_none() || self.password_file.is_none(),
            &["password", "password_file"],
            "the password is given twice: choose one",
        );
        check(
            self.client_name.bytes().all(|byte| byte.is_ascii_graphic()),
            &["client_name"],
            "a client name has printable characters without spaces only",
        );
        check(
            self.mode != Mode::Cluster || self.effective_database() == 0,
            &["mode", "database"],
            "a cluster has only database 0",
        );
        check(self.effective_database() <= 255, &["database"], "the database is a number from 0 to 255");
        check(
            self.mode == Mode::Standalone || self.address.iter().all(|url| url.host().is_some()),
            &["address", "mode"],
            "a Unix socket leads to one standalone server",
        );
        check(
            self.tls_cert_file.is_some() == self.tls_key_file.is_some(),
            &["tls_cert_file", "tls_key_file"],
            "a client certificate and its key go together",
        );
        check(
            !self.tls_skip_verify || self.tls_ca_file.is_none(),
            &["tls_skip_verify", "tls_ca_file"],
            "a CA file has no effect when nothing is verified: choose one",
        );
        check(
            !self.uses_tls() || self.first().is_none_or(|url| url.path().is_none()),
            &["address", "tls_enabled"],
            "a Unix socket has no TLS",
        );
        found
    }
}

impl Setting for Mode {
    fn type_name() -> String {
        "`standalone`, `cluster` or `sentinel`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("standalone") => Ok(Self::Standalone),
            Some("cluster") => Ok(Self::Cluster),
            Some("sentinel") => Ok(Self::Sentinel),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
        }
        .to_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_do_not_contradict_themselves() {
        assert_eq!(ConnectionSettings::default().validate(), vec![]);
    }

    #[test]
    fn the_variables_of_existing_deployments_are_understood() {
        let settings: ConnectionSettings = valkey_config::Sources::new("VALKEY_SENDER_")
            .vars([
                ("VALKEY_SENDER_ADDRESS", "valkey.internal:6380"),
                ("VALKEY_SENDER_USERNAME", "app"),
                ("VALKEY_SENDER_PASSWORD_FILE", "/run/secrets/valkey"),
                ("VALKEY_SENDER_DB", "2"),
                ("VALKEY_SENDER_DIAL_TIMEOUT", "1m30s"),
                ("VALKEY_SENDER_READ_TIMEOUT", "500ms"),
                ("VALKEY_SENDER_WRITE_TIMEOUT", "3s"),
                ("VALKEY_SENDER_POOL_SIZE", "10"),
                ("VALKEY_SENDER_MIN_IDLE_CONNS", "2"),
                ("VALKEY_SENDER_MAX_IDLE_TIME", "5m"),
                ("VALKEY_SENDER_CONN_MAX_LIFETIME", "1h"),
                ("VALKEY_SENDER_BREAKER_MAX_REQUESTS", "5"),
                ("VALKEY_SENDER_BREAKER_INTERVAL", "2m"),
                ("VALKEY_SENDER_BREAKER_TIMEOUT", "60s"),
                ("VALKEY_SENDER_TLS_ENABLED", "true"),
                ("VALKEY_SENDER_TLS_SKIP_VERIFY", "false"),
                ("VALKEY_SENDER_TLS_CERT_FILE", "/tls/cert.pem"),
                ("VALKEY_SENDER_TLS_KEY_FILE", "/tls/key.pem"),
                ("VALKEY_SENDER_TLS_CA_FILE", "/tls/ca.pem"),
            ])
            .load()
            .unwrap();
        assert_eq!(settings.first().unwrap().address(), "valkey.internal:6380");
        // The path, not the content: the file is read at every login.
        assert_eq!(settings.password_file, Some("/run/secrets/valkey".into()));
        assert_eq!((settings.database, settings.pool_size), (2, 10));
        assert_eq!(settings.dial_timeout, Duration::from_secs(90));
        assert_eq!(settings.breaker_policy().interval, Duration::from_mins(2));
        assert!(settings.uses_tls() && !settings.tls_skip_verify);
        assert_eq!(settings.tls_ca_file, Some("/tls/ca.pem".into()));
    }

    #[test]
    fn contradictions_are_found_together() {
        let settings = ConnectionSettings::default()
            .pool_size(0)
            .mode(Mode::Sentinel)
            .tls_cert_file(Some("client.pem".into()))
            .read_timeout(Duration::ZERO);
        let found = settings.validate();
        let fields: Vec<_> = found.iter().flat_map(Contradiction::fields).copied().collect();
        for field in ["pool_size", "sentinel_service", "tls_key_file", "read_timeout"] {
            assert!(fields.contains(&field), "{field} is missing in {found:?}");
        }
    }

    #[test]
    fn explicit_credentials_win_over_those_of_the_url() {
        let settings = ConnectionSettings::from_url("valkey://url-user:url-pw@h/3").unwrap();
        assert_eq!(settings.effective_username(), Some("url-user"));
        assert_eq!(settings.effective_database(), 3);
        let settings = settings.username(Some("app".into())).password(Some("pw".into())).database(4);
        assert_eq!(settings.effective_username(), Some("app"));
        assert_eq!(settings.effective_password().map(Secret::expose), Some("pw"));
        assert_eq!(settings.effective_database(), 4);
    }

    #[test]
    fn debug_shows_no_password() {
        let settings =
            ConnectionSettings::from_url("valkey://u:canary@h").unwrap().password(Some("canary".into()));
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
