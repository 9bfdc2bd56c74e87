//! The JSON examples of the specification are envelopes. (Its Rust examples are doc tests of the crate.)
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use valkey_envelope::Envelope;

#[test]
fn json_examples_are_envelopes() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire-format.md");
    let text = fs::read_to_string(page).unwrap();
    let examples: Vec<_> =
        text.split("```json\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(examples.len() >= 3, "only {} examples were found", examples.len());
    for example in &examples {
        let envelope =
            Envelope::decode(example.as_bytes()).unwrap_or_else(|error| panic!("{error}: {example}"));
        assert!(envelope.unknown().is_empty(), "a field that the specification does not know: {example}");
    }
    // The first two show one message in the two forms.
    let payload = |example: &str| {
        Envelope::decode(example.as_bytes()).unwrap().payload_as::<serde_json::Value>().unwrap()
    };
    assert_eq!(payload(examples[0]), payload(examples[1]));
}

#[test]
fn every_field_has_its_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire-format.md");
    let text = fs::read_to_string(page).unwrap();
    let all_null = include_str!("data/v1/all-null.json");
    let fields = serde_json::from_str::<serde_json::Map<_, _>>(all_null).unwrap();
    for field in fields.keys().map(String::as_str).chain(["envelope_version"]) {
        assert!(text.contains(&format!("\n| `{field}` |")), "{field} is not in the tables");
    }
}
