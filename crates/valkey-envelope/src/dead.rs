//! What is kept of a message that will not be tried again.

use std::{borrow::Cow, fmt};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    frame::{self, FrameError},
    lane::Lane,
};

/// A dead letter: `<len>|`, its story as JSON of `len` bytes, and the message's bytes as they were pushed.
///
/// ```
/// use bytes::Bytes;
/// use valkey_envelope::{DeadBody, DeadMeta, DeadReason};
///
/// let dead = DeadBody {
///     meta: DeadMeta { attempts: 3, ..DeadMeta::new(DeadReason::MaxAttempts) },
///     raw: Bytes::from_static(b"anything"),
/// };
/// assert_eq!(dead.encode(), r#"38|{"reason":"max_attempts","attempts":3}anything"#);
/// assert_eq!(DeadBody::decode(dead.encode()), Ok(dead));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadBody {
    /// Why it is here.
    pub meta: DeadMeta,
    /// The bytes as they were pushed, whatever they are.
    pub raw: Bytes,
}

/// Why and when a message was given up. Unknown fields are ignored; fields without a value are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadMeta {
    /// Why it was given up.
    pub reason: DeadReason,
    /// How many attempts failed since it was pushed.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// How often its consumer died while it held the message.
    #[serde(skip_serializing_if = "is_zero")]
    pub crashes: u32,
    /// The lane it was pushed to; where a replay puts it.
    #[serde(with = "lane_char", skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// What the handler or the decoder said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was given up, in milliseconds of the server's clock since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// When it was last claimed, in milliseconds of the server's clock since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_ms: Option<u64>,
    /// The id of the consumer that held it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

/// Why a message was given up. On the wire a short text; texts of later versions or of handlers survive as
/// [`Other`](Self::Other).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// `codec`: the payload could not be decompressed or decrypted, although the codec is known.
    Codec,
    /// `crashed`: alone in flight, it took its consumer down with it.
    Crashed,
    /// `expired`: its time to live was over.
    Expired,
    /// `max_attempts`: it failed as often as the policy allows.
    MaxAttempts,
    /// `panicked`: the handler panicked on it.
    Panicked,
    /// `rejected`: the handler said so.
    Rejected,
    /// `undecodable`: its bytes are no envelope.
    Undecodable,
    /// `unknown_codec`: no consumer that saw it knows the codec of its payload. One that does can have it replayed.
    UnknownCodec,
    /// `unknown_key`: no consumer that saw it holds the key of its payload. One that does can have it replayed.
    UnknownKey,
    /// `unsupported_version`: an envelope newer than every consumer that saw it. A newer one can have it replayed.
    UnsupportedVersion,
    /// Any other text.
    Other(Cow<'static, str>),
}

// === impl DeadBody ===

impl DeadBody {
    /// The hash value as bytes.
    pub fn encode(&self) -> Bytes {
        let meta = self.meta.encode();
        let mut out = BytesMut::with_capacity(8 + meta.len() + self.raw.len());
        frame::put_number(&mut out, meta.len() as u64);
        out.put_slice(&meta);
        out.put_slice(&self.raw);
        out.freeze()
    }

    /// Reads a hash value. `raw` shares the memory of `bytes`.
    ///
    /// # Errors
    /// [`FrameError`] if the length or the story is broken.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        let mut rest = &*bytes;
        let length = frame::number(&mut rest, "length")?;
        let (meta, raw) = rest
            .split_at_checked(length)
            .ok_or_else(|| FrameError::new("length", "there are fewer bytes than that"))?;
        let (meta, raw) = (DeadMeta::decode(meta)?, raw.len());
        Ok(Self { meta, raw: frame::last(bytes, raw) })
    }
}

// === impl DeadMeta ===

impl DeadMeta {
    /// A story that tells the reason and nothing else yet.
    pub fn new(reason: DeadReason) -> Self {
        Self { reason, ..Self::default() }
    }

    /// The story as a JSON object, without the length in front.
    ///
    /// # Panics
    /// Never: texts and numbers always have a JSON form.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always have a JSON form")
    }

    /// Reads a story.
    ///
    /// # Errors
    /// [`FrameError`] if it is not a JSON object of the right types.
    pub fn decode(json: &[u8]) -> Result<Self, FrameError> {
        // The derived code would take an array as well, field by field.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(FrameError::new("meta", "not a JSON object"));
        }
        serde_json::from_slice(json).map_err(|_| FrameError::new("meta", "not the story of a dead letter"))
    }
}

