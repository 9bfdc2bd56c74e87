//! What a message is: its envelope on the wire, the keys it lives under, and the frames around it.
//!
//! ```text
//!  value --Envelope::new--> Envelope --Codec::encode--> bytes --LPUSH--> queue:NAME
//!  value <--payload_as----- Envelope <--Codec::decode-- bytes <--------- Frame / InFlight / Delayed / DeadBody
//! ```
//!
//! The format is the one that plain `LPUSH`/`BRPOP` peers already speak; `docs/wire-format.md` is its
//! specification. Nothing here knows a clock, a client or a runtime, but for [`Envelope::new`], which takes a
//! fresh id and the time of day.
//!
//! ```
//! use std::time::Duration;
//! use valkey_envelope::{Envelope, QueueName};
//!
//! #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
//! struct Registration {
//!     login: String,
//! }
//!
//! let queue: QueueName = "user-registrations".parse()?;
//! let sent = Envelope::new(&Registration { login: "ada".into() })?
//!     .with_kind("registration")
//!     .with_queue(&queue)
//!     .with_ttl(Duration::from_secs(3600));
//! let bytes = sent.encode()?; // what goes to queue.keys().public()
//!
//! let received = Envelope::decode(&bytes)?;
//! assert_eq!(received, sent);
//! assert_eq!(received.payload_as::<Registration>()?, Registration { login: "ada".into() });
//! assert_eq!(queue.keys().public(), "queue:user-registrations");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Bytes that are no envelope give a [`DecodeError`] that names the field and the reason; nothing here panics on
//! input, and no error or `Debug` output carries payload or header values.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod builder;
mod codec;
mod dead;
mod decode;
mod encode;
mod envelope;
mod error;
mod fields;
mod frame;
mod headers;
mod id;
mod keys;
mod lane;
mod limits;
mod payload;
mod payload_codec;
mod queue;
mod trace;

pub use self::{
    codec::{Codec, PayloadForm, StringPayload},
    dead::{DeadBody, DeadMeta, DeadReason},
    envelope::Envelope,
    error::{DecodeError, EncodeError},
    fields::Fields,
    frame::{Delayed, Frame, FrameError, InFlight},
    headers::Headers,
    id::MessageId,
    keys::QueueKeys,
    lane::{InvalidLane, Lane},
    limits::{Limit, LimitExceeded, Limits},
    payload::PayloadMismatch,
    payload_codec::{CodecError, PayloadCodec, PayloadCodecs},
    queue::{InvalidQueueName, QueueName},
    trace::{InvalidTraceParent, TraceParent},
};

// The examples of the specification are tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/wire-format.md")]
struct WireFormat;
