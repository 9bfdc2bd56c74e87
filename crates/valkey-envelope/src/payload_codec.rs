//! Coding of payloads on their way: compression, encryption.

use std::{fmt, sync::Arc};

use serde_json::value::RawValue;

use crate::{envelope::Envelope, payload};

/// What a codec may fail with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One reversible step from bytes to bytes that a payload passes between a sender and its receivers.
///
/// Both sides hold the codec under the same name. The plain bytes of the first step are the payload's JSON text.
///
/// ```
/// use std::sync::Arc;
/// use valkey_envelope::{Envelope, PayloadCodec, PayloadCodecs};
///
/// #[derive(Debug)]
/// struct Mirror;
///
/// impl PayloadCodec for Mirror {
///     fn name(&self) -> &str {
///         "mirror"
///     }
///     fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
///         Ok(plain.iter().rev().copied().collect())
///     }
///     fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
///         self.encode(coded)
///     }
/// }
///
/// let codecs = PayloadCodecs::new().with(Arc::new(Mirror));
/// let plain = Envelope::new("hello")?;
/// let sealed = codecs.seal(plain.clone())?;
/// assert_eq!(sealed.header("content-encoding"), Some("mirror"));
/// assert_eq!(codecs.open(sealed)?, plain);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait PayloadCodec: fmt::Debug + Send + Sync {
    /// What the codec is called in the `content-encoding` header: letters, digits, `-`, `_`, `.`, `+`.
    fn name(&self) -> &str;

    /// Whether this codec holds the key that messages call `key_id`; `None` if it has nothing to do with keys.
    ///
    /// Asked for messages that name a key: if one of their codecs says that it does not hold it, and none that it does,
    /// the message is not [opened](PayloadCodecs::open) but a [`CodecError::UnknownKey`].
    fn holds_key(&self, key_id: &str) -> Option<bool> {
        let _ = key_id;
        None
    }

    /// Codes plain bytes.
    ///
    /// # Errors
    /// Whatever keeps the codec from coding them; it must not show the bytes.
    fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, BoxError>;

    /// Gives back what [`encode`](Self::encode) was given.
    ///
    /// # Errors
    /// Whatever keeps the codec from decoding them, such as bytes it never wrote; it must not show the bytes.
    fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, BoxError>;
}

/// The codecs one side knows.
///
/// A sender applies all of them, in their order; a receiver undoes those that the message names, whatever the order
/// it holds them in.
#[derive(Clone, Debug, Default)]
pub struct PayloadCodecs(Vec<Arc<dyn PayloadCodec>>);

/// A payload that could not be coded or decoded. Neither the text nor its source shows the payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The codec itself failed.
    #[error("payload codec `{codec}`: {source}")]
    Failed {
        /// The codec.
        codec: String,
        /// What it says.
        source: BoxError,
    },
    /// The name cannot stand in a header.
    #[error("payload codec `{codec}`: its name may have letters, digits, `-`, `_`, `.` and `+` only")]
    Name {
        /// The codec.
        codec: String,
    },
    /// The decoded bytes are no JSON text.
    #[error("the decoded payload is no JSON")]
    NotJson,
    /// The message says that it is coded, but its payload is not a string of base64.
    #[error("the payload is no base64, though the message is coded with `{codecs}`")]
    NotCoded {
        /// What the message says.
        codecs: String,
    },
    /// This side does not have the codec.
    #[error("payload codec `{codec}` is not known here")]
    Unknown {
        /// The codec.
        codec: String,
    },
    /// This side has the codecs, but not the key.
    #[error("the key of the payload is not known here")]
    UnknownKey,
}

// === impl PayloadCodecs ===

impl PayloadCodecs {
    /// The header that names the codecs applied, first to last, as HTTP has it.
    pub const HEADER: &'static str = "content-encoding";

