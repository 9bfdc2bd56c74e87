//! What can go wrong while starting, breaking or asking a server.

use std::fmt;
use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the testkit could not do what a test asked for.
///
/// `Debug` prints the same text as `Display`, causes included: tests `unwrap()`, and a person reads the result.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum TestkitError {
    /// The certificates of a TLS server could not be made.
    #[error("cannot make the test certificates: {0}")]
    Certificate(#[source] Source),

    /// `valkey-cli` (or `redis-cli`) ran and failed: the server answered with an error, or could not be reached.
    #[error("valkey-cli {command}: {message}")]
    Cli {
        /// The arguments it was given, without credentials.
        command: String,
        /// What it printed: the server's error as it stands (`WRONGTYPE Operation against ...`).
        message: String,
    },

    /// The Docker engine refused or failed at something.
    #[error("Docker failed {doing}: {source}")]
    Docker {
        /// What was being done, as in "starting a container".
        doing: &'static str,
        /// The engine's answer.
        source: Source,
    },

    /// A setting of a builder or an environment variable makes no sense.
    #[error("{0}")]
    Invalid(String),

    /// Files, sockets or processes of this machine failed.
    #[error("failed {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },

    /// The server of `VALKIT_TEST_URL` belongs to somebody else: it cannot be configured, killed or restarted.
    #[error(
        "this test needs a server of its own ({what}), but VALKIT_TEST_URL names one that is not ours to change; \
         unset it to let the testkit start one"
    )]
    NeedsOwnServer {
        /// What the test wanted to do.
        what: &'static str,
    },

    /// There is no way to start a Valkey here.
    #[error(
        "no Valkey to test against.\n{}\nAny of these helps:\n  \
         1. VALKIT_TEST_URL=valkey://host:port names a running server (tests that kill or configure theirs still fail)\n  \
         2. Docker, with the image {image} present or pullable (docker/build-valkey-image.sh builds one from Debian packages)\n  \
         3. valkey-server and valkey-cli on PATH (docker/install-valkey.sh installs them on Debian)",
        tried.iter().map(|reason| format!("  - {reason}")).collect::<Vec<_>>().join("\n")
    )]
    NoEngine {
        /// The image that was looked for.
        image: String,
        /// For each engine that was tried: why not.
        tried: Vec<String>,
    },

    /// The server's process is not in the state that the call needs, as in pausing one that was killed.
    #[error("the server is {state}: {what}")]
    State {
        /// What the test wanted to do.
        what: &'static str,
        /// What the server is instead.
        state: &'static str,
    },

    /// `valkey-server` ended instead of getting ready.
    #[error("valkey-server did not start ({reason}); its log:\n{log}")]
    Start {
        /// How it ended.
        reason: String,
        /// The last lines it logged.
        log: String,
    },

    /// Something that should have happened by now has not.
    #[error("waited {waited:?} in vain for {what}; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was there instead.
        last: String,
    },
}

impl TestkitError {
    pub(crate) fn docker(doing: &'static str) -> impl FnOnce(DockerError) -> Self {
        move |error| Self::Docker { doing, source: error.0 }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

impl fmt::Debug for TestkitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The errors of the two client libraries for Docker, as one. Keeps their types out of the public API.
#[derive(Debug)]
pub(crate) struct DockerError(Source);

impl From<testcontainers::TestcontainersError> for DockerError {
    fn from(error: testcontainers::TestcontainersError) -> Self {
        Self(error.into())
    }
}

impl From<testcontainers::bollard::errors::Error> for DockerError {
    fn from(error: testcontainers::bollard::errors::Error) -> Self {
        Self(error.into())
    }
}
