//! All that one Telegram double has in memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chat::ChatState;
use super::config::TelegramConfig;
use super::message::SentMessage;
use super::pace::Pace;

/// All that one Telegram double has in memory.
pub(crate) struct State {
    pub(super) token: String,
    pub(super) chats: BTreeMap<i64, ChatState>,
    pub(super) strangers: ChatState,
    pub(super) paced: bool,
    pub(super) pace: Pace,
    /// Until when the bot has to be silent.
    pub(super) silent_until: Option<Timestamp>,
    pub(super) messages: Vec<SentMessage>,
    pub(super) stats: TelegramStats,
}

/// What was asked of a Telegram double, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TelegramStats {
    /// Requests by method, with the right token.
    pub requests: BTreeMap<String, u64>,
    /// Requests with a wrong token, or none.
    pub without_token: u64,
    /// Replies by status, those of faults included.
    pub statuses: BTreeMap<u16, u64>,
    /// Messages tried while the bot had been told to wait: 0 for a client that obeys.
    pub impatient: u64,
}

// === impl State ===

impl State {
    pub(super) fn new(config: TelegramConfig) -> Self {
        Self {
            token: config.token,
            chats: BTreeMap::new(),
            strangers: config.strangers,
            paced: config.paced,
            pace: Pace::default(),
            silent_until: None,
            messages: Vec::new(),
            stats: TelegramStats::default(),
        }
    }

    /// The bot's own number.
    pub(super) fn bot(&self) -> i64 {
        self.token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default()
    }

    pub(super) fn chat(&self, chat: i64) -> ChatState {
        self.chats.get(&chat).copied().unwrap_or(self.strangers)
    }

    /// How many seconds the bot still has to be silent.
    pub(super) fn silence(&self, now: Timestamp) -> Option<u64> {
        let until = self.silent_until.filter(|until| now < *until)?;
        Some(u64::try_from(until.duration_since(now).as_secs()).unwrap_or_default() + 1)
    }
}
