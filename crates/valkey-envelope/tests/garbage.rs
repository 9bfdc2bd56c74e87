//! Bytes that turn up on queues and are no envelope: each is refused for the right reason, none panics.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use valkey_envelope::{DecodeError, Envelope, Limit};

#[path = "../fuzz/exercise.rs"]
mod exercise;

fn corpus() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/corpus");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// The label of the refusal and the field it names; `ok` for what is an envelope after all.
const VERDICTS: &[(&str, &str, Option<&str>)] = &[
    ("crc-2-32", "field", Some("crc")),
    ("crc-string", "field", Some("crc")),
    ("crc-wrong", "checksum", Some("crc")),
    ("depth-10000-array", "limit", None),
    ("depth-10000-base64", "limit", None),
    ("depth-10000-base64-open", "limit", None),
    ("depth-10000-in-string", "ok", None),
    ("depth-10000-metadata", "limit", None),
    ("depth-10000-objects", "limit", None),
    ("depth-10000-open", "limit", None),
    ("depth-10000-payload", "limit", None),
    ("depth-10000-unknown", "limit", None),
    ("empty", "not_json", None),
    ("empty-object", "missing_payload", Some("payload")),
    ("frame", "not_json", None),
    ("frame-bars", "not_json", None),
    ("frame-dead", "not_json", None),
    ("frame-dead-too-long", "not_json", None),
    ("frame-delayed", "not_json", None),
    ("frame-in-flight", "not_json", None),
    ("gzip", "not_utf8", None),
    ("headers-1000", "limit", None),
    ("headers-40k", "limit", None),
    ("headers-array", "field", Some("headers")),
    ("headers-escape-name", "field", Some("headers.\\u{1b}[31m")),
    ("headers-half-surrogate", "field", Some("headers.a")),
    ("headers-name-half-surrogate", "field", Some("headers")),
    ("headers-nested", "field", Some("headers.a")),
    ("headers-number", "field", Some("headers.a")),
    ("headers-same-name-1000", "limit", None),
    ("hex", "not_json", None),
    ("id-half-surrogate", "field", Some("id")),
    ("id-number", "field", Some("id")),
    ("id-object", "field", Some("id")),
    ("infinity", "not_json", None),
    ("json-array", "not_an_object", None),
    ("json-null", "not_an_object", None),
    ("json-number", "not_an_object", None),
    ("json-string", "not_an_object", None),
    ("json-true", "not_an_object", None),
    ("key-half-surrogate", "not_json", None),
    ("key-not-a-string", "not_json", None),
    ("kind-bool", "field", Some("kind")),
    ("leading-zero", "not_json", None),
    ("metadata-array", "field", Some("metadata")),
    ("metadata-string", "field", Some("metadata")),
    ("nan", "not_json", None),
    ("no-payload", "missing_payload", Some("payload")),
    ("nul", "not_json", None),
    ("nul-escaped", "ok", None),
    ("nul-in-string", "not_json", None),
    ("nul-inside", "not_json", None),
    ("other-json", "missing_payload", Some("payload")),
    ("payload-base64-broken-json", "ok", None),
    ("payload-base64-broken-utf8", "ok", None),
    ("payload-base64-escaped", "ok", None),
    ("payload-base64-of-binary", "field", Some("payload")),
    ("payload-base64-of-text", "field", Some("payload")),
    ("payload-base64-unpadded", "ok", None),
    ("payload-encoding-number", "field", Some("payload_encoding")),
    ("payload-encoding-unknown", "field", Some("payload_encoding")),
    ("payload-half-surrogate", "ok", None),
    ("payload-half-surrogate-base64", "field", Some("payload")),
    ("payload-huge-number", "ok", None),
    ("payload-not-base64", "field", Some("payload")),
    ("plain-text", "not_json", None),
    ("priority-number", "field", Some("priority")),
    ("priority-unknown", "field", Some("priority")),
    ("queue-array", "field", Some("queue")),
    ("retries-2-32", "field", Some("retries")),
    ("retries-negative", "field", Some("retries")),
    ("retries-string", "field", Some("retries")),
    ("sidekiq-job", "missing_payload", Some("payload")),
    ("single-quotes", "not_json", None),
    ("spaces", "not_json", None),
    ("timestamp-20-digits", "field", Some("timestamp")),
    ("timestamp-empty", "field", Some("timestamp")),
    ("timestamp-feb-30", "field", Some("timestamp")),
    ("timestamp-leap-second", "ok", None),
    ("timestamp-no-offset", "field", Some("timestamp")),
    ("timestamp-number", "field", Some("timestamp")),
    ("timestamp-text", "field", Some("timestamp")),
    ("timestamp-year-10000", "field", Some("timestamp")),
    ("trailing-bytes", "not_json", None),
    ("trailing-comma", "not_json", None),
    ("truncated-1", "not_json", None),
    ("truncated-2", "not_json", None),
    ("truncated-3", "not_json", None),
    ("truncated-escape", "not_json", None),
    ("truncated-unicode", "not_json", None),
    ("ttl-2-63", "field", Some("ttl")),
    ("ttl-2-63-minus-1", "ok", None),
    ("ttl-exponent", "field", Some("ttl")),
    ("ttl-exponent-huge", "field", Some("ttl")),
    ("ttl-fraction", "field", Some("ttl")),
    ("ttl-huge", "field", Some("ttl")),
    ("ttl-minus-zero", "ok", None),
    ("ttl-string", "field", Some("ttl")),
    ("two-objects", "not_json", None),
    ("unknown-5000", "ok", None),
    ("utf16", "not_utf8", None),
    ("utf8-bom", "not_json", None),
    ("utf8-broken", "not_utf8", None),
    ("utf8-broken-payload", "not_utf8", None),
    ("utf8-overlong", "not_utf8", None),
    ("utf8-surrogate", "not_utf8", None),
];

