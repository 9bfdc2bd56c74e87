//! Envelopes as they are in the wild, of both Go peers and of ours. They are read for ever: a change that breaks
//! one of these breaks messages that wait on somebody's queue.
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use valkey_envelope::{Codec, Envelope, Lane, PayloadForm, QueueName, StringPayload, TraceParent};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1")
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

fn read(name: &str) -> Envelope {
    Envelope::decode(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn payload(envelope: &Envelope) -> Value {
    envelope.payload_as().unwrap()
}

fn registration() -> Value {
    json!({"login": "ada", "email": "ada@example.org", "chat": 4_611_686_018_427_387_905_u64})
}

#[test]
fn every_file_is_read_and_survives_a_rewrite() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let envelope = read(&name);
        let written = envelope.encode().unwrap();
        assert_eq!(Envelope::decode(&written).unwrap(), envelope, "{name}");
        count += 1;
    }
    assert!(count >= 20, "only {count} files were found");
}

#[test]
fn go_with_a_base64_payload() {
    let envelope = read("go-base64.json");
    assert_eq!(envelope.id().as_str(), "7c9e6679-7425-40de-944b-e07fc1f90ae7");
    assert_eq!(envelope.queue(), Some("user-registrations"));
    assert_eq!(payload(&envelope), registration());
    assert_eq!(
        envelope.headers().iter().collect::<Vec<_>>(),
        [("content-type", "application/json"), ("source", "bot")]
    );
    assert_eq!(envelope.timestamp(), Some("2025-07-20T12:03:07.123456789Z".parse().unwrap()));
    assert_eq!(envelope.ttl(), Some(Duration::from_hours(24)));
    assert_eq!(envelope.expires_at(), Some("2025-07-21T12:03:07.123456789Z".parse().unwrap()));
    assert_eq!(envelope.retries(), 0);
    assert_eq!(envelope.metadata().get("priority").map(serde_json::value::RawValue::get), Some("1"));
    // Its consumer knows this form only, so a rewrite keeps it; a codec may insist on another.
    assert!(String::from_utf8(envelope.encode().unwrap().into()).unwrap().contains(r#""payload":"eyJ"#));
    let inline = Codec::new().payload_form(PayloadForm::Inline).encode(&envelope).unwrap();
    assert!(String::from_utf8(inline.into()).unwrap().contains(r#""payload":{"login""#));
}

#[test]
fn go_with_an_inline_payload() {
    let envelope = read("go-inline.json");
    assert_eq!(payload(&envelope), registration());
    assert_eq!(envelope.queue(), None);
    assert!(envelope.headers().is_empty());
    assert_eq!((envelope.ttl(), envelope.expires_at()), (None, None));
    assert_eq!(envelope.retries(), 2);
    assert_eq!(envelope.priority(), Lane::Normal);
}

#[test]
fn go_escapes_and_nil() {
    let envelope = read("go-escapes.json");
    assert_eq!(payload(&envelope), json!({"html": "<b> & \u{2028}"}));
    assert_eq!(envelope.header("q"), Some("a<b"));
    let envelope = read("go-nil-payload.json");
    assert_eq!(payload(&envelope), Value::Null);
    assert_eq!(envelope.timestamp(), Some("0001-01-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn a_string_is_base64_only_if_it_holds_an_object_or_array_or_a_setting_says_so() {
    let text = read("go-base64-text.json");
    assert_eq!(payload(&text), json!("aGVsbG8sIHdvcmxk"));
    assert_eq!(text.payload_bytes().unwrap(), b"hello, world");
    assert_eq!(payload(&read("go-base64-number.json")), json!("NDI="));

    let always = Codec::new().string_payload(StringPayload::Base64);
    assert_eq!(payload(&always.decode(&bytes("go-base64-number.json")).unwrap()), json!(42));
    assert!(always.decode(&bytes("go-base64-text.json")).is_err());
    assert_eq!(payload(&always.decode(&bytes("go-inline.json")).unwrap()), registration());

    let literal = Codec::new().string_payload(StringPayload::Literal);
    assert!(payload(&literal.decode(&bytes("go-base64.json")).unwrap()).is_string());

    // Ours say it themselves, whatever the setting.
    for codec in [Codec::new(), always, literal] {
        assert_eq!(payload(&codec.decode(&bytes("ours-base64.json")).unwrap()), registration());
        assert_eq!(payload(&codec.decode(&bytes("ours-literal.json")).unwrap()), json!("e30="));
    }
}

#[test]
fn ours_is_written_to_the_byte() {
    let parent: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
    let queue = QueueName::try_from("user-registrations").unwrap();
    let raw = r#"{"login":"ada","email":"ada@example.org","chat":4611686018427387905}"#;
    let new = || {
        Envelope::from_json(serde_json::from_str(raw).unwrap())
            .with_id("0198a3c2-7b1e-7cc3-98c4-dc0c0c07398f")
            .with_timestamp("2025-08-13T09:26:53Z".parse().unwrap())
    };
    let full = new()
        .with_queue(&queue)
        .with_kind("registration")
        .with_header("locale", "de")
        .with_trace_parent(&parent)
        .with_timestamp("2025-08-13T09:26:53.000000001Z".parse().unwrap())
        .with_ttl(Duration::from_hours(1))
        .with_retries(3)
        .with_metadata("origin", json!({"shard": 7}))
        .with_priority(Lane::High)
        .with_not_before("2025-08-13T10:00:00Z".parse().unwrap())
        .with_content_type("application/json");
    let base64 = Codec::new().payload_form(PayloadForm::Base64);
    let literal = new().with_payload(serde_json::from_str(r#""e30=""#).unwrap());
    let encrypted = new()
        .with_payload(Envelope::from_bytes(b"\xde\xad\xbe\xef\0").payload().to_owned())
        .with_content_type("application/octet-stream")
        .with_key_id("2025-08")
        .with_checksum();
    for (name, codec, envelope) in [
        ("ours.json", Codec::new(), full),
        ("ours-base64.json", base64, new()),
        ("ours-literal.json", Codec::new(), literal),
        ("ours-encrypted.json", Codec::new(), encrypted),
        ("ours-checksum.json", Codec::new(), new().with_checksum()),
        ("ours-checksum-base64.json", base64, new().with_checksum()),
    ] {
        let written = String::from_utf8(codec.encode(&envelope).unwrap().into()).unwrap();
        assert_eq!(written, String::from_utf8(bytes(name)).unwrap(), "{name}");
        assert_eq!(read(name), envelope, "{name}");
    }
    assert_eq!(read("ours-encrypted.json").payload_bytes().unwrap(), b"\xde\xad\xbe\xef\0");
}

#[test]
fn unknown_fields_survive_to_the_letter() {
    let envelope = read("unknown-fields.json");
    let names: Vec<_> = envelope.unknown().iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ID", "big", "nested", "version", "ünï\""]);
    let written = String::from_utf8(envelope.encode().unwrap().into()).unwrap();
    for kept in [
        r#""version":2"#,
        r#""big":123456789012345678901234567890.5e400"#,
        r#""nested":{"b":[null,true],"a":{}}"#,
        r#""ünï\"":"\ud83d\ude00""#,
        r#""ID":"not ours""#,
    ] {
        assert!(written.contains(kept), "{kept} in {written}");
    }
}

#[test]
fn little_is_required() {
    let envelope = read("minimal.json");
    assert!(envelope.id().is_empty());
    assert_eq!((envelope.kind(), envelope.timestamp(), envelope.ttl()), (None, None, None));
    assert_eq!(envelope.encode().unwrap(), bytes("minimal.json"));
    let nothing = read("all-null.json");
    assert_eq!(payload(&nothing), json!("x"));
    assert!(nothing.id().is_empty() && nothing.unknown().is_empty() && !nothing.has_checksum());
}

#[test]
fn of_two_equal_names_the_last_counts() {
    let envelope = read("duplicate-fields.json");
    assert_eq!((envelope.id().as_str(), payload(&envelope)), ("last", json!(2)));
    assert_eq!(envelope.headers().iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    assert_eq!(envelope.unknown().get("x").map(serde_json::value::RawValue::get), Some("2"));
}

#[test]
fn any_layout_and_any_offset() {
    assert_eq!(payload(&read("pretty.json")), json!({"a": [1, 2]}));
    let odd = read("odd-offset.json");
    assert_eq!(odd.timestamp(), Some("2025-07-20T06:18:07.000000001Z".parse().unwrap()));
    assert_eq!(odd.ttl(), Some(Duration::from_nanos(1)));
    assert_eq!(read("negative-ttl.json").ttl(), None);
    assert_eq!(read("header-null.json").header("a"), Some(""));
}

#[test]
fn the_checksum_holds_for_the_payload_in_either_form_and_for_no_other() {
    for name in ["ours-checksum.json", "ours-checksum-base64.json"] {
        assert!(read(name).has_checksum());
    }
    let text = String::from_utf8(bytes("ours-checksum.json")).unwrap();
    assert!(Envelope::decode(text.replace("ada@", "eve@").as_bytes()).is_err());
    // Not even for the same value in other words: hence it is off unless asked for.
    assert!(Envelope::decode(text.replace(r#""login":"#, r#""login": "#).as_bytes()).is_err());
}
