//! Who registers.

use serde_json::{Value, json};
use uuid::Uuid;

/// Somebody who is called so, and wants nothing special.
pub(crate) fn somebody(chat: i64, first_name: &str) -> Value {
    json!({
        "schema": 1,
        "registration_id": Uuid::now_v7().to_string(),
        "telegram": {"user_id": chat, "chat_id": chat, "language_code": "en"},
        "first_name": first_name,
        "last_name": "Tester",
    })
}

/// The same, and something else.
pub(crate) fn with(mut registration: Value, name: &str, value: impl Into<Value>) -> Value {
    registration[name] = value.into();
    registration
}

/// Who wants to be called so.
pub(crate) fn asking(chat: i64, login: &str) -> Value {
    with(somebody(chat, "Ada"), "requested_login", login)
}

/// What a registration is known by in the directory.
pub(crate) fn marker(registration: &Value) -> String {
    format!("tgreg:{}", registration["registration_id"].as_str().unwrap())
}
