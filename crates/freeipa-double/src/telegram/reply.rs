//! Replies of the Bot API.

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value as Json, json};

use crate::web::Reply;

/// Why a method came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The status of the reply, and the number in it.
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) retry_after: Option<u64>,
    pub(super) migrate_to: Option<i64>,
}

// === impl Failure ===

impl Failure {
    pub(super) fn new(code: u16, description: impl Into<String>) -> Self {
        Self { code, description: description.into(), retry_after: None, migrate_to: None }
    }

    pub(super) fn bad(why: &str) -> Self {
        Self::new(400, format!("Bad Request: {why}"))
    }

    pub(super) fn too_many(retry_after: u64) -> Self {
        let text = format!("Too Many Requests: retry after {retry_after}");
        Self { retry_after: Some(retry_after), ..Self::new(429, text) }
    }

    pub(super) fn reply(&self) -> Reply {
        let mut body = json!({"ok": false, "error_code": self.code, "description": self.description});
        let mut parameters = serde_json::Map::new();
        if let Some(seconds) = self.retry_after {
            parameters.insert("retry_after".to_owned(), seconds.into());
        }
        if let Some(chat) = self.migrate_to {
            parameters.insert("migrate_to_chat_id".to_owned(), chat.into());
        }
        if !parameters.is_empty() {
            body["parameters"] = parameters.into();
        }
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reply = Reply::json(status, &body);
        match self.retry_after {
            Some(seconds) => reply.with_header(RETRY_AFTER, &seconds.to_string()),
            None => reply,
        }
    }
}

/// What a method came to.
pub(super) fn ok(result: &Json) -> Reply {
    Reply::json(StatusCode::OK, &json!({"ok": true, "result": result}))
}
