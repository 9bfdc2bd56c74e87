//! What happens to Telegram that no client does.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::chat::ChatState;
use super::config::check_token;
use crate::DoubleError;

/// What happens to Telegram that no client does. The control API takes the same, as JSON.
///
/// ```
/// use freeipa_double::{ChatState, TelegramAction};
///
/// let action: TelegramAction = serde_json::from_str(r#"{"do":"set_chat","chat":42,"state":"blocked"}"#).unwrap();
/// assert!(matches!(action, TelegramAction::SetChat { chat: 42, state: ChatState::Blocked }));
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TelegramAction {
    /// Messages to a chat are delivered, or not.
    SetChat {
        /// The chat.
        chat: i64,
        /// What becomes of them.
        state: ChatState,
    },
    /// Messages to all other chats are delivered, or not.
    SetStrangers {
        /// What becomes of them.
        state: ChatState,
    },
    /// The bot has another token from now on.
    SetToken {
        /// The token.
        token: String,
    },
    /// Sending too fast is refused from now on, or not.
    SetPaced {
        /// Whether it is.
        paced: bool,
    },
    /// The bot has to be silent for so long: 429 for every message.
    Silence {
        /// Seconds.
        seconds: u64,
    },
    /// Time goes by.
    Advance {
        /// So many seconds.
        seconds: u64,
    },
}

// === impl TelegramAction ===

impl TelegramAction {
    pub(super) fn apply(self, shared: &Shared) -> Result<(), DoubleError> {
        let now = shared.clock.now();
        let mut state = shared.state();
        match self {
            Self::SetChat { chat, state: of } => {
                state.chats.insert(chat, of);
            }
            Self::SetStrangers { state: of } => state.strangers = of,
            Self::SetToken { token } => {
                check_token(&token)?;
                state.token = token;
            }
            Self::SetPaced { paced } => state.paced = paced,
            Self::Silence { seconds } => {
                let time = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
                state.silent_until = now.checked_add(time).ok();
            }
            Self::Advance { seconds } => shared.clock.advance(Duration::from_secs(seconds)),
        }
        Ok(())
    }
}

// One holds a token.
impl std::fmt::Debug for TelegramAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::SetChat { .. } => "SetChat",
            Self::SetStrangers { .. } => "SetStrangers",
            Self::SetToken { .. } => "SetToken",
            Self::SetPaced { .. } => "SetPaced",
            Self::Silence { .. } => "Silence",
            Self::Advance { .. } => "Advance",
        };
        f.debug_struct(name).finish_non_exhaustive()
    }
}
