//! What a Telegram double is.

use std::net::{Ipv4Addr, SocketAddr};

use crate::telegram::chat::ChatState;
use crate::{Clock, DoubleError};

/// What a [`TelegramDouble`](crate::TelegramDouble) is. Everything has a default.
#[derive(Clone)]
#[must_use]
pub struct TelegramConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) token: String,
    pub(crate) clock: Clock,
    pub(crate) paced: bool,
    pub(crate) strangers: ChatState,
}

// === impl TelegramConfig ===

impl TelegramConfig {
    /// A bot with a token of its own, on a free port of the loopback address, open to every chat and at any pace.
    pub fn new() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            token: "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0".to_owned(),
            clock: Clock::default(),
            paced: false,
            strangers: ChatState::Open,
        }
    }

    /// Where to listen.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The token that clients have to know: digits, a colon, and a secret of at least 30 characters.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// The time it lives in; its own by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Refuses more than one message a second to a chat, 20 a minute to a group, and 30 a second in all.
    pub fn paced(mut self) -> Self {
        self.paced = true;
        self
    }

    /// What becomes of messages to chats that nobody said anything about; they are delivered by default.
    pub fn strangers(mut self, state: ChatState) -> Self {
        self.strangers = state;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), DoubleError> {
        check_token(&self.token)
    }
}

impl Default for TelegramConfig {
    fn default() -> Self {
        Self::new()
    }
}

// The token stays out.
impl std::fmt::Debug for TelegramConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelegramConfig")
            .field("listen", &self.listen)
            .field("paced", &self.paced)
            .finish_non_exhaustive()
    }
}

pub(crate) fn check_token(token: &str) -> Result<(), DoubleError> {
    if is_token(token) {
        return Ok(());
    }
    let why = "it needs digits, a colon, and at least 30 letters, digits, - or _";
    Err(DoubleError::refused("the token of the bot", why))
}

/// Whether a text has the form of a token.
pub(crate) fn is_token(text: &str) -> bool {
    let Some((id, secret)) = text.split_once(':') else { return false };
    let secret_char = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    !id.is_empty()
        && !id.starts_with('0')
        && id.bytes().all(|c| c.is_ascii_digit())
        && (30..=64).contains(&secret.len())
        && secret.bytes().all(secret_char)
}
