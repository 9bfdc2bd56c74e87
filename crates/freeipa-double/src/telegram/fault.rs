//! What goes wrong with requests to Telegram on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong with a request to Telegram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TelegramFault {
    /// 429: not before so many seconds. Until then all messages of the bot are refused likewise.
    TooMany {
        /// Seconds.
        retry_after: u64,
    },
    /// Nothing is done, and the reply says this.
    Error {
        /// The status, and the number in the reply.
        code: u16,
        /// The text.
        description: String,
    },
    /// Nothing is done, and the reply has this status and a page for its body.
    Page {
        /// The status.
        status: u16,
    },
    /// It is done, and no reply comes.
    DeliverThenHang,
    /// It is done, and the connection breaks.
    DeliverThenDrop,
    /// It is done, and the reply is 500.
    Deliver500,
    /// Nothing is done, and no reply comes.
    Hang,
    /// Nothing is done, and the connection breaks.
    Drop,
    /// It is done after so long, whether or not the client still waits.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
}

// === impl TelegramFault ===

impl TelegramFault {
    pub(super) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Delay { ms } => Some(Duration::from_millis(*ms)),
            _ => None,
        }
    }
}
