//! What goes wrong with calls of FreeIPA on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The connection breaks, and nothing was done.
    DropBeforeCommit,
    /// It is done, and the connection breaks: no byte of a reply.
    CommitThenDrop,
    /// It is done, and the connection breaks in the middle of the reply's body.
    CommitThenHalf,
    /// It is done, and the reply is 500.
    Commit500,
    /// It is done, and the reply says 903 (internal error).
    Commit903,
    /// Nothing is done, and the reply says 903.
    Internal903,
    /// Nothing is done, and the reply says 907 (the directory cannot be reached).
    Network907,
    /// Nothing is done, and the reply is 500.
    Http500,
    /// Nothing is done, and the reply is 503.
    Http503,
    /// Nothing is done, and the reply is a proxy's page, with 200 for its status.
    Page,
    /// It is done after so long, whether or not the client still waits.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Nothing is done, and no reply comes.
    Hang,
    /// It is done, and no reply comes.
    CommitThenHang,
    /// All sessions end before the call: 401, nothing is done.
    ExpireSessions,
    /// Nothing is done, and the reply says 2100.
    Deny,
    /// Nothing is done, and the reply says this.
    Error {
        /// The number.
        code: i64,
        /// The name.
        name: String,
        /// The text.
        message: String,
    },
}

// === impl Fault ===

impl Fault {
    /// How long it takes.
    pub(crate) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Delay { ms } => Some(Duration::from_millis(*ms)),
            _ => None,
        }
    }
}
