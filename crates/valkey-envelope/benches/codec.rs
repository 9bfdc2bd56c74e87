//! What an envelope of about 256 bytes costs: `cargo bench -p valkey-envelope`. Prints the median of 15 rounds.
#![allow(clippy::unwrap_used)]

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use valkey_envelope::{Codec, Envelope, Frame, InFlight, Lane, PayloadForm};

fn main() {
    let payload = serde_json::json!({"login": "ada", "email": "ada@example.org", "chat": 4_611_686_018_427_387_905_u64});
    let envelope = Envelope::new(&payload)
        .unwrap()
        .with_kind("registration")
        .with_header("locale", "de")
        .with_retries(1);
    let inline = envelope.encode().unwrap();
    let base64 = Codec::new().payload_form(PayloadForm::Base64).encode(&envelope).unwrap();
    let in_flight =
        InFlight { claimed_ms: 1_755_077_213_000, frame: Frame::fresh(Lane::Normal, inline.clone()) }
            .encode();

    println!("inline {} bytes, base64 {} bytes", inline.len(), base64.len());
    time("encode", || drop(black_box(envelope.encode())));
    time("decode inline", || drop(black_box(Envelope::decode(black_box(&inline)))));
    time("decode base64", || drop(black_box(Envelope::decode(black_box(&base64)))));
    time("in flight decode", || drop(black_box(InFlight::decode(0, Bytes::clone(&in_flight)))));
    time("in flight encode", || {
        drop(black_box(InFlight::encode(&InFlight::decode(0, in_flight.clone()))));
    });
}

fn time(what: &str, mut step: impl FnMut()) {
    const STEPS: u32 = 20_000;
    let mut rounds: Vec<_> = (0..15)
        .map(|_| {
            let start = Instant::now();
            (0..STEPS).for_each(|_| step());
            start.elapsed().as_nanos() / u128::from(STEPS)
        })
        .collect();
    rounds.sort_unstable();
    println!("{what:20} {:6} ns", rounds[rounds.len() / 2]);
}
