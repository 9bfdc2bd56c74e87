//! Chats, and why some take no messages.

use serde::{Deserialize, Serialize};

use super::reply::Failure;

/// What becomes of messages to a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChatState {
    /// They are delivered.
    Open,
    /// 400: the bot never met it.
    NotFound,
    /// 403: the user blocked the bot.
    Blocked,
    /// 403: the user is no more.
    Deactivated,
    /// 403: the user never spoke to the bot.
    NotStarted,
    /// 403: the bot was thrown out of the group.
    Kicked,
    /// 400: the group goes on as another chat.
    Migrated {
        /// As this one.
        to: i64,
    },
}

// === impl ChatState ===

impl ChatState {
    /// Why no message gets there, if none does.
    pub(super) fn refusal(self) -> Option<Failure> {
        match self {
            Self::Open => None,
            Self::NotFound => Some(Failure::new(400, "Bad Request: chat not found")),
            Self::Blocked => Some(Failure::new(403, "Forbidden: bot was blocked by the user")),
            Self::Deactivated => Some(Failure::new(403, "Forbidden: user is deactivated")),
            Self::NotStarted => {
                Some(Failure::new(403, "Forbidden: bot can't initiate conversation with a user"))
            }
            Self::Kicked => Some(Failure::new(403, "Forbidden: bot was kicked from the group chat")),
            Self::Migrated { to } => {
                let text = "Bad Request: group chat was upgraded to a supergroup chat";
                Some(Failure { migrate_to: Some(to), ..Failure::new(400, text) })
            }
        }
    }
}