#[test]
fn each_is_refused_for_its_reason() {
    let corpus = corpus();
    let expected: BTreeMap<_, _> =
        VERDICTS.iter().map(|&(name, label, field)| (name, (label, field))).collect();
    assert!(
        corpus.keys().map(String::as_str).eq(expected.keys().copied()),
        "a file without a verdict, or the reverse"
    );
    for (name, bytes) in &corpus {
        let outcome = Envelope::decode(bytes);
        let (label, field) = match &outcome {
            Ok(_) => ("ok", None),
            Err(error) => (error.label(), error.field()),
        };
        assert_eq!((label, field), expected[name.as_str()], "{name}: {outcome:?}");
    }
}

#[test]
fn what_holds_for_all_bytes_holds_for_the_corpus() {
    for bytes in corpus().values() {
        exercise::envelope(bytes);
        exercise::frames(bytes);
    }
}

#[test]
fn every_cut_of_an_envelope_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1");
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let end = bytes.trim_ascii_end().len();
        for cut in 0..end {
            let refused = Envelope::decode(&bytes[..cut]).unwrap_err();
            assert!(
                matches!(refused, DecodeError::NotJson { .. } | DecodeError::NotUtf8 { .. }),
                "{refused}"
            );
        }
    }
}

#[test]
fn a_limit_says_which_and_how_much() {
    let corpus = corpus();
    for (name, limit, value) in [
        ("depth-10000-payload", Limit::Depth, 10_001),
        ("depth-10000-base64", Limit::Depth, 10_001),
        ("depth-10000-array", Limit::Depth, 10_000),
        ("headers-1000", Limit::Headers, 129),
        ("headers-40k", Limit::HeaderBytes, 40_001),
    ] {
        let Err(DecodeError::Limit(exceeded)) = Envelope::decode(&corpus[name]) else {
            panic!("{name} passed")
        };
        assert_eq!((exceeded.limit(), exceeded.value()), (limit, value), "{name}");
    }
    let refused = Envelope::decode(&vec![b' '; 1_048_577]).unwrap_err();
    assert_eq!(refused.to_string(), "size of 1048577 bytes is over the limit of 1048576");
}

#[test]
fn messages_are_for_people_and_carry_no_values() {
    for (bytes, message) in [
        (r#"{"id":7,"payload":1}"#, "field `id`: expected a string, found a number"),
        (
            r#"{"payload":1,"ttl":"hunter2"}"#,
            "field `ttl`: expected an integer number of nanoseconds that fits in 64 bits, found a string",
        ),
        (
            r#"{"payload":1,"retries":4294967296}"#,
            "field `retries`: expected an integer from 0 to 4294967295, found another number",
        ),
        (
            r#"{"payload":1,"timestamp":"hunter2"}"#,
            "field `timestamp`: expected a time like 2026-01-31T12:00:00.5+01:00",
        ),
        (
            r#"{"payload":1,"headers":{"a":["hunter2"]}}"#,
            "field `headers.a`: expected a string, found an array",
        ),
        (
            r#"{"payload":1,"headers":{"\u001b[31m":1}}"#,
            r"field `headers.\u{1b}[31m`: expected a string, found a number",
        ),
        (r#"{"payload":1,"priority":"hunter2"}"#, "field `priority`: expected `high`, `normal` or `low`"),
        (r#"{"payload":1,"crc":1}"#, "checksum of the payload is 83dcefb7, the envelope says 00000001"),
        (r#"["hunter2"]"#, "expected a JSON object, found an array"),
        ("hunter2", "not JSON: expected value at line 1 column 1"),
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        ("{}", "field `payload` is missing"),
    ] {
        assert_eq!(Envelope::decode(bytes.as_bytes()).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_payload_of_another_type_is_told_without_its_values() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        name: Name,
    }
    #[derive(Debug, serde::Deserialize)]
    enum Name {
        Ada,
    }

    for (payload, reason) in [
        (r#""hunter2, expected x""#, "invalid type, expected struct Login"),
        (r#"{"name":"hunter2"}"#, "unknown variant, expected `Ada`"),
        (r#"{"hunter2":1}"#, "unknown field, expected `name`"),
        ("{}", "missing field `name`"),
    ] {
        let envelope = Envelope::decode(format!(r#"{{"payload":{payload}}}"#).as_bytes()).unwrap();
        let refused = envelope.payload_as::<Login>().unwrap_err().to_string();
        assert!(refused.contains(reason) && refused.contains("Login: "), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let envelope = Envelope::decode(br#"{"payload":{"name":"Ada"}}"#).unwrap();
    assert!(matches!(envelope.payload_as(), Ok(Login { name: Name::Ada })));
}
