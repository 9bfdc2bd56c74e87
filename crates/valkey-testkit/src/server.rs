//! One server for tests.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::engine::Programs;
use crate::place::{self, Finished, Place};
use crate::supervisor::{Signal, Supervisor};
use crate::tls::Authority;
use crate::{TestServerBuilder, TestkitError, runtime};

/// The incremental file with the highest number is the one that is written to.
const LOSE_TAIL: &str = r#"
set -e
file=$(ls "$1"/appendonlydir/*.incr.aof | sort -t . -k 3n | tail -n 1)
size=$(wc -c <"$file")
if [ "$size" -lt "$2" ]; then
    echo "$file has only $size bytes" >&2
    exit 1
fi
head -c "$((size - $2))" "$file" >"$file.new"
mv "$file.new" "$file"
"#;

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

/// Somebody else's server.
pub(crate) struct Given {
    url: String,
    address: String,
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

/// Asking it with the real `valkey-cli`.
impl TestServer {
    /// Runs `valkey-cli` with these arguments and returns what it prints, without the last line break. Elements of
    /// an array stand on lines of their own, a nil is an empty line.
    ///
    /// # Errors
    /// [`TestkitError::Cli`] with the server's error, [`TestkitError::Invalid`] when the answer is no UTF-8.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String, TestkitError> {
        let output = self.cli_raw(arguments, Bytes::new()).await?;
        String::from_utf8(output).map_err(|_| {
            TestkitError::Invalid(format!("valkey-cli {arguments:?} did not answer in UTF-8: use cli_raw"))
        })
    }

    /// Like [`cli`](Self::cli) for any bytes: `stdin` is what the argument `-x` stands for, the result is exactly
    /// what `valkey-cli` prints less one line break at the end.
    ///
    /// ```no_run
    /// # async fn f(server: valkey_testkit::TestServer) -> Result<(), valkey_testkit::TestkitError> {
    /// server.cli_raw(&["-x", "LPUSH", "queue:q"], &b"\xff\x00\r\n"[..]).await?;
    /// assert_eq!(server.cli_raw(&["RPOP", "queue:q"], "").await?, b"\xff\x00\r\n");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TestkitError::Cli`] with the server's error.
    pub async fn cli_raw(
        &self,
        arguments: &[&str],
        stdin: impl Into<Bytes>,
    ) -> Result<Vec<u8>, TestkitError> {
        let command = arguments.join(" ");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let stdin = stdin.into();
        let finished = match &self.inner {
            Inner::Given(given) => {
                // Errors of the server become the exit code.
                let arguments = ["-e", "-u", &given.url].map(str::to_owned).into_iter().chain(arguments);
                let programs = Programs::find().map_err(TestkitError::Invalid)?;
                let command = std::iter::once(programs.cli.display().to_string()).chain(arguments).collect();
                runtime::run(async move { place::run_here(command, &[], stdin).await }).await?
            }
            Inner::Own(own) => {
                let arguments = own.cli_arguments().into_iter().chain(arguments).collect();
                let own = Arc::clone(own);
                runtime::run(async move { own.cli(arguments, stdin).await }).await?
            }
        };
        let Finished { code, mut stdout, stderr } = finished;
        if code != 0 {
            let message = [stderr, stdout].concat();
            let message = String::from_utf8_lossy(&message).trim().to_owned();
            return Err(TestkitError::Cli { command, message });
        }
        stdout.pop_if(|last| *last == b'\n');
        Ok(stdout)
    }
}

/// Breaking it.
impl TestServer {
    /// Ends the server's process by `SIGKILL` and waits until it is gone: its clients are cut off, new ones are
    /// refused. Does nothing for a server that does not run.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.own("kills it", |own| async move { own.supervisor.end(Signal::Kill).await }).await
    }

    /// Ends the server as an operator does, by `SIGTERM`, and waits until it is gone.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.own("stops it", |own| async move { own.supervisor.end(Signal::Terminate).await }).await
    }

    /// Starts the server again under the same address, after [`kill`](Self::kill), [`stop`](Self::stop) or, if it
    /// still runs, a stop of its own. It finds the data that its persistence kept.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`, [`TestkitError::Start`] when it does
    /// not come up.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.own("restarts it", |own| async move {
            own.supervisor.end(Signal::Terminate).await?;
            own.supervisor.start().await
        })
        .await
    }

    /// Freezes the server (`SIGSTOP`): connections stay open and new ones are accepted by the kernel, but nothing
    /// is answered until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`, [`TestkitError::State`].
    pub async fn pause(&self) -> Result<(), TestkitError> {
        self.own("pauses it", |own| async move { own.supervisor.pause(true).await }).await
    }

    /// Lets a paused server go on, with everything that was sent to it meanwhile.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`, [`TestkitError::State`].
    pub async fn resume(&self) -> Result<(), TestkitError> {
        self.own("resumes it", |own| async move { own.supervisor.pause(false).await }).await
    }

    /// Takes the last `bytes` bytes off the append-only file of a server that does not run: what a machine that loses
    /// power may have lost. (A killed process loses nothing that it has written; the kernel keeps it.)
    ///
    /// # Errors
    /// [`TestkitError::State`] when it runs: kill or stop it first.
    /// [`TestkitError::Invalid`] when there is no such file, or it is shorter.
    pub async fn lose_append_only_tail(&self, bytes: u64) -> Result<(), TestkitError> {
        self.own("cuts its append-only file", move |own| async move {
            if own.supervisor.is_running() {
                let what = "kill it before its append-only file is cut";
                return Err(TestkitError::State { what, state: "running" });
            }
            let data = own.place.directories().1;
            let finished = own.place.shell(LOSE_TAIL, &[data, &bytes.to_string()]).await?;
            if finished.code == 0 {
                return Ok(());
            }
            Err(TestkitError::Invalid(String::from_utf8_lossy(&finished.stderr).trim().to_owned()))
        })
        .await
    }

    /// Whether its process exists, paused or not. The server of `VALKIT_TEST_URL` is taken to run.
    pub fn is_running(&self) -> bool {
        match &self.inner {
            Inner::Given(_) => true,
            Inner::Own(own) => own.supervisor.is_running(),
        }
    }

    /// The last lines of its log, over all its runs. Empty for the server of `VALKIT_TEST_URL`.
    pub fn log(&self) -> String {
        match &self.inner {
            Inner::Given(_) => String::new(),
            Inner::Own(own) => own.supervisor.log(),
        }
    }

    async fn own<F, T>(&self, what: &'static str, act: impl FnOnce(Arc<Own>) -> F) -> Result<T, TestkitError>
    where
        F: Future<Output = Result<T, TestkitError>> + Send + 'static,
        T: Send + 'static,
    {
        match &self.inner {
            Inner::Given(_) => Err(TestkitError::NeedsOwnServer { what }),
            Inner::Own(own) => runtime::run(act(Arc::clone(own))).await,
        }
    }
}

impl Own {
    async fn cli(&self, arguments: Vec<String>, stdin: Bytes) -> Result<Finished, TestkitError> {
        let environment = match &self.operator {
            // Not an argument: those show in the process list. The older name is understood by all versions.
            Some((_, password)) => {
                vec![("REDISCLI_AUTH", password.as_str()), ("VALKEYCLI_AUTH", password.as_str())]
            }
            None => Vec::new(),
        };
        self.place.cli(arguments, &environment, stdin).await
    }

    fn cli_arguments(&self) -> Vec<String> {
        let port = self.place.ports().0.to_string();
        // Errors of the server become the exit code.
        let mut arguments =
            vec!["-e".to_owned(), "-h".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port];
        if let Some((user, _)) = &self.operator {
            arguments.extend(["--user".to_owned(), user.clone(), "--no-auth-warning".to_owned()]);
        }
        if self.authority.is_some() {
            let (directory, _) = self.place.directories();
            arguments.push("--tls".to_owned());
            for (option, file) in [("--cacert", "ca.pem"), ("--cert", "client.pem"), ("--key", "client.key")]
            {
                arguments.extend([option.to_owned(), format!("{directory}/{file}")]);
            }
        }
        arguments
    }
}

impl Given {
    pub(crate) fn new(url: &str) -> Result<Self, TestkitError> {
        let invalid =
            || TestkitError::Invalid("VALKIT_TEST_URL is no URL like valkey://host:port".to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        if !["valkey", "valkeys", "redis", "rediss"].contains(&scheme) {
            return Err(invalid());
        }
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:6379") };
        Ok(Self { url: url.to_owned(), address })
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_given_server_is_found_in_its_url() {
        for (url, address) in [
            ("valkey://h:7", "h:7"),
            ("rediss://user:p%40ss@h.example:7/3", "h.example:7"),
            ("valkey://:secret@h", "h:6379"),
            ("valkey://[::1]:7/0?x=y", "[::1]:7"),
        ] {
            assert_eq!(Given::new(url).unwrap().address, address);
        }
        for url in ["h:7", "http://h:7", "valkey://", "valkey:///0"] {
            assert!(Given::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn credentials_are_encoded_for_a_url() {
        assert_eq!(encode("a b:c@d/é"), "a%20b%3Ac%40d%2F%C3%A9");
    }
}
