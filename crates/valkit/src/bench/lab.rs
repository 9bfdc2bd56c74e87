//! The bench's own queues and messages.

use bytes::Bytes;
use valkey_connection::{Command, Connection};
use valkey_envelope::{Envelope, QueueName};
use valkey_sender::{Durability, Sender};

use crate::failure::Failure;

/// The common size of a message, as it lies in the queue.
pub(crate) const MESSAGE_BYTES: usize = 256;
/// What one round trip carries at most, unless a single message is larger.
const BATCH_BYTES: usize = 1 << 20;
/// Messages that fill a queue in one round trip, before anything is measured.
const FILL_BATCH: usize = 512;

pub(crate) struct Lab {
    pub(crate) connection: Connection,
    pub(crate) batch: usize,
    pub(crate) queue: QueueName,
    pub(crate) sender: Sender,
    /// For moves out of the queue, as others do them.
    pub(crate) processing: String,
    envelope: Envelope,
}

// === impl Lab ===

impl Lab {
    /// With messages of so many bytes; they have about 200 at least.
    pub(crate) fn new(connection: Connection, batch: usize, message_bytes: usize) -> Result<Self, Failure> {
        let queue: QueueName = format!("bench-{}", uuid::Uuid::now_v7().simple())
            .parse()
            .map_err(|error| Failure::Failed(format!("{error}")))?;
        let processing = format!("{}:processing", queue.keys().tag());
        let batch = batch.min(BATCH_BYTES / message_bytes).max(1);
        let sender = Sender::new(connection.clone(), queue.clone());
        Ok(Self { connection, batch, queue, sender, processing, envelope: sized(message_bytes)? })
    }

    /// Sends are to be so safe before they are answered. Asks the servers whether they can be, which would otherwise be
    /// part of the first measurement.
    pub(crate) async fn with_durability(mut self, durability: Durability) -> Result<Self, Failure> {
        self.sender = self.sender.with_durability(durability);
        self.sender.check_durability().await?;
        Ok(self)
    }

    /// A fresh envelope of the common size.
    pub(crate) fn envelope(&self) -> Envelope {
        self.envelope.clone().with_id(valkey_envelope::MessageId::new())
    }

    /// The same as bytes.
    pub(crate) fn encoded(&self) -> Result<Bytes, Failure> {
        self.envelope().encode().map_err(|error| Failure::Failed(error.to_string()))
    }

    /// Puts so many messages into the queue.
    pub(crate) async fn fill(&self, messages: usize) -> Result<(), Failure> {
        let message = self.encoded()?;
        let mut left = messages;
        while left > 0 {
            let count = left.min(FILL_BATCH.min(BATCH_BYTES / message.len()).max(1));
            let push = Command::new("LPUSH").key(self.queue.keys().public());
            self.connection.execute(push.args(std::iter::repeat_n(message.clone(), count))).await?;
            left -= count;
        }
        Ok(())
    }

    /// Removes everything that a row may leave.
    pub(crate) async fn clear(&self) -> Result<(), Failure> {
        let keys = self.queue.keys();
        for key in
            [keys.public(), keys.woken(), keys.redo(), keys.control(), keys.consumers(), &self.processing]
        {
            self.connection.execute(Command::new("UNLINK").key(key)).await?;
        }
        let pattern = format!("{}:*", keys.tag());
        let mut cursor = "0".to_owned();
        loop {
            let scan = Command::new("SCAN")
                .arg(cursor.as_str())
                .arg("MATCH")
                .arg(pattern.as_str())
                .arg("COUNT")
                .arg(1000);
            let mut reply = self.connection.execute(scan).await?.into_array()?.into_iter();
            cursor = reply.next().map_or(Ok("0".to_owned()), valkey_connection::Reply::into_string)?;
            for key in reply.next().map_or(Ok(Vec::new()), valkey_connection::Reply::into_array)? {
                self.connection.execute(Command::new("UNLINK").key(key.into_bytes()?)).await?;
            }
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}

/// An envelope that is so long once encoded, or as short as one with a payload can be.
fn sized(bytes: usize) -> Result<Envelope, Failure> {
    let failed = |error: valkey_envelope::EncodeError| Failure::Failed(error.to_string());
    let make = |filler: usize| {
        Envelope::new(&serde_json::json!({ "login": "ada", "note": "x".repeat(filler) }))
            // With every digit of the fraction, so that all are of one length.
            .map(|envelope| {
                envelope
                    .with_kind("registration")
                    .with_timestamp(jiff::Timestamp::constant(1_800_000_000, 123_456_789))
            })
    };
    let bare = make(0).and_then(|envelope| envelope.encode()).map_err(failed)?.len();
    make(bytes.saturating_sub(bare)).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn messages_have_the_size_that_is_told() {
        for bytes in [MESSAGE_BYTES, 1_000, 1_000_000] {
            let envelope = sized(bytes).unwrap_or_else(|_| unreachable!());
            assert_eq!(envelope.encode().unwrap().len(), bytes);
            let fresh = envelope.with_id(valkey_envelope::MessageId::new());
            assert_eq!(fresh.encode().unwrap().len(), bytes);
        }
    }
}
