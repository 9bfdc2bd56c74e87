//! The envelope: a payload and what is known about it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    codec::{Codec, PayloadForm},
    error::{DecodeError, EncodeError},
    fields::Fields,
    headers::Headers,
    id::MessageId,
    lane::Lane,
    payload,
    trace::TraceParent,
};

/// A message: its payload and what is known about it.
///
/// A value that exists can be written and read back to an equal one, as long as it keeps the
/// [`Limits`](crate::Limits). Two envelopes are equal when they say the same, whatever form their payload was
/// read in; payloads and foreign fields are compared as text.
///
/// `Debug` shows neither payload nor values of headers and fields.
///
/// ```
/// use valkey_envelope::{Envelope, Lane};
///
/// let envelope = Envelope::new(&serde_json::json!({"login": "ada"}))?
///     .with_kind("registration")
///     .with_header("locale", "de")
///     .with_priority(Lane::High);
/// let copy = Envelope::decode(&envelope.encode()?)?;
/// assert_eq!(copy, envelope);
/// assert_eq!(copy.payload().get(), r#"{"login":"ada"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Envelope {
    pub(crate) id: MessageId,
    pub(crate) queue: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) payload: Box<RawValue>,
    /// The form it was read in, which a rewrite keeps: the consumer it is meant for may know only that one.
    pub(crate) form: PayloadForm,
    pub(crate) headers: Headers,
    pub(crate) timestamp: Option<Timestamp>,
    /// More than zero and at most `i64::MAX` nanoseconds, since Go keeps it in an `int64`.
    pub(crate) ttl: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) metadata: Fields,
    pub(crate) priority: Lane,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) content_type: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) checksum: bool,
    pub(crate) unknown: Fields,
}

// === impl Envelope ===

impl Envelope {
    /// The version of the format that this crate reads and writes. Bytes of a newer one are a
    /// [`DecodeError::NewerVersion`].
    pub const VERSION: u32 = 1;

    /// The id; empty if it came without one.
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// The queue its producer meant it for, as it says. May be no [`QueueName`](crate::QueueName), and another than the one it
    /// came from.
    pub fn queue(&self) -> Option<&str> {
        self.queue.as_deref()
    }

    /// The kind of message, by which handlers are chosen.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The payload as JSON text.
    pub fn payload(&self) -> &RawValue {
        &self.payload
    }

    /// The payload as a value of a type.
    ///
    /// # Errors
    /// [`DecodeError::Payload`] if it is not of the type.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        payload::parse(&self.payload)
    }

    /// The bytes of a payload made by [`from_bytes`](Self::from_bytes), or by Go from a `[]byte` that holds
    /// no JSON.
    ///
    /// # Errors
    /// [`DecodeError::Field`] if the payload is not a string of base64.
    pub fn payload_bytes(&self) -> Result<Vec<u8>, DecodeError> {
        payload::bytes_of_string(&self.payload)
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The trace context of the `traceparent` header, if there is a valid one.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.header(TraceParent::HEADER)?.parse().ok()
    }

    /// When it was made.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// How long after its timestamp it is wanted; `None` = for ever.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// When it is no longer wanted; `None` = never, also if it does not say when it was made.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ttl = SignedDuration::try_from(self.ttl?).ok()?;
        self.timestamp?.checked_add(ttl).ok()
    }

    /// Whether it is no longer wanted.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|end| end <= now)
    }

    /// How many attempts had failed when it was pushed.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// The lane it is meant for.
    pub fn priority(&self) -> Lane {
        self.priority
    }

    /// When it is due, at the earliest.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// The free-form metadata.
    pub fn metadata(&self) -> &Fields {
        &self.metadata
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Which key the payload is encrypted with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Whether a CRC-32 of the payload is written, and was checked if the envelope was read.
    pub fn has_checksum(&self) -> bool {
        self.checksum && self.key_id.is_none()
    }

    /// The fields that this version does not know, and writes back as they were.
    pub fn unknown(&self) -> &Fields {
        &self.unknown
    }

    /// The envelope as bytes, by [`Codec::default`].
    ///
    /// # Errors
    /// [`EncodeError::Limit`] if it would pass a limit.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        Codec::default().encode(self)
    }

    /// Reads an envelope, by [`Codec::default`].
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no envelope, saying why.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Codec::default().decode(bytes)
    }
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        // By destructuring, so that a new field cannot be forgotten here.
        let Self {
            id,
            queue,
            kind,
            payload,
            form: _,
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
        } = self;
        *id == other.id
            && *queue == other.queue
            && *kind == other.kind
            && payload.get() == other.payload.get()
            && *headers == other.headers
            && *timestamp == other.timestamp
            && *ttl == other.ttl
            && *retries == other.retries
            && *metadata == other.metadata
            && *priority == other.priority
            && *not_before == other.not_before
            && *content_type == other.content_type
            && *key_id == other.key_id
            && self.has_checksum() == other.has_checksum()
            && *unknown == other.unknown
    }
}

impl Eq for Envelope {}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Envelope");
        out.field("id", &self.id)
            .field("queue", &self.queue)
            .field("kind", &self.kind)
            .field("payload", &format_args!("{} bytes", self.payload.get().len()))
            .field("headers", &self.headers)
            .field("timestamp", &self.timestamp)
            .field("ttl", &self.ttl)
            .field("retries", &self.retries)
            .field("priority", &self.priority);
        out.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Envelope {
        Envelope::new("hello").unwrap()
    }

    #[test]
    fn expiry_counts_from_the_timestamp() {
        let made: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let envelope = hello().with_timestamp(made).with_ttl(Duration::from_mins(1));
        let end = made + SignedDuration::from_mins(1);
        assert_eq!(envelope.expires_at(), Some(end));
        assert!(envelope.is_expired(end));
        assert!(!envelope.is_expired(end - SignedDuration::from_nanos(1)));
    }

    #[test]
    fn no_expiry_without_ttl_or_timestamp_or_end() {
        let never = |envelope: Envelope| !envelope.is_expired(Timestamp::MAX);
        assert!(never(hello()));
        assert!(never(hello().with_ttl(Duration::ZERO)));
        let ttl = Duration::from_secs(1);
        assert!(never(Envelope { timestamp: None, ..hello() }.with_ttl(ttl)));
        assert!(never(hello().with_timestamp(Timestamp::MAX).with_ttl(ttl)));
    }

    #[test]
    fn debug_shows_no_content() {
        let envelope =
            Envelope::new("hunter2").unwrap().with_header("auth", "hunter2").with_metadata("x", "hunter2");
        let text = format!("{envelope:?}");
        assert!(text.contains("9 bytes") && text.contains("auth"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
