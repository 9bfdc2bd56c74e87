//! Envelopes of versions to come: told apart from garbage, whatever else they hold.
#![allow(clippy::unwrap_used)]

use valkey_envelope::{DecodeError, Envelope};

fn decode(json: &str) -> Result<Envelope, DecodeError> {
    Envelope::decode(json.as_bytes())
}

#[test]
fn a_newer_version_is_no_garbage_whatever_its_other_fields_mean() {
    let newer = DecodeError::NewerVersion { found: 2, known: 1 };
    for json in [
        r#"{"envelope_version":2,"payload":1}"#,
        r#"{"envelope_version":2}"#,
        r#"{"id":{"high":1,"low":2},"ttl":"24h","crc":"sha256:00","envelope_version":2,"body":[]}"#,
    ] {
        assert_eq!(decode(json), Err(newer.clone()), "{json}");
    }
    let text = newer.to_string();
    assert!(text.contains("version 2") && text.contains("up to 1"), "{text}");
    assert_eq!((newer.label(), newer.field()), ("newer_version", Some("envelope_version")));
}

#[test]
fn the_present_version_may_be_said_and_is_not_written() {
    let said = decode(r#"{"envelope_version":1,"id":"1","payload":1}"#).unwrap();
    assert_eq!(said, decode(r#"{"id":"1","payload":1}"#).unwrap());
    assert_eq!(said, decode(r#"{"envelope_version":null,"id":"1","payload":1}"#).unwrap());
    assert!(said.unknown().is_empty());
    assert!(!String::from_utf8(said.encode().unwrap().into()).unwrap().contains("version"));
}

#[test]
fn what_is_no_version_is_no_envelope() {
    for bad in ["0", "-1", "1.0", "1e0", "\"2\"", "4294967296", "true", "[]"] {
        let error = decode(&format!(r#"{{"envelope_version":{bad},"payload":1}}"#)).unwrap_err();
        assert_eq!(error.field(), Some("envelope_version"), "{bad}");
        assert_eq!(error.label(), "field", "{bad}");
    }
}

#[test]
fn a_version_of_somebody_else_is_a_field_like_any() {
    let foreign = decode(r#"{"version":7,"payload":1}"#).unwrap();
    assert_eq!(foreign.unknown().get("version").unwrap().get(), "7");
}
