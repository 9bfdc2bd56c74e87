//! The choices of how envelopes are read and written.

use bytes::Bytes;

use crate::{
    decode::decode,
    encode::encode,
    envelope::Envelope,
    error::{DecodeError, EncodeError},
    limits::Limits,
};

/// How envelopes become bytes and bytes envelopes. The default is what nearly everyone wants.
///
/// ```
/// use valkey_envelope::{Codec, Envelope, PayloadForm};
///
/// // For a Go consumer whose payload is a []byte:
/// let codec = Codec::new().payload_form(PayloadForm::Base64);
/// let envelope = Envelope::new(&["ada"])?.with_id("1");
/// let bytes = codec.encode(&envelope)?;
/// assert!(bytes.starts_with(br#"{"id":"1","payload":"WyJhZGEiXQ==","payload_encoding":"base64","#));
/// assert_eq!(codec.decode(&bytes)?, envelope);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codec {
    pub(crate) limits: Limits,
    pub(crate) payload_form: Option<PayloadForm>,
    pub(crate) string_payload: StringPayload,
}

/// How the payload stands in the envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PayloadForm {
    /// As a JSON value.
    #[default]
    Inline,
    /// As a string, the base64 of the JSON text: what Go makes of a `[]byte`, and expects for one.
    Base64,
}

/// What a payload is that came as a JSON string, when the envelope itself does not say.
///
/// Envelopes of ours always say (`payload_encoding`), so this is about foreign ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StringPayload {
    /// Base64 if it is the base64 of a JSON object or array, otherwise just the string.
    #[default]
    Detect,
    /// Base64 of any JSON value; anything else is a [`DecodeError`].
    Base64,
    /// Just the string.
    Literal,
}

// === impl Codec ===

impl Codec {
    /// Inline payloads, detection of base64, and the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps other limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Writes every payload in this form. Without it an envelope is written in the form it was read in, and a
    /// new one inline.
    #[must_use]
    pub const fn payload_form(mut self, form: PayloadForm) -> Self {
        self.payload_form = Some(form);
        self
    }

    /// Reads foreign string payloads this way.
    #[must_use]
    pub const fn string_payload(mut self, string_payload: StringPayload) -> Self {
        self.string_payload = string_payload;
        self
    }

    /// The envelope as bytes, on one line unless its payload is not.
    ///
    /// # Errors
    /// [`EncodeError::Limit`] if it would pass a limit.
    pub fn encode(&self, envelope: &Envelope) -> Result<Bytes, EncodeError> {
        encode(self, envelope)
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no envelope, saying why.
    pub fn decode(&self, bytes: &[u8]) -> Result<Envelope, DecodeError> {
        decode(self, bytes)
    }
}
