// What must hold for any bytes at all. Shared by the fuzz targets and by `tests/garbage.rs`.

use bytes::Bytes;
use valkey_envelope::{
    Codec, DeadBody, Delayed, EncodeError, Envelope, Frame, InFlight, PayloadForm, StringPayload,
};

/// Bytes that decode can be written again, in either form, and read back to the same message.
pub(crate) fn envelope(bytes: &[u8]) {
    for string_payload in [StringPayload::Detect, StringPayload::Base64, StringPayload::Literal] {
        let codec = Codec::new().string_payload(string_payload);
        let envelope = match codec.decode(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        use_all_of(&envelope);
        for writer in
            [codec, codec.payload_form(PayloadForm::Inline), codec.payload_form(PayloadForm::Base64)]
        {
            match writer.encode(&envelope) {
                Ok(written) => {
                    assert_eq!(codec.decode(&written).as_ref(), Ok(&envelope));
                    assert_eq!(
                        Envelope::decode(&written).as_ref(),
                        Ok(&envelope),
                        "it says itself how to read it"
                    );
                }
                // Base64 and the fields that say how to read it take space.
                Err(EncodeError::Limit(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Bytes that are a frame are read to one that is written and read back the same.
pub(crate) fn frames(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(frame) = Frame::decode(bytes.clone()) {
        assert_eq!(Frame::decode(frame.encode()), Ok(frame));
    }
    let in_flight = InFlight::decode(16, bytes.clone());
    assert_eq!(InFlight::decode(0, in_flight.encode()), in_flight);
    if let Ok(delayed) = Delayed::decode(bytes.clone()) {
        let written = delayed.encode().expect("an id that was read is one that can be written");
        assert_eq!(Delayed::decode(written), Ok(delayed));
    }
    if let Ok(dead) = DeadBody::decode(bytes) {
        assert_eq!(DeadBody::decode(dead.encode()), Ok(dead));
    }
}

fn use_all_of(envelope: &Envelope) {
    let _ = envelope.expires_at();
    let _ = envelope.trace_parent();
    let _ = envelope.payload_bytes();
    let _ = format!("{envelope:?}");
    let _ = envelope.payload_as::<serde_json::Value>();
    let _ = envelope.payload_as::<u8>();
    let _ = envelope.payload_as::<String>();
}
