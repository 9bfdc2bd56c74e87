//! Whether this version knows the keys of a queue well enough to change them.

use valkey_connection::{Command, ErrorKind};
use valkey_envelope::{QueueKeys, QueueName};

use crate::{admin::Admin, error::Error};

// === impl Admin ===

impl Admin {
    /// Refuses a queue of a newer format: what this version would move or remove may have come to mean something else.
    /// Asked before each verb that changes something; formats are raised by hand, and seldom.
    pub(crate) async fn knows_format(&self, queue: &QueueName) -> Result<(), Error> {
        let keys = queue.keys();
        let version = Command::new("HGET").key(keys.control()).arg("version");
        let found = match self.connection.execute(version).await {
            // A squatter says nothing about versions; the verbs that need this key name it.
            Err(error) if error.kind() == ErrorKind::WrongType => return Ok(()),
            found => found?.into_optional_bytes()?,
        };
        let Some(found) = found else { return Ok(()) };
        let found = String::from_utf8_lossy(&found).into_owned();
        match found.parse::<u32>() {
            Ok(number) if number <= QueueKeys::FORMAT => Ok(()),
            _ => Err(Error::NewerFormat { queue: queue.clone(), found, known: QueueKeys::FORMAT }),
        }
    }
}
