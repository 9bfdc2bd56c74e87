//! Messages that were delivered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::entities::{Entity, ParseMode};

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SentMessage {
    /// Its number, for edits.
    pub id: i64,
    /// The chat.
    pub chat: i64,
    /// When.
    pub at: Timestamp,
    /// What people read: the text without its formatting, as it is now.
    pub text: String,
    /// The formatting.
    pub entities: Vec<Entity>,
    /// How the text was written.
    pub parse_mode: Option<ParseMode>,
    /// Whether it may not be passed on.
    pub protected: bool,
    /// Whether it comes without a sound.
    pub silent: bool,
    /// Whether links in it are shown without a preview.
    pub without_preview: bool,
    /// What people read before it was edited, in order.
    pub earlier: Vec<String>,
    /// When it was edited last.
    pub edited: Option<Timestamp>,
}

// === impl SentMessage ===

impl SentMessage {
    /// As replies have it.
    pub(super) fn to_reply(&self, bot: i64) -> Json {
        let mut chat = json!({"id": self.chat, "type": if self.chat < 0 { "group" } else { "private" }});
        chat[if self.chat < 0 { "title" } else { "first_name" }] = "Somebody".into();
        let mut reply = json!({
            "message_id": self.id,
            "from": {"id": bot, "is_bot": true, "first_name": "Double", "username": "double_bot"},
            "chat": chat,
            "date": self.at.as_second(),
            "text": self.text,
        });
        if !self.entities.is_empty() {
            reply["entities"] = json!(self.entities);
        }
        if self.protected {
            reply["has_protected_content"] = true.into();
        }
        if let Some(edited) = self.edited {
            reply["edit_date"] = edited.as_second().into();
        }
        reply
    }
}
