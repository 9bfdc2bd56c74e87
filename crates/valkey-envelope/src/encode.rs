//! Envelope -> bytes.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    codec::{Codec, PayloadForm},
    envelope::Envelope,
    error::EncodeError,
    fields::Fields,
    lane::Lane,
    payload,
};

/// Writes the fields in the order of the specification. What says nothing (no ttl, zero retries) is left out,
/// which every reader takes for the same.
pub(crate) fn encode(codec: &Codec, envelope: &Envelope) -> Result<Bytes, EncodeError> {
    let Envelope {
        id,
        queue,
        kind,
        payload,
        form,
        headers,
        timestamp,
        ttl,
        retries,
        metadata,
        priority,
        not_before,
        content_type,
        key_id,
        checksum: _,
        unknown,
    } = envelope;
    let limits = &codec.limits;
    limits.check_header_count(headers.len())?;
    limits.check_header_bytes(headers.iter().map(|(name, value)| name.len() + value.len()).sum())?;
    let payload = payload.get();
    let form = codec.payload_form.unwrap_or(*form);

    let mut out = Object { json: Vec::with_capacity(256 + payload.len() * 4 / 3) };
    if !id.is_empty() {
        out.field("id", id.as_str());
    }
    out.optional("queue", queue.as_ref());
    out.optional("kind", kind.as_ref());
    match form {
        PayloadForm::Inline => {
            out.raw("payload", payload);
            // A string would leave the reader to guess whether it is base64.
            if payload.starts_with('"') {
                out.field(payload::ENCODING, payload::LITERAL);
            }
        }
        PayloadForm::Base64 => {
            limits.check_depth(payload.as_bytes(), 1)?;
            out.base64("payload", payload);
            out.field(payload::ENCODING, payload::BASE64);
        }
    }
    if !headers.is_empty() {
        out.field("headers", headers);
    }
    out.time("timestamp", *timestamp);
    out.optional("ttl", ttl.map(|ttl| ttl.as_nanos() as u64));
    out.optional("retries", Some(retries).filter(|&&n| n != 0));
    if !metadata.is_empty() {
        out.field("metadata", metadata);
    }
    out.optional("priority", Some(priority).filter(|&&lane| lane != Lane::Normal));
    out.time("not_before", *not_before);
    out.optional("content_type", content_type.as_ref());
    out.optional("key_id", key_id.as_ref());
    if envelope.has_checksum() {
        out.field("crc", &payload::checksum(payload));
    }
    out.all(unknown);
    let json = out.end();

    limits.check_size(json.len())?;
    limits.check_depth(&json, 0)?;
    Ok(Bytes::from(json))
}

/// A JSON object in the making: each field brings the comma or brace in front of it.
struct Object {
    json: Vec<u8>,
}

// === impl Object ===

impl Object {
    /// Only for names without anything to escape.
    fn name(&mut self, name: &'static str) {
        self.comma();
        self.json.push(b'"');
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
    }

    fn comma(&mut self) {
        self.json.push(if self.json.is_empty() { b'{' } else { b',' });
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.json, value)
            .expect("texts, numbers and maps of texts always have a JSON form, and a Vec takes any write");
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.name(name);
        self.value(value);
    }

    fn optional<T: Serialize>(&mut self, name: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.field(name, &value);
        }
    }

    fn raw(&mut self, name: &'static str, json: &str) {
        self.name(name);
        self.json.extend_from_slice(json.as_bytes());
    }

    fn base64(&mut self, name: &'static str, bytes: &str) {
        self.name(name);
        self.json.push(b'"');
        let start = self.json.len();
        let length = base64::encoded_len(bytes.len(), true).expect("twice a string's length fits in memory");
        self.json.resize(start + length, 0);
        STANDARD
            .encode_slice(bytes, &mut self.json[start..])
            .expect("the space is of the length that base64 asked for");
        self.json.push(b'"');
    }

    fn time(&mut self, name: &'static str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.name(name);
            // RFC 3339 in UTC with as many digits as it takes: what Go's RFC3339Nano writes.
            write!(self.json, "\"{time}\"").expect("a Vec takes any write");
        }
    }

    fn all(&mut self, fields: &Fields) {
        for (name, value) in fields.iter() {
            self.comma();
            self.value(name);
            self.json.push(b':');
            self.json.extend_from_slice(value.get().as_bytes());
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.json.push(b'}');
        self.json
    }
}
