//! One server for tests.

mod cli;
mod disk;
mod faults;
mod given;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::place::Place;
use crate::supervisor::Supervisor;
use crate::tls::Authority;
use crate::{TestServerBuilder, TestkitError, runtime};

pub(crate) use given::Given;

/// A real Valkey that belongs to a test. Dropping it ends it and removes its data; so does the end of the test
/// process, by whatever signal.
///
/// All its methods work on any runtime, also one other than that which started it.
#[derive(Debug)]
pub struct TestServer {
    inner: Inner,
}

pub(crate) enum Inner {
    Given(Given),
    Own(Arc<Own>),
}

/// Field order is drop order: the supervisor ends the server, only then its place goes.
pub(crate) struct Own {
    pub(crate) supervisor: Supervisor,
    pub(crate) place: Place,
    /// Whom `cli` comes in as, and whom `url` does.
    pub(crate) operator: Option<(String, String)>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) authority: Option<Arc<Authority>>,
}

/// Making and sharing.
impl TestServer {
    /// Starts a plain server: no persistence, no password, no TLS.
    ///
    /// # Errors
    /// As [`TestServerBuilder::start`].
    pub async fn start() -> Result<Self, TestkitError> {
        Self::builder().start().await
    }

    /// A server with anything special about it.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder::default()
    }

    /// The plain server that all tests of this process share. It is not to be killed, paused or flushed: names of
    /// one's own ([`unique_name`](crate::unique_name)) keep tests apart.
    ///
    /// # Panics
    /// When it cannot be started, with the text of the [`TestkitError`]: a test can do nothing else about it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestServer> = OnceCell::const_new();
        match SHARED.get_or_try_init(Self::start).await {
            Ok(server) => server,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner }
    }
}

/// Where it is.
impl TestServer {
    /// A URL that works as it is: `valkey://` or, with TLS, `valkeys://`, with the first ACL user or the password
    /// of the builder in it.
    pub fn url(&self) -> String {
        match &self.inner {
            Inner::Given(given) => given.url.clone(),
            Inner::Own(own) => match &own.user {
                Some((name, password)) => self.url_as(name, password),
                None => format!("{}://{}", self.scheme(), self.address()),
            },
        }
    }

    /// A URL with these credentials in it, right or wrong.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("{}://{}:{}@{}", self.scheme(), encode(user), encode(password), self.address())
    }

    /// `host:port`. Stays the same over restarts.
    pub fn address(&self) -> String {
        match &self.inner {
            Inner::Given(given) => given.address.clone(),
            Inner::Own(own) => format!("{}:{}", own.place.ip(), own.place.ports().0),
        }
    }

    /// The certificate of the authority that signed the server's own; with TLS only.
    pub fn tls_ca_path(&self) -> Option<&Path> {
        self.authority().map(Authority::ca_path)
    }

    /// A certificate that the server accepts from clients; with TLS only.
    pub fn tls_client_certificate_path(&self) -> Option<&Path> {
        self.authority().map(Authority::certificate_path)
    }

    /// The key of that certificate.
    pub fn tls_client_key_path(&self) -> Option<&Path> {
        self.authority().map(Authority::key_path)
    }

    pub(crate) fn host_and_port(&self) -> (String, String) {
        let address = self.address();
        let (host, port) = address.rsplit_once(':').expect("an address has a port");
        (host.to_owned(), port.to_owned())
    }

    pub(crate) fn bus_port(&self) -> String {
        match &self.inner {
            Inner::Given(_) => String::new(),
            Inner::Own(own) => own.place.ports().1.to_string(),
        }
    }

    /// The address under which the server reaches what listens in this process.
    pub(crate) async fn host(&self) -> Result<IpAddr, TestkitError> {
        match &self.inner {
            Inner::Given(_) => Err(TestkitError::NeedsOwnServer { what: "lets it connect back" }),
            Inner::Own(own) => {
                let own = Arc::clone(own);
                runtime::run(async move { own.place.host().await }).await
            }
        }
    }

    /// Whether it can be asked: it runs and is not paused.
    pub(crate) fn answers(&self) -> bool {
        match &self.inner {
            Inner::Given(_) => true,
            Inner::Own(own) => own.supervisor.is_running() && !own.supervisor.is_paused(),
        }
    }

    /// Whom `cli` comes in as.
    pub(crate) fn credentials(&self) -> Option<(String, String)> {
        match &self.inner {
            Inner::Given(_) => None,
            Inner::Own(own) => own.operator.clone(),
        }
    }

    fn authority(&self) -> Option<&Authority> {
        match &self.inner {
            Inner::Given(_) => None,
            Inner::Own(own) => own.authority.as_deref(),
        }
    }

    fn scheme(&self) -> &'static str {
        match &self.inner {
            Inner::Given(given) if given.url.starts_with("valkeys") || given.url.starts_with("rediss") => {
                "valkeys"
            }
            Inner::Own(own) if own.authority.is_some() => "valkeys",
            _ => "valkey",
        }
    }
}

/// Percent-encoding for the user part of a URL.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(given) => f.debug_tuple("Given").field(&given.address).finish(),
            Self::Own(own) => f.debug_tuple("Own").field(&own.place).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_for_a_url() {
        assert_eq!(encode("a b:c@d/é"), "a%20b%3Ac%40d%2F%C3%A9");
    }
}