// === impl DeadReason ===

impl DeadReason {
    /// Each that has a name of its own.
    pub const ALL: [Self; 10] = [
        Self::Codec,
        Self::Crashed,
        Self::Expired,
        Self::MaxAttempts,
        Self::Panicked,
        Self::Rejected,
        Self::Undecodable,
        Self::UnknownCodec,
        Self::UnknownKey,
        Self::UnsupportedVersion,
    ];

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Codec => "codec",
            Self::Crashed => "crashed",
            Self::Expired => "expired",
            Self::MaxAttempts => "max_attempts",
            Self::Panicked => "panicked",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::UnknownCodec => "unknown_codec",
            Self::UnknownKey => "unknown_key",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Other(reason) => reason,
        }
    }

    fn known(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == reason)
    }
}

/// A story that does not tell its reason: written by something that does not know this format.
impl Default for DeadReason {
    fn default() -> Self {
        Self::Other(Cow::Borrowed("unknown"))
    }
}

impl From<&str> for DeadReason {
    fn from(reason: &str) -> Self {
        Self::known(reason).unwrap_or_else(|| Self::Other(Cow::Owned(reason.to_owned())))
    }
}

impl From<String> for DeadReason {
    fn from(reason: String) -> Self {
        Self::known(&reason).unwrap_or(Self::Other(Cow::Owned(reason)))
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for DeadReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DeadReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Scripts copy the lane from the frame, where it is a character.
mod lane_char {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::lane::Lane;

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(lane: &Option<Lane>, serializer: S) -> Result<S::Ok, S::Error> {
        lane.map(Lane::as_char).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Lane>, D::Error> {
        Option::<char>::deserialize(deserializer)?
            .map(|lane| Lane::from_char(lane).ok_or_else(|| D::Error::custom("expected `h`, `n` or `l`")))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_story_survives() {
        let dead = DeadBody {
            meta: DeadMeta {
                reason: DeadReason::Crashed,
                attempts: 1,
                crashes: 3,
                lane: Some(Lane::High),
                error: Some("said \"no\" | ünïcode".into()),
                at_ms: Some(1_753_000_000_123),
                claimed_ms: Some(1_753_000_000_000),
                consumer: Some("0195c0ffee00700080000000000000ff".into()),
            },
            raw: Bytes::from_static(b"12|\xff{}"),
        };
        assert_eq!(DeadBody::decode(dead.encode()), Ok(dead));
    }

    #[test]
    fn absent_fields_unknown_fields_and_unknown_reasons_are_read() {
        let meta = DeadMeta::decode(br#"{"reason":"moon_phase","new":[1]}"#).unwrap();
        assert_eq!(meta, DeadMeta::new(DeadReason::Other("moon_phase".into())));
        assert_eq!(DeadMeta::decode(b"{}").unwrap().reason.as_str(), "unknown");
    }

    #[test]
    fn reasons_lead_back_to_themselves() {
        for reason in [
            "codec",
            "crashed",
            "expired",
            "max_attempts",
            "panicked",
            "rejected",
            "undecodable",
            "unknown_codec",
            "unknown_key",
            "unsupported_version",
            "x",
        ] {
            assert_eq!(DeadReason::from(reason).as_str(), reason);
            assert_eq!(matches!(DeadReason::from(reason.to_owned()), DeadReason::Other(_)), reason == "x");
        }
    }

    #[test]
    fn broken_bodies_name_the_part() {
        for (bytes, field) in [
            ("", "length"),
            ("x|{}", "length"),
            ("3|{}", "length"),
            ("99999999999999999999|{}", "length"),
            ("0|{}", "meta"),
            ("2|[]", "meta"),
            (r#"12|{"lane":"x"}"#, "meta"),
        ] {
            assert_eq!(
                DeadBody::decode(Bytes::from_static(bytes.as_bytes())).unwrap_err().field(),
                field,
                "{bytes:?}"
            );
        }
    }
}
