//! Bytes -> envelope.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    codec::Codec,
    envelope::Envelope,
    error::DecodeError,
    fields::Fields,
    headers::Headers,
    id::MessageId,
    lane::Lane,
    limits::Limits,
    payload::{self, unquote},
};

pub(crate) fn decode(codec: &Codec, bytes: &[u8]) -> Result<Envelope, DecodeError> {
    let limits = &codec.limits;
    limits.check_size(bytes.len())?;
    let text =
        str::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8 { position: error.valid_up_to() })?;
    limits.check_depth(bytes, 0)?;
    let wire = Wire::parse(text)?;
    // Before all else: what a newer version means by the other fields is not known here.
    let version =
        integer("envelope_version", wire.envelope_version, positive, "an integer from 1 to 4294967295")?;
    if let Some(found) = version.filter(|&version| version > Envelope::VERSION) {
        return Err(DecodeError::NewerVersion { found, known: Envelope::VERSION });
    }

    let encoding = text_of(payload::ENCODING, wire.payload_encoding)?;
    let (payload, form) =
        payload::read(codec, wire.payload.ok_or(DecodeError::MissingPayload)?, encoding.as_deref())?;
    if let Some(expected) = integer("crc", wire.crc, u32::try_from, "an integer from 0 to 4294967295")? {
        let actual = payload::checksum(payload.get());
        if actual != expected {
            return Err(DecodeError::Checksum { actual, expected });
        }
    }
    let id = text_of("id", wire.id)?;
    let nanoseconds = "an integer number of nanoseconds that fits in 64 bits";
    Ok(Envelope {
        queue: owned_text("queue", wire.queue)?,
        kind: owned_text("kind", wire.kind)?,
        form,
        headers: headers(limits, wire.headers)?,
        timestamp: time("timestamp", wire.timestamp)?,
        // Go's peers take a negative one for none as well.
        ttl: integer("ttl", wire.ttl, Ok::<i64, ()>, nanoseconds)?
            .and_then(|ttl| u64::try_from(ttl).ok())
            .filter(|&ttl| ttl != 0)
            .map(Duration::from_nanos),
        retries: integer("retries", wire.retries, u32::try_from, "an integer from 0 to 4294967295")?
            .unwrap_or_default(),
        metadata: metadata(wire.metadata)?,
        priority: match text_of("priority", wire.priority)? {
            Some(lane) => {
                lane.parse().map_err(|_| DecodeError::at("priority", "expected `high`, `normal` or `low`"))?
            }
            None => Lane::Normal,
        },
        not_before: time("not_before", wire.not_before)?,
        content_type: owned_text("content_type", wire.content_type)?,
        key_id: owned_text("key_id", wire.key_id)?,
        checksum: wire.crc.is_some(),
        unknown: owned_fields(wire.unknown),
        ..Envelope::bare(id.map_or_else(MessageId::empty, |id| MessageId::from(&*id)), payload)
    })
}

/// The fields as they stand in the text. A field that is `null` is absent, but for the payload; of two of the
/// same name the last counts, as for the Go peers.
#[derive(Default)]
struct Wire<'a> {
    envelope_version: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    queue: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    payload_encoding: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    ttl: Option<&'a RawValue>,
    retries: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    not_before: Option<&'a RawValue>,
    content_type: Option<&'a RawValue>,
    key_id: Option<&'a RawValue>,
    crc: Option<&'a RawValue>,
    unknown: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

// === impl Wire ===

impl<'a> Wire<'a> {
    fn parse(text: &'a str) -> Result<Self, DecodeError> {
        let not_json = |error: serde_json::Error| DecodeError::NotJson { reason: error.to_string() };
        if !text.trim_ascii_start().starts_with('{') {
            let value: &RawValue = serde_json::from_str(text).map_err(not_json)?;
            return Err(DecodeError::NotAnObject { found: kind_of(value) });
        }
        let mut wire = Self::default();
        each(text, |name, value| wire.set(name, value)).map_err(not_json)?;
        Ok(wire)
    }

    fn set(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        let field = match &*name {
            "payload" => {
                self.payload = Some(value);
                return;
            }
            "envelope_version" => &mut self.envelope_version,
            "id" => &mut self.id,
            "queue" => &mut self.queue,
            "kind" => &mut self.kind,
            payload::ENCODING => &mut self.payload_encoding,
            "headers" => &mut self.headers,
            "timestamp" => &mut self.timestamp,
            "ttl" => &mut self.ttl,
            "retries" => &mut self.retries,
            "metadata" => &mut self.metadata,
            "priority" => &mut self.priority,
            "not_before" => &mut self.not_before,
            "content_type" => &mut self.content_type,
            "key_id" => &mut self.key_id,
            "crc" => &mut self.crc,
            _ => {
                self.unknown.insert(name, value);
                return;
            }
        };
        *field = Some(value).filter(|value| value.get() != "null");
    }
}

