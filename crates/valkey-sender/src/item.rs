//! A message ready to be pushed: encoded, with what decides how.

use bytes::Bytes;
use valkey_envelope::{Delayed, Frame, Lane, MessageId};

/// One encoded message on its way to one queue.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: MessageId,
    pub(crate) lane: Lane,
    /// Unix time in milliseconds before which it must not be delivered; 0 = at once.
    pub(crate) due_ms: u64,
    /// Length of the payload alone, for the histogram.
    pub(crate) payload_bytes: usize,
    pub(crate) raw: Bytes,
}

impl Item {
    /// Whether a plain `LPUSH` to the public list does all it asks for.
    pub(crate) fn is_plain(&self) -> bool {
        self.lane == Lane::Normal && self.due_ms == 0
    }

    /// What precedes the raw bytes in a member of the delayed set; empty if the message is not delayed.
    pub(crate) fn frame_head(&self) -> Bytes {
        if self.due_ms == 0 {
            return Bytes::new();
        }
        // A fresh id of ours keeps two equal messages two members; foreign ids repeat.
        let id = uuid::Uuid::now_v7().simple().to_string();
        Delayed { id, frame: Frame::fresh(self.lane, Bytes::new()) }
            .encode()
            .expect("an id of hex digits fits a frame")
    }
}
