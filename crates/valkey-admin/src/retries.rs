//! Counting failed attempts into an envelope without touching any other byte of it.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use valkey_envelope::Envelope;

/// The bytes with `attempts` added to the envelope's `retries`. Bytes that are no envelope come back as they are,
/// and so do those of a message that did not fail yet.
pub(crate) fn add(raw: &Bytes, attempts: u32) -> Bytes {
    if attempts == 0 {
        return raw.clone();
    }
    let Ok(envelope) = Envelope::decode(raw) else { return raw.clone() };
    let retries = envelope.retries().saturating_add(attempts);
    splice(raw, retries).map_or_else(|| raw.clone(), Bytes::from)
}

/// Puts a number where the value of the last top-level `retries` is, or a field of that name at the front.
fn splice(raw: &[u8], retries: u32) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(raw).ok()?;
    let number = retries.to_string();
    let (start, end, insert) = match find(text).ok()? {
        Found::At { start, length } => (start, start + length, number),
        Found::Absent { empty } => {
            let open = text.find('{')? + 1;
            (open, open, format!("\"retries\":{number}{}", if empty { "" } else { "," }))
        }
    };
    let mut out = Vec::with_capacity(raw.len() + insert.len());
    out.extend_from_slice(&raw[..start]);
    out.extend_from_slice(insert.as_bytes());
    out.extend_from_slice(&raw[end..]);
    Some(out)
}

enum Found {
    At { start: usize, length: usize },
    Absent { empty: bool },
}

fn find(text: &str) -> Result<Found, serde_json::Error> {
    struct Fields {
        base: usize,
    }
    impl<'de> Visitor<'de> for Fields {
        type Value = Found;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an envelope")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
            let mut found = Found::Absent { empty: true };
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key == "retries" {
                    // The value is a slice of the text, so its address tells its place.
                    let value = map.next_value::<&'de RawValue>()?.get();
                    found = Found::At { start: value.as_ptr() as usize - self.base, length: value.len() };
                } else {
                    map.next_value::<IgnoredAny>()?;
                    if let Found::Absent { empty } = &mut found {
                        *empty = false;
                    }
                }
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Fields { base: text.as_ptr() as usize })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn added(raw: &str, attempts: u32) -> String {
        String::from_utf8(add(&Bytes::copy_from_slice(raw.as_bytes()), attempts).to_vec()).unwrap()
    }

    #[test]
    fn only_the_number_changes() {
        let raw = r#" { "id":"1", "retries" : 2 , "payload":{"retries":9}, "x":[ 1,2 ] }"#;
        assert_eq!(added(raw, 3), raw.replace(": 2 ,", ": 5 ,"));
        assert_eq!(added(raw, 0), raw);
    }

    #[test]
    fn a_missing_number_is_put_in_front() {
        assert_eq!(
            added(r#"{"id":"1","payload":{"retries":9}}"#, 1),
            r#"{"retries":1,"id":"1","payload":{"retries":9}}"#
        );
    }

    #[test]
    fn base64_payloads_stay_base64() {
        let raw = r#"{"id":"1","payload":"eyJhIjoxfQ==","retries":0}"#;
        assert_eq!(added(raw, 2), raw.replace("\"retries\":0", "\"retries\":2"));
    }

    #[test]
    fn what_is_no_envelope_is_left_alone() {
        for raw in ["", "plain text", "[1]", "{\"id\":", "17"] {
            assert_eq!(added(raw, 2), raw);
        }
        let bytes = Bytes::from_static(b"\xff\x00");
        assert_eq!(add(&bytes, 2), bytes);
    }

    #[test]
    fn the_result_is_an_envelope_with_that_many_retries() {
        let raw = Envelope::new("x").unwrap().with_retries(4).encode().unwrap();
        assert_eq!(Envelope::decode(&add(&raw, 3)).unwrap().retries(), 7);
    }

    #[test]
    fn the_count_does_not_overflow() {
        let raw = Envelope::new("x").unwrap().with_retries(u32::MAX).encode().unwrap();
        assert_eq!(Envelope::decode(&add(&raw, 3)).unwrap().retries(), u32::MAX);
    }

    proptest::proptest! {
        #[test]
        fn all_but_the_number_survives_whatever_the_envelope_holds(
            name in "\\PC{1,12}",
            value in "\\PC{0,40}",
            payload in "\\PC{0,40}",
            retries in 0u32..1000,
            attempts in 1u32..1000,
        ) {
            let envelope = Envelope::new(&payload)
                .unwrap()
                .with_header(name.as_str(), value.as_str())
                .with_metadata(name.as_str(), value.as_str())
                .with_retries(retries);
            let raw = envelope.encode().unwrap();
            let expected = envelope.with_retries(retries + attempts);
            proptest::prop_assert_eq!(Envelope::decode(&add(&raw, attempts)).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_fail(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..200), attempts in 0u32..3) {
            let raw = Bytes::from(raw);
            if Envelope::decode(&raw).is_err() {
                proptest::prop_assert_eq!(add(&raw, attempts), raw);
            }
        }
    }
}