/// Calls `visit` with every field of a JSON object.
fn each<'a>(text: &'a str, visit: impl FnMut(Cow<'a, str>, &'a RawValue)) -> serde_json::Result<()> {
    struct Object<'a, F>(F, PhantomData<&'a ()>);

    impl<'a, F: FnMut(Cow<'a, str>, &'a RawValue)> Visitor<'a> for Object<'a, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((Name(name), value)) = map.next_entry()? {
                self.0(name, value);
            }
            Ok(())
        }
    }

    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Object(visit, PhantomData))?;
    json.end()
}

/// A field's name, borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }

        deserializer.deserialize_str(Text).map(Self)
    }
}

fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn unexpected(field: impl Into<Cow<'static, str>>, expected: &str, value: &RawValue) -> DecodeError {
    DecodeError::at(field, format!("expected {expected}, found {}", kind_of(value)))
}

fn text_of<'a>(
    field: &'static str,
    value: Option<&'a RawValue>,
) -> Result<Option<Cow<'a, str>>, DecodeError> {
    value.map(|value| text(|| field.into(), value)).transpose()
}

fn owned_text(field: &'static str, value: Option<&RawValue>) -> Result<Option<String>, DecodeError> {
    Ok(text_of(field, value)?.map(Cow::into_owned))
}

fn text(field: impl FnOnce() -> Cow<'static, str>, value: &RawValue) -> Result<Cow<'_, str>, DecodeError> {
    unquote(value).ok_or_else(|| match kind_of(value) {
        "a string" => DecodeError::at(field(), "the string is not Unicode"),
        _ => unexpected(field(), "a string", value),
    })
}

/// Goes by the digits themselves: no detour through a float, so 2^63 and 1e400 are refused, not rounded.
fn integer<N, E>(
    field: &'static str,
    value: Option<&RawValue>,
    convert: impl FnOnce(i64) -> Result<N, E>,
    expected: &str,
) -> Result<Option<N>, DecodeError> {
    let Some(value) = value else { return Ok(None) };
    let number = value.get().parse().ok().and_then(|number| convert(number).ok());
    number.map(Some).ok_or_else(|| match kind_of(value) {
        "a number" => DecodeError::at(field, format!("expected {expected}, found another number")),
        _ => unexpected(field, expected, value),
    })
}

fn positive(number: i64) -> Result<u32, ()> {
    u32::try_from(number).ok().filter(|&number| number > 0).ok_or(())
}

fn time(field: &'static str, value: Option<&RawValue>) -> Result<Option<Timestamp>, DecodeError> {
    text_of(field, value)?
        .map(|text| {
            text.parse()
                .map_err(|_| DecodeError::at(field, "expected a time like 2026-01-31T12:00:00.5+01:00"))
        })
        .transpose()
}

fn object<'a>(
    field: &'static str,
    value: &'a RawValue,
    visit: impl FnMut(Cow<'a, str>, &'a RawValue),
) -> Result<(), DecodeError> {
    if !value.get().starts_with('{') {
        return Err(unexpected(field, "an object", value));
    }
    // Its syntax was checked with the envelope's, so what is left to fail is a name that is not Unicode.
    each(value.get(), visit).map_err(|_| DecodeError::at(field, "a name is not Unicode"))
}

fn headers(limits: &Limits, value: Option<&RawValue>) -> Result<Headers, DecodeError> {
    let mut headers = Headers::new();
    let Some(value) = value else { return Ok(headers) };
    let (mut count, mut bytes) = (0, 0);
    let mut outcome = Ok(());
    object("headers", value, |name, value| {
        if outcome.is_err() {
            return;
        }
        outcome = (|| {
            // Go reads a null into a string as the empty one.
            let text = match value.get() {
                "null" => Cow::Borrowed(""),
                _ => text(|| header_field(&name), value)?,
            };
            count += 1;
            bytes += name.len() + text.len();
            // At each, since a look-up in them walks them all.
            limits.check_header_count(count)?;
            limits.check_header_bytes(bytes)?;
            headers.insert(name, text);
            Ok(())
        })();
    })?;
    outcome.map(|()| headers)
}

/// The name is the producer's: it is escaped and cut, since it goes to logs.
fn header_field(name: &str) -> Cow<'static, str> {
    let name: String = name.escape_debug().take(64).collect();
    format!("headers.{name}").into()
}

fn metadata(value: Option<&RawValue>) -> Result<Fields, DecodeError> {
    let mut fields = BTreeMap::new();
    if let Some(value) = value {
        object("metadata", value, |name, value| {
            fields.insert(name, value);
        })?;
    }
    Ok(owned_fields(fields))
}

fn owned_fields(fields: BTreeMap<Cow<'_, str>, &RawValue>) -> Fields {
    let mut all = Fields::default();
    for (name, value) in fields {
        all.insert(name.into_owned(), value.to_owned());
    }
    all
}
