//! Where a server is and how to log in: one text for what would else be six settings.

mod parse;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::Secret;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 6379;

/// The address of a Valkey server with its credentials and database.
///
/// Understood are `valkey://`, `valkeys://` (TLS), `redis://`, `rediss://` (TLS), `unix://PATH` and, without a scheme,
/// `host`, `host:port` and an absolute socket path:
///
/// ```text
/// valkeys://user:password@host:6379/2      password@: user and password are percent-decoded
/// valkey://[2001:db8::1]:6379              an IPv6 address stands in brackets
/// unix:///run/valkey.sock?db=2             unix://user:password@/run/valkey.sock
/// ```
///
/// `Display`, `Debug` and [`ServerUrlError`] never show the password.
///
/// ```
/// use valkey_config::ServerUrl;
///
/// let url: ServerUrl = "rediss://app:s%20cret@db.example.org/2".parse()?;
/// assert!(url.is_tls());
/// assert_eq!(url.host(), Some("db.example.org"));
/// assert_eq!(url.port(), Some(6379));
/// assert_eq!(url.username(), Some("app"));
/// assert_eq!(url.password().map(|password| password.expose()), Some("s cret"));
/// assert_eq!(url.database(), Some(2));
/// assert_eq!(url.to_string(), "valkeys://app:[redacted]@db.example.org:6379/2");
/// # Ok::<(), valkey_config::ServerUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    scheme: Scheme,
    endpoint: Endpoint,
    username: Option<String>,
    password: Option<Secret>,
    database: Option<u32>,
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `host:port` without a scheme: over TCP, and another setting decides about TLS.
    Bare,
    /// `valkey://`, `redis://`: TCP.
    Tcp,
    /// `valkeys://`, `rediss://`: TCP with TLS.
    Tls,
    /// `unix://` or an absolute path: a Unix domain socket.
    Unix,
}

#[derive(Clone, PartialEq, Eq)]
enum Endpoint {
    /// The host of an IPv6 address is kept without brackets.
    Network {
        host: String,
        port: u16,
    },
    Socket(PathBuf),
}

/// Why a text is not a server URL. Repeats nothing of the text but its scheme: the rest may be a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// The database is not a whole number.
    #[error("the database after the `/` is not a whole number")]
    Database,
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// No host, or a host with characters no host has.
    #[error("the host is missing or not valid (percent-encode `/`, `?`, `#` and `@` in a password)")]
    Host,
    /// A `%` that is not followed by two hexadecimal digits, or that does not give UTF-8.
    #[error(
        "a `%` in the user or password does not begin a percent-encoded byte of UTF-8 (write `%25` for `%`)"
    )]
    PercentEncoding,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535 (percent-encode `/`, `?`, `#` and `@` in a password)")]
    Port,
    /// Something after a `?` or `#` that is not understood.
    #[error("what follows the `?` or `#` is not understood: only unix URLs take `?db=NUMBER`")]
    Query,
    /// A scheme that is not known.
    #[error("the scheme `{0}://` is not known: use valkey, valkeys, redis, rediss or unix")]
    Scheme(String),
    /// A socket path that is not absolute.
    #[error("the socket path is not absolute: write unix:///run/valkey.sock")]
    SocketPath,
}

impl ServerUrl {
    /// A server at a host and port, without TLS, credentials and database.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError::Host`] for what is no host name or IP address, [`ServerUrlError::Port`] for port 0.
    pub fn new(host: &str, port: u16) -> Result<Self, ServerUrlError> {
        if port == 0 {
            return Err(ServerUrlError::Port);
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self::at(Scheme::Tcp, Endpoint::Network { host: parse::valid_host(host)?.to_owned(), port }))
    }

    fn at(scheme: Scheme, endpoint: Endpoint) -> Self {
        Self { scheme, endpoint, username: None, password: None, database: None }
    }

    /// The same server as another user.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The same server with another password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The same server with another database.
    #[must_use]
    pub fn with_database(mut self, database: u32) -> Self {
        self.database = Some(database);
        self
    }

    /// The same server with TLS. A Unix socket stays as it is.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        if self.scheme != Scheme::Unix {
            self.scheme = Scheme::Tls;
        }
        self
    }

    /// How the bytes travel.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the URL asks for TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Tls
    }

    /// The host name or IP address, without brackets; `None` for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match &self.endpoint {
            Endpoint::Network { host, .. } => Some(host),
            Endpoint::Socket(_) => None,
        }
    }

    /// The port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.endpoint {
            Endpoint::Network { port, .. } => Some(*port),
            Endpoint::Socket(_) => None,
        }
    }

    /// The path of the Unix socket, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.endpoint {
            Endpoint::Network { .. } => None,
            Endpoint::Socket(path) => Some(path),
        }
    }

    /// `host:port`, an IPv6 address in brackets, or the path of the socket: what logs and errors name.
    pub fn address(&self) -> String {
        match &self.endpoint {
            Endpoint::Network { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Network { host, port } => format!("{host}:{port}"),
            Endpoint::Socket(path) => path.display().to_string(),
        }
    }

    /// The user, percent-decoded.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password, percent-decoded.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The database, if the URL names one.
    pub fn database(&self) -> Option<u32> {
        self.database
    }
}

impl Default for ServerUrl {
    /// `localhost:6379`.
    fn default() -> Self {
        Self::at(Scheme::Bare, Endpoint::Network { host: "localhost".to_owned(), port: DEFAULT_PORT })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Bare => "",
            Scheme::Tcp => "valkey://",
            Scheme::Tls => "valkeys://",
            Scheme::Unix => "unix://",
        })?;
        if let Some(username) = &self.username {
            f.write_str(&percent_encode(username))?;
        }
        if self.password.is_some() {
            write!(f, ":{}", crate::secret::REDACTED)?;
        }
        if self.username.is_some() || self.password.is_some() {
            f.write_char('@')?;
        }
        f.write_str(&self.address())?;
        match self.database {
            Some(database) if self.scheme == Scheme::Unix => write!(f, "?db={database}"),
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::codec::decode_setting(deserializer)
    }
}

fn percent_encode(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if text.bytes().all(plain) {
        return text.into();
    }
    let mut encoded = String::new();
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    encoded.into()
}
