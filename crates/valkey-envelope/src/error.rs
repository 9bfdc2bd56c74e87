//! Why bytes are no envelope, and why an envelope cannot become bytes.

use std::borrow::Cow;

use crate::{limits::LimitExceeded, payload::PayloadMismatch};

/// Bytes that are no envelope, or a payload that is not of the wanted type.
///
/// No variant carries a value out of the message, so the text can be logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload is not the one that the checksum was made of.
    #[error("checksum of the payload is {actual:08x}, the envelope says {expected:08x}")]
    Checksum {
        /// The CRC-32 of the payload found.
        actual: u32,
        /// What `crc` says.
        expected: u32,
    },
    /// A field of the envelope is not what it has to be.
    #[error("field `{field}`: {reason}")]
    Field {
        /// The field, a header as `headers.NAME`.
        field: Cow<'static, str>,
        /// What was expected and what kind of value was found.
        reason: Cow<'static, str>,
    },
    /// Over a limit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// There is no `payload`.
    #[error("field `payload` is missing")]
    MissingPayload,
    /// An envelope of a version that this one does not know: nothing is wrong with it.
    #[error(
        "envelope of version {found}, this program knows versions up to {known}: handle it with a newer one"
    )]
    NewerVersion {
        /// Its `envelope_version`.
        found: u32,
        /// [`Envelope::VERSION`](crate::Envelope::VERSION).
        known: u32,
    },
    /// JSON, but not an object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// Not JSON.
    #[error("not JSON: {reason}")]
    NotJson {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// Not text.
    #[error("not UTF-8 from byte {position} on")]
    NotUtf8 {
        /// How many bytes are right.
        position: usize,
    },
    /// The payload is not of the type asked for.
    #[error(transparent)]
    Payload(#[from] PayloadMismatch),
}

/// An envelope that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Over a limit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The payload has no JSON form.
    #[error("the payload has no JSON form: {reason}")]
    Payload {
        /// What the serializer says.
        reason: String,
    },
}

// === impl DecodeError ===

impl DecodeError {
    /// A fixed word for the kind of error, fit for a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Checksum { .. } => "checksum",
            Self::Field { .. } => "field",
            Self::Limit(_) => "limit",
            Self::MissingPayload => "missing_payload",
            Self::NewerVersion { .. } => "newer_version",
            Self::NotAnObject { .. } => "not_an_object",
            Self::NotJson { .. } => "not_json",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::Payload(_) => "payload",
        }
    }

    /// The field that is wrong, if it is one field.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Checksum { .. } => Some("crc"),
            Self::Field { field, .. } => Some(field),
            Self::NewerVersion { .. } => Some("envelope_version"),
            Self::MissingPayload | Self::Payload(_) => Some("payload"),
            Self::Limit(_) | Self::NotAnObject { .. } | Self::NotJson { .. } | Self::NotUtf8 { .. } => None,
        }
    }

    pub(crate) fn at(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }
}
