//! Where deliveries come out: decodes what the engine claimed, and settles what no handler should see.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use valkey_envelope::{Codec, CodecError, DeadReason, DecodeError, Envelope, PayloadCodecs};

use crate::delivery::Delivery;
use crate::desk::Claimed;
use crate::handle::EngineHandle;
use crate::outcome::{Disposition, error_text};
use crate::policy::RetryPolicy;
use crate::unreadable::Unreadable;

/// What becomes of a message whose time to live is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExpired {
    /// It is kept among the dead letters as `expired`.
    #[default]
    Dead,
    /// It is removed, and counted.
    Drop,
}

/// Hands out deliveries to any number of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    claims: async_channel::Receiver<Claimed>,
    drained: CancellationToken,
    reading: Arc<Reading>,
    _leash: Arc<Leash>,
}

/// Ends the engines when nobody is left who could fetch a message.
#[derive(Debug)]
struct Leash(EngineHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// How claimed bytes are read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) envelope_codec: Codec,
    pub(crate) codecs: PayloadCodecs,
    pub(crate) policy: Arc<RetryPolicy>,
    pub(crate) on_expired: OnExpired,
    /// Time to live of messages that bring none.
    pub(crate) message_ttl: Option<Duration>,
    /// What others may be able to read.
    pub(crate) unreadable: Unreadable,
}

impl Source {
    pub(crate) fn new(
        claims: async_channel::Receiver<Claimed>,
        engine: EngineHandle,
        reading: Reading,
    ) -> Self {
        let drained = engine.drained().clone();
        Self { claims, drained, reading: Arc::new(reading), _leash: Arc::new(Leash(engine)) }
    }

    /// The next delivery; `None` when the receiver drains or has stopped. Cancel safe: what was not returned stays.
    pub(crate) async fn next(&self) -> Option<Delivery> {
        loop {
            if self.drained.is_cancelled() {
                // What is still here goes back; the engine sees to it.
                return None;
            }
            let claimed = if let Ok(claimed) = self.claims.try_recv() {
                claimed
            } else {
                tokio::select! {
                    claimed = self.claims.recv() => claimed.ok()?,
                    () = self.drained.cancelled() => return None,
                }
            };
            if let Some(delivery) = self.open(claimed) {
                return Some(delivery);
            }
        }
    }

    /// A delivery that is here already.
    pub(crate) fn try_next(&self) -> Option<Delivery> {
        while !self.drained.is_cancelled() {
            let claimed = self.claims.try_recv().ok()?;
            if let Some(delivery) = self.open(claimed) {
                return Some(delivery);
            }
        }
        None
    }

    fn open(&self, claimed: Claimed) -> Option<Delivery> {
        if claimed.epoch().lost.is_cancelled() {
            // The engine has given it up with the lease; there is nothing left to settle.
            return None;
        }
        let desk = Arc::clone(&claimed.epoch().desk);
        let frame = &claimed.claim().frame;
        let envelope = match self.reading.envelope_codec.decode(&frame.raw) {
            Ok(envelope) => envelope,
            Err(error @ DecodeError::NewerVersion { .. }) => {
                desk.metrics.decode_failed(error.label());
                self.leave_to_others(claimed, DeadReason::UnsupportedVersion, &error);
                return None;
            }
            Err(error) => {
                desk.metrics.decode_failed(error.label());
                let dead =
                    Disposition::Dead { reason: DeadReason::Undecodable, error: Some(error_text(&error)) };
                claimed.settle(dead, None);
                return None;
            }
        };
        let expired_at = self.expiry(&envelope);
        if expired_at.is_some_and(|at| desk.server_ms() >= at) {
            claimed.settle(
                match self.reading.on_expired {
                    OnExpired::Dead => Disposition::Dead {
                        reason: DeadReason::Expired,
                        error: expired_at.and_then(expiry_text),
                    },
                    OnExpired::Drop => Disposition::Ack,
                },
                None,
            );
            return None;
        }
        let envelope = match self.undo_codecs(envelope) {
            Ok(envelope) => envelope,
            Err(error @ CodecError::Unknown { .. }) => {
                desk.metrics.decode_failed("unknown_codec");
                self.leave_to_others(claimed, DeadReason::UnknownCodec, &error);
                return None;
            }
            Err(error @ CodecError::UnknownKey) => {
                desk.metrics.decode_failed("unknown_key");
                self.leave_to_others(claimed, DeadReason::UnknownKey, &error);
                return None;
            }
            Err(error) => {
                desk.metrics.decode_failed("codec");
                let dead = Disposition::Dead { reason: DeadReason::Codec, error: Some(error_text(&error)) };
                claimed.settle(dead, None);
                return None;
            }
        };
        desk.metrics.delivered(1, u64::from(frame.attempts > 0 || frame.crashes > 0));
        Some(Delivery::new(envelope, claimed, Arc::clone(&self.reading.policy)))
    }

    /// Nothing is wrong with it, only with us: put back for a consumer that can read it, uncounted, and kept as it came
    /// when none has done so in time.
    fn leave_to_others(&self, claimed: Claimed, reason: DeadReason, why: &impl Display) {
        let error = Some(error_text(why));
        let disposition = match self.reading.unreadable.put_back(&claimed.claim().frame.raw, Instant::now()) {
            Some(delay) => Disposition::Retry { delay, counted: false, error },
            None => Disposition::Dead { reason, error },
        };
        claimed.settle(disposition, None);
    }

    fn undo_codecs(&self, envelope: Envelope) -> Result<Envelope, CodecError> {
        if self.reading.codecs.is_empty() { Ok(envelope) } else { self.reading.codecs.open(envelope) }
    }

    /// When the message's time to live is over, in ms of Unix time.
    fn expiry(&self, envelope: &Envelope) -> Option<u64> {
        let expires_at = match (envelope.expires_at(), self.reading.message_ttl) {
            (Some(at), _) => at,
            (None, Some(ttl)) if envelope.ttl().is_none() => envelope.timestamp()?.checked_add(ttl).ok()?,
            _ => return None,
        };
        Some(u64::try_from(expires_at.as_millisecond()).unwrap_or(0))
    }
}

fn expiry_text(at_ms: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(format!("expired at {at}"))
}
