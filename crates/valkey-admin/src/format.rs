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
        if is_known(&found) {
            return Ok(());
        }
        Err(Error::NewerFormat { queue: queue.clone(), found, known: QueueKeys::FORMAT })
    }
}

/// Whether consumers would join a queue that says so of itself: any number up to ours will do for them, also one that no
/// tool writes.
pub(crate) fn is_known(version: &str) -> bool {
    version.trim().parse::<f64>().is_ok_and(|number| number <= f64::from(QueueKeys::FORMAT))
}
