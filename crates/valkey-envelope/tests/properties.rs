//! What holds for all messages and all bytes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value};
use valkey_envelope::{
    Codec, DeadBody, DeadMeta, DeadReason, Delayed, Envelope, Frame, InFlight, Lane, PayloadForm, QueueName,
    StringPayload, TraceParent,
};

#[path = "../fuzz/exercise.rs"]
mod exercise;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z-]{0,12}",
        Just("e30=".to_owned()),
        Just("W10=".to_owned()),
        Just("\0\\\"".to_owned())
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((text(), inner), 0..5).prop_map(|fields| Value::from(Map::from_iter(fields))),
        ]
    })
}

fn lane() -> impl Strategy<Value = Lane> {
    prop::sample::select(&Lane::ALL[..])
}

fn time() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    (range, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::MAX))
}

prop_compose! {
    fn envelope()(
        payload in json(),
        id in text(),
        queue in option::of("[A-Za-z0-9_.:-]{1,200}"),
        texts in [option::of(text()), option::of(text()), option::of(text())],
        headers in vec((text(), text()), 0..8),
        times in (option::of(time()), option::of(time())),
        ttl in option::of(any::<u64>()),
        retries in any::<u32>(),
        metadata in vec((text(), json()), 0..4),
        priority in lane(),
        checksum in any::<bool>(),
    ) -> Envelope {
        let mut envelope = Envelope::new(&payload).unwrap().with_id(id).with_retries(retries).with_priority(priority);
        let [kind, content_type, key_id] = texts;
        if let Some(queue) = queue { envelope = envelope.with_queue(&QueueName::try_from(queue).unwrap()) }
        if let Some(kind) = kind { envelope = envelope.with_kind(kind) }
        if let Some(content_type) = content_type { envelope = envelope.with_content_type(content_type) }
        if let Some(key_id) = key_id { envelope = envelope.with_key_id(key_id) }
        for (name, value) in headers { envelope = envelope.with_header(name, value) }
        for (name, value) in metadata { envelope = envelope.with_metadata(name, value) }
        if let Some(timestamp) = times.0 { envelope = envelope.with_timestamp(timestamp) }
        if let Some(not_before) = times.1 { envelope = envelope.with_not_before(not_before) }
        if let Some(ttl) = ttl { envelope = envelope.with_ttl(Duration::from_nanos(ttl)) }
        if checksum { envelope = envelope.with_checksum() }
        envelope
    }
}

prop_compose! {
    fn frame()(crashes in any::<u32>(), attempts in any::<u32>(), lane in lane(), raw in vec(any::<u8>(), 0..300)) -> Frame {
        Frame { crashes, attempts, lane, raw: raw.into() }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(envelope in envelope()) {
        for form in [PayloadForm::Inline, PayloadForm::Base64] {
            let written = Codec::new().payload_form(form).encode(&envelope).unwrap();
            // Whatever the reader takes foreign strings for.
            for strings in [StringPayload::Detect, StringPayload::Base64, StringPayload::Literal] {
                let codec = Codec::new().string_payload(strings);
                let read = codec.decode(&written);
                prop_assert_eq!(read.as_ref(), Ok(&envelope));
            }
            // Any JSON reader agrees on what the payload is.
            let value: Value = serde_json::from_slice(&written).unwrap();
            if form == PayloadForm::Inline {
                prop_assert_eq!(&value["payload"], &envelope.payload_as::<Value>().unwrap());
            }
            // What was read in a form is written in it.
            prop_assert_eq!(Envelope::decode(&written).unwrap().encode().unwrap(), written);
        }
    }

    #[test]
    fn bytes_come_back(bytes in vec(any::<u8>(), 0..200)) {
        let envelope = Envelope::decode(&Envelope::from_bytes(&bytes).encode().unwrap()).unwrap();
        prop_assert_eq!(envelope.payload_bytes().unwrap(), bytes);
    }

    #[test]
    fn frames_come_back(frame in frame(), claimed_ms in any::<u64>(), take in any::<u64>(), id in "[^|]{1,40}") {
        prop_assert_eq!(Frame::decode(frame.encode()), Ok(frame.clone()));
        let in_flight = InFlight { claimed_ms, frame: frame.clone() };
        prop_assert_eq!(InFlight::decode(take, in_flight.encode()), in_flight);
        let delayed = Delayed { id, frame };
        prop_assert_eq!(Delayed::decode(delayed.encode().unwrap()), Ok(delayed));
    }

    #[test]
    fn dead_letters_come_back(
        reason in text(),
        numbers in any::<(u32, u32)>(),
        lane in option::of(lane()),
        texts in [option::of(text()), option::of(text())],
        times in any::<(Option<u64>, Option<u64>)>(),
        raw in vec(any::<u8>(), 0..300),
    ) {
        let [error, consumer] = texts;
        let (attempts, crashes) = numbers;
        let (at_ms, claimed_ms) = times;
        let reason = DeadReason::from(reason);
        let meta = DeadMeta { reason, attempts, crashes, lane, error, at_ms, claimed_ms, consumer };
        let dead = DeadBody { meta, raw: Bytes::from(raw) };
        prop_assert_eq!(DeadBody::decode(dead.encode()), Ok(dead));
    }

    #[test]
    fn trace_parents_come_back(trace_id in 1..=u128::MAX, parent_id in 1..=u64::MAX, sampled in any::<bool>()) {
        let parent = TraceParent::new(trace_id, parent_id, sampled).unwrap();
        prop_assert_eq!(parent.to_string().parse(), Ok(parent));
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        exercise::envelope(&bytes);
        exercise::frames(&bytes);
    }

    #[test]
    fn nearly_envelopes_are_survived(
        envelope in envelope(),
        base64 in any::<bool>(),
        edits in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let form = if base64 { PayloadForm::Base64 } else { PayloadForm::Inline };
        let mut bytes = Codec::new().payload_form(form).encode(&envelope).unwrap().to_vec();
        for (at, from, byte) in edits {
            let at = at.index(bytes.len());
            match byte % 4 {
                // Another byte, one fewer, one more, or a stretch of the message once again.
                0 => bytes[at] = byte,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, br#"{}[]",:\0e-"#[usize::from(byte) % 11]),
                _ => {
                    let from = from.index(bytes.len());
                    let again = bytes[from..bytes.len().min(from + 20)].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        exercise::envelope(&bytes);
        exercise::frames(&bytes);
    }

    #[test]
    fn queue_names_are_exactly_the_alphabet(name in any::<String>()) {
        let valid = (1..=200).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
        prop_assert_eq!(QueueName::try_from(name.as_str()).is_ok(), valid);
    }
}
