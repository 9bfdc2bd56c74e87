//! Taking a queue away with everything in it.

use valkey_connection::Command;
use valkey_envelope::QueueName;

use crate::{admin::Admin, error::Error, scripts};

// === impl Admin ===

impl Admin {
    /// Deletes every key of a queue: messages, dead letters, settings, statistics, consumers. Meant for queues made
    /// for a test or a demonstration. Returns how many keys went.
    ///
    /// Consumers that still run find themselves fenced and what they hold gone.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn erase(&self, queue: &QueueName) -> Result<u64, Error> {
        let keys = queue.keys();
        let mut erased =
            scripts::count(self.connection.execute(Command::new("UNLINK").key(keys.public())).await?)?;
        // A queue name has no character that means something in a pattern.
        for key in self.scan(&format!("{}:*", keys.tag()), u64::MAX).await?.0 {
            erased += scripts::count(self.connection.execute(Command::new("UNLINK").key(key)).await?)?;
        }
        Ok(erased)
    }
}
