//! The payload: its two forms on the wire, its checksum, and what is said when it is not of the wanted type.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use serde_json::{
    error::Category,
    value::{RawValue, to_raw_value},
};

use crate::{
    codec::{Codec, PayloadForm, StringPayload},
    error::DecodeError,
};

/// The field that says how a string payload is meant.
pub(crate) const ENCODING: &str = "payload_encoding";
/// The string is the base64 of JSON text.
pub(crate) const BASE64: &str = "base64";
/// The string is the payload.
pub(crate) const LITERAL: &str = "literal";

/// The payload is not of the type asked for. Says where and what was expected, never what was found there:
/// payloads may be secrets. (Messages that a type's own `Deserialize` makes are passed on as they are.)
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload is no {type_name}: {reason} at line {line} column {column}")]
pub struct PayloadMismatch {
    type_name: &'static str,
    reason: String,
    line: usize,
    column: usize,
}

/// What the wire says the payload is, resolved to JSON text.
pub(crate) fn read(
    codec: &Codec,
    wire: &RawValue,
    encoding: Option<&str>,
) -> Result<(Box<RawValue>, PayloadForm), DecodeError> {
    let meant = match encoding {
        None => codec.string_payload,
        Some(BASE64) => StringPayload::Base64,
        Some(LITERAL) => StringPayload::Literal,
        Some(_) => return Err(DecodeError::at(ENCODING, "expected `base64` or `literal`")),
    };
    // All this is about strings; any other value is what it is.
    let meant = if wire.get().starts_with('"') { meant } else { StringPayload::Literal };
    let limits = &codec.limits;
    match meant {
        StringPayload::Base64 => {
            let json =
                text_of_base64(wire).ok_or_else(|| DecodeError::at("payload", "expected base64 of JSON"))?;
            limits.check_depth(json.as_bytes(), 1)?;
            let payload = RawValue::from_string(json).map_err(|_| {
                DecodeError::at("payload", "expected base64 of JSON, found base64 of something else")
            })?;
            return Ok((payload, PayloadForm::Base64));
        }
        StringPayload::Detect => {
            let container = |json: &String| json.trim_ascii_start().starts_with(['{', '[']);
            if let Some(json) = text_of_base64(wire).filter(container) {
                limits.check_depth(json.as_bytes(), 1)?;
                if let Ok(payload) = RawValue::from_string(json) {
                    return Ok((payload, PayloadForm::Base64));
                }
            }
        }
        StringPayload::Literal => {}
    }
    Ok((wire.to_owned(), PayloadForm::Inline))
}

/// The payload as a value.
pub(crate) fn parse<T: DeserializeOwned>(payload: &RawValue) -> Result<T, DecodeError> {
    serde_json::from_str(payload.get()).map_err(|error| PayloadMismatch::new::<T>(&error).into())
}

/// CRC-32 (IEEE) of the payload's JSON text, whatever form it has on the wire.
pub(crate) fn checksum(payload: &str) -> u32 {
    crc32fast::hash(payload.as_bytes())
}

/// The JSON string of the base64 of bytes.
pub(crate) fn string_of_bytes(bytes: &[u8]) -> Box<RawValue> {
    to_raw_value(&STANDARD.encode(bytes)).expect("a text always has a JSON form")
}

/// The bytes whose base64 the JSON string is.
pub(crate) fn bytes_of_string(payload: &RawValue) -> Result<Vec<u8>, DecodeError> {
    unquote(payload)
        .and_then(|string| STANDARD.decode(&*string).ok())
        .ok_or_else(|| DecodeError::at("payload", "expected a string of base64"))
}

/// The text of a JSON string; `None` for any other value, or one that is not all Unicode.
pub(crate) fn unquote(json: &RawValue) -> Option<Cow<'_, str>> {
    let inner = json.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json.get()).ok().map(Cow::Owned)
    } else {
        Some(inner.into())
    }
}

fn text_of_base64(string: &RawValue) -> Option<String> {
    String::from_utf8(STANDARD.decode(&*unquote(string)?).ok()?).ok()
}

// === impl PayloadMismatch ===

impl PayloadMismatch {
    fn new<T>(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // Line and column come at the end, and are told by fields of their own.
        let text = text.rsplit_once(" at line ").map_or(&*text, |(reason, _)| reason);
        let reason = match error.classify() {
            Category::Data => redact(text),
            Category::Eof | Category::Io | Category::Syntax => text.to_owned(),
        };
        Self { type_name: std::any::type_name::<T>(), reason, line: error.line(), column: error.column() }
    }

    /// The type asked for.
    pub const fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Where in the payload, line and column, from 1.
    pub const fn position(&self) -> (usize, usize) {
        (self.line, self.column)
    }
}

/// Takes the found value out of serde's messages, which all put it in front of the expected one.
fn redact(message: &str) -> String {
    const WITH_VALUE: [&str; 5] =
        ["invalid type", "invalid value", "invalid length", "unknown variant", "unknown field"];
    match WITH_VALUE.into_iter().find(|kind| message.starts_with(kind)) {
        None => message.to_owned(),
        Some(kind) => match message.rsplit_once(", expected ") {
            Some((_, expected)) => format!("{kind}, expected {expected}"),
            None => kind.to_owned(),
        },
    }
}
