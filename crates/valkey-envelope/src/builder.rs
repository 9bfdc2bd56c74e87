//! How an envelope is made.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    codec::PayloadForm, envelope::Envelope, error::EncodeError, fields::Fields, headers::Headers,
    id::MessageId, lane::Lane, payload, queue::QueueName, trace::TraceParent,
};

/// What Go's `time.Duration` can hold, about 292 years.
const MAX_TTL: Duration = Duration::from_nanos(i64::MAX as u64);

impl Envelope {
    /// A new message with this payload, a fresh id and the current time. Floats that are no number become `null`.
    ///
    /// # Errors
    /// [`EncodeError::Payload`] if the value has no JSON form, such as a map whose keys are no texts.
    pub fn new<T: Serialize + ?Sized>(payload: &T) -> Result<Self, EncodeError> {
        to_raw_value(payload)
            .map(Self::from_json)
            .map_err(|error| EncodeError::Payload { reason: error.to_string() })
    }

    /// A new message of a JSON text, with a fresh id and the current time.
    pub fn from_json(payload: Box<RawValue>) -> Self {
        Self { timestamp: Some(Timestamp::now()), ..Self::bare(MessageId::new(), payload) }
    }

    /// A new message of any bytes: the payload is the string of their base64, which
    /// [`payload_bytes`](Self::payload_bytes) gives back, and Go reads into a `[]byte`.
    pub fn from_bytes(payload: &[u8]) -> Self {
        Self::from_json(payload::string_of_bytes(payload))
    }

    /// Nothing but an id and a payload.
    pub(crate) fn bare(id: MessageId, payload: Box<RawValue>) -> Self {
        Self {
            id,
            queue: None,
            kind: None,
            payload,
            form: PayloadForm::Inline,
            headers: Headers::new(),
            timestamp: None,
            ttl: None,
            retries: 0,
            metadata: Fields::default(),
            priority: Lane::Normal,
            not_before: None,
            content_type: None,
            key_id: None,
            checksum: false,
            unknown: Fields::default(),
        }
    }

    /// Sets the id. A send that is repeated keeps the id, so that it can be told from a new message.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<MessageId>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the queue it is meant for. Information only: where it goes is the sender's choice.
    #[must_use]
    pub fn with_queue(mut self, queue: &QueueName) -> Self {
        self.queue = Some(queue.as_str().to_owned());
        self
    }

    /// Sets the kind of message, by which handlers are chosen.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets a header, in place of one of the same name.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the `traceparent` header.
    #[must_use]
    pub fn with_trace_parent(self, parent: &TraceParent) -> Self {
        self.with_header(TraceParent::HEADER, parent.to_string())
    }

    /// Sets when it was made, from which the time to live counts.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets how long after its timestamp it is still wanted. Zero is for ever; more than 292 years are 292 years.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl.min(MAX_TTL)).filter(|ttl| !ttl.is_zero());
        self
    }

    /// Sets how many attempts have failed.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the lane it is meant for.
    #[must_use]
    pub fn with_priority(mut self, priority: Lane) -> Self {
        self.priority = priority;
        self
    }

    /// Sets when it is due, at the earliest.
    #[must_use]
    pub fn with_not_before(mut self, not_before: Timestamp) -> Self {
        self.not_before = Some(not_before);
        self
    }

    /// Sets a field of the free-form metadata.
    ///
    /// # Panics
    /// Never: a [`Value`] always has a JSON form.
    #[must_use]
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let value = to_raw_value(&value.into()).expect("a Value always has a JSON form");
        self.metadata.insert(name.into(), value);
        self
    }

    /// Sets the media type of the payload.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets which key the payload is encrypted with.
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Has a CRC-32 of the payload written, which every read checks.
    ///
    /// Off by default: it is of the payload's exact text, so a foreign program that rewrites the payload's JSON
    /// and keeps the `crc` makes the message undecodable. Not written when a key id is set: encryption
    /// authenticates.
    #[must_use]
    pub fn with_checksum(mut self) -> Self {
        self.checksum = true;
        self
    }

    /// Puts another payload in, say the encrypted one, and keeps everything else.
    #[must_use]
    pub fn with_payload(mut self, payload: Box<RawValue>) -> Self {
        self.payload = payload;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_stays_within_what_go_holds() {
        assert_eq!(Envelope::new("hello").unwrap().with_ttl(Duration::MAX).ttl(), Some(MAX_TTL));
    }

    #[test]
    fn a_value_without_json_form_is_refused() {
        let payload = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(Envelope::new(&payload), Err(EncodeError::Payload { .. })));
    }
}