    /// None: payloads travel as they are.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a codec.
    #[must_use]
    pub fn with(mut self, codec: Arc<dyn PayloadCodec>) -> Self {
        self.0.push(codec);
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Codes the payload with all codecs: it becomes the string of the coded bytes' base64, and the header says how.
    /// Without codecs the message stays as it is.
    ///
    /// # Errors
    /// [`CodecError`] naming the codec.
    pub fn seal(&self, mut envelope: Envelope) -> Result<Envelope, CodecError> {
        if self.is_empty() {
            return Ok(envelope);
        }
        // What is coded already goes on from its bytes, so that one decoding undoes all steps.
        let (mut names, mut bytes) = match envelope.header(Self::HEADER) {
            Some(names) => (names.to_owned(), coded_bytes(&envelope, names)?),
            None => (String::new(), envelope.payload.get().as_bytes().to_vec()),
        };
        for codec in &self.0 {
            let name = codec.name();
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
            if name.is_empty() || !name.bytes().all(allowed) {
                return Err(CodecError::Name { codec: name.to_owned() });
            }
            bytes = codec
                .encode(&bytes)
                .map_err(|source| CodecError::Failed { codec: name.to_owned(), source })?;
            if !names.is_empty() {
                names.push_str(", ");
            }
            names.push_str(name);
        }
        envelope.payload = payload::string_of_bytes(&bytes);
        Ok(envelope.with_header(Self::HEADER, names))
    }

    /// Undoes what the message says was done to its payload, and takes the header off. A message that says nothing
    /// stays as it is.
    ///
    /// # Errors
    /// [`CodecError`] if a codec is not known here or fails, or if the payload is not what it says.
    pub fn open(&self, mut envelope: Envelope) -> Result<Envelope, CodecError> {
        let Some(names) = envelope.header(Self::HEADER).map(str::to_owned) else {
            return Ok(envelope);
        };
        let mut bytes = coded_bytes(&envelope, &names)?;
        let known = names.rsplit(',').map(str::trim).map(|name| {
            let codec = self.0.iter().find(|codec| codec.name() == name);
            codec.map(|codec| (name, codec)).ok_or_else(|| CodecError::Unknown { codec: name.to_owned() })
        });
        let known = known.collect::<Result<Vec<_>, _>>()?;
        if let Some(key_id) = envelope.key_id() {
            let holds: Vec<bool> = known.iter().filter_map(|(_, codec)| codec.holds_key(key_id)).collect();
            if !holds.is_empty() && !holds.contains(&true) {
                return Err(CodecError::UnknownKey);
            }
        }
        for (name, codec) in known {
            bytes = codec
                .decode(&bytes)
                .map_err(|source| CodecError::Failed { codec: name.to_owned(), source })?;
        }
        envelope.payload = String::from_utf8(bytes)
            .ok()
            .and_then(|json| RawValue::from_string(json).ok())
            .ok_or(CodecError::NotJson)?;
        envelope.headers.remove(Self::HEADER);
        Ok(envelope)
    }
}

/// The bytes of a payload that says it is coded.
fn coded_bytes(envelope: &Envelope, names: &str) -> Result<Vec<u8>, CodecError> {
    payload::bytes_of_string(&envelope.payload).map_err(|_| CodecError::NotCoded { codecs: names.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds a byte in front, and insists on finding it there.
    #[derive(Debug)]
    struct Tag(&'static str, u8);

    impl PayloadCodec for Tag {
        fn name(&self) -> &str {
            self.0
        }

        fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, BoxError> {
            Ok([&[self.1], plain].concat())
        }

        fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, BoxError> {
            match coded.split_first() {
                Some((tag, plain)) if *tag == self.1 => Ok(plain.to_vec()),
                _ => Err("the tag is missing".into()),
            }
        }
    }

    fn codecs(tags: &[(&'static str, u8)]) -> PayloadCodecs {
        tags.iter().fold(PayloadCodecs::new(), |all, (name, tag)| all.with(Arc::new(Tag(name, *tag))))
    }

    fn over_the_wire(envelope: &Envelope) -> Envelope {
        Envelope::decode(&envelope.encode().unwrap()).unwrap()
    }

    #[test]
    fn a_receiver_undoes_the_steps_in_reverse_whatever_its_own_order() {
        let plain = Envelope::new(&serde_json::json!({"a": [1, 2]})).unwrap().with_header("x", "y");
        let sealed = codecs(&[("zip", 1), ("lock", 2)]).seal(plain.clone()).unwrap();
        assert_eq!(sealed.header("content-encoding"), Some("zip, lock"));
        assert!(!sealed.payload().get().contains('['));
        assert_eq!(codecs(&[("lock", 2), ("zip", 1)]).open(over_the_wire(&sealed)).unwrap(), plain);
    }

    #[test]
    fn what_was_sealed_twice_is_opened_at_once() {
        let plain = Envelope::new("x").unwrap();
        let codecs = codecs(&[("zip", 1)]);
        let sealed = codecs.seal(codecs.seal(plain.clone()).unwrap()).unwrap();
        assert_eq!(codecs.open(over_the_wire(&sealed)).unwrap(), plain);
    }

    #[test]
    fn without_codecs_and_without_the_header_nothing_changes() {
        let plain = Envelope::new("x").unwrap();
        assert_eq!(PayloadCodecs::new().seal(plain.clone()).unwrap(), plain);
        assert_eq!(codecs(&[("zip", 1)]).open(plain.clone()).unwrap(), plain);
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let codecs = codecs(&[("zip", 1)]);
        let claim = |names: &str| Envelope::from_bytes(b"\x01[]").with_header("content-encoding", names);
        assert_eq!(codecs.open(claim("zip")).unwrap().payload().get(), "[]");
        assert!(matches!(codecs.open(claim("br")), Err(CodecError::Unknown { codec }) if codec == "br"));
        assert!(matches!(codecs.open(claim("zip, zip")), Err(CodecError::Failed { .. })));
        let not_coded = Envelope::new(&1).unwrap().with_header("content-encoding", "zip");
        assert!(matches!(codecs.open(not_coded), Err(CodecError::NotCoded { .. })));
        let not_json = Envelope::from_bytes(b"\x01no").with_header("content-encoding", "zip");
        assert!(matches!(codecs.open(not_json), Err(CodecError::NotJson)));
    }

    /// A codec with keys.
    #[derive(Debug)]
    struct Locked(&'static str);

    impl PayloadCodec for Locked {
        fn name(&self) -> &'static str {
            "lock"
        }

        fn holds_key(&self, key_id: &str) -> Option<bool> {
            Some(key_id == self.0)
        }

        fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, BoxError> {
            Tag("lock", 9).encode(plain)
        }

        fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, BoxError> {
            Tag("lock", 9).decode(coded)
        }
    }

    #[test]
    fn a_key_that_no_codec_of_the_message_holds_is_said_before_anything_is_tried() {
        let holding = |key| PayloadCodecs::new().with(Arc::new(Tag("zip", 1))).with(Arc::new(Locked(key)));
        let plain = Envelope::new("x").unwrap().with_key_id("k2");
        let sealed = holding("k2").seal(plain.clone()).unwrap();
        assert_eq!(holding("k2").open(sealed.clone()).unwrap(), plain);
        assert!(matches!(holding("k1").open(sealed), Err(CodecError::UnknownKey)));
        // Codecs without keys do not care.
        let zipped = codecs(&[("zip", 1)]).seal(plain.clone()).unwrap();
        assert_eq!(holding("k1").open(zipped).unwrap(), plain);
    }

    #[test]
    fn a_name_that_would_break_the_header_is_refused() {
        let plain = Envelope::new("x").unwrap();
        assert!(matches!(codecs(&[("a,b", 1)]).seal(plain), Err(CodecError::Name { .. })));
    }
}
