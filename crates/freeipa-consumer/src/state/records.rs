//! Records in Valkey.

use std::collections::BTreeMap;
use std::time::Duration;

use valkey_connection::{Command, Connection, Error};

use super::record::{RecordFault, RegistrationRecord, Token};
use crate::registration::RegistrationId;
use crate::scripts::SAVE;

/// The shortest time that records are kept: whatever may be delivered again has to find what was done.
pub(crate) const SHORTEST_LIFETIME: Duration = Duration::from_hours(24 * 30);

/// The records of all registrations. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Records {
    connection: Connection,
    prefix: String,
    lifetime: Duration,
}

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Somebody else works on the same registration: whoever reads this has lost, and must not go on.
    #[error("registration {id} is worked on by somebody else")]
    Overtaken {
        /// Which.
        id: RegistrationId,
    },
    /// The key holds something else than a record.
    #[error(
        "{key} holds something else than a registration: another program's? Change key_prefix, or remove the key"
    )]
    NotARecord {
        /// Which.
        key: String,
    },
    /// The record is not understood.
    #[error("registration {id}: {source}")]
    Fault {
        /// Which.
        id: RegistrationId,
        /// Why.
        source: RecordFault,
    },
    /// The store has not answered, or refused.
    #[error("what is known of registrations could not be asked or told: {0}")]
    Store(#[from] Error),
}

impl Records {
    /// Records under `prefix`, each kept for `lifetime` after its last write, and for 30 days at least.
    pub fn new(connection: Connection, prefix: impl Into<String>, lifetime: Duration) -> Self {
        Self { connection, prefix: prefix.into(), lifetime: lifetime.max(SHORTEST_LIFETIME) }
    }

    /// The key of a registration: `freeipa:reg:0190…`.
    pub fn key(&self, id: RegistrationId) -> String {
        format!("{}{id}", self.prefix)
    }

    /// What is remembered of a registration.
    ///
    /// # Errors
    /// [`StateError`]; nothing was changed.
    pub async fn load(&self, id: RegistrationId) -> Result<Option<RegistrationRecord>, StateError> {
        let key = self.key(id);
        let reply = self.connection.execute(Command::new("HGETALL").key(key.as_str())).await;
        let reply = reply.map_err(|error| match error.kind() {
            valkey_connection::ErrorKind::WrongType => StateError::NotARecord { key: key.clone() },
            _ => StateError::Store(error),
        })?;
        let mut fields = BTreeMap::new();
        for (name, value) in reply.into_pairs()? {
            fields.insert(name.into_string()?, value.into_string()?);
        }
        if fields.is_empty() {
            return Ok(None);
        }
        RegistrationRecord::of_fields(&fields).map(Some).map_err(|source| StateError::Fault { id, source })
    }

    /// Whether records can be written and read: one under another name than any registration has is, and is gone a second later.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) async fn probe(&self) -> Result<(), StateError> {
        let key = format!("{}probe:{:016x}", self.prefix, rand::random::<u64>());
        let call = SAVE.call().key(key.as_str()).arg(0).arg("probe").arg(1_000).arg("step").arg("received");
        self.connection.invoke(call).await?.as_int()?;
        self.connection.execute(Command::new("HGETALL").key(key.as_str())).await?.into_pairs()?;
        Ok(())
    }

    /// Writes a record, all at once. `by` is the run that writes; a write whose answer was lost may be repeated with the same.
    ///
    /// # Errors
    /// [`StateError::Overtaken`] if somebody has written since it was read. On [`StateError::Store`] it may have been written.
    ///
    /// # Cancel safety
    /// After a drop it is written or not, whole.
    pub async fn save(
        &self,
        id: RegistrationId,
        record: &mut RegistrationRecord,
        by: &Token,
    ) -> Result<(), StateError> {
        let key = self.key(id);
        let lifetime = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX).min(1 << 52);
        let mut call = SAVE.call().key(key.as_str()).arg(record.revision).arg(by.as_str()).arg(lifetime);
        for (name, value) in record.fields() {
            call = call.arg(name).arg(value);
        }
        match self.connection.invoke(call).await?.as_int()? {
            -1 => Err(StateError::Overtaken { id }),
            -2 => Err(StateError::NotARecord { key }),
            revision => {
                record.revision = revision.unsigned_abs();
                Ok(())
            }
        }
    }
}
