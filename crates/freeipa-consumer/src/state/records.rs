//! Records in Valkey.

use std::collections::BTreeMap;
use std::time::Duration;

use valkey_connection::{Command, Connection, Error, Reply};

use super::record::{RecordFault, RegistrationRecord, Token};
use crate::registration::RegistrationId;
use crate::scripts::SAVE;

/// The shortest time that records are kept: whatever may be delivered again has to find what was done.
pub(crate) const SHORTEST_LIFETIME: Duration = Duration::from_hours(24 * 30);

/// Keys that one step of a walk looks at, and how many steps there are at most on one primary: ten million keys.
const PAGE: u64 = 1_000;
const MOST_PAGES: u64 = 10_000;
/// Records that are read in one round trip.
const AT_A_TIME: usize = 100;

/// Registrations whose applicants do not know what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Untold {
    /// The oldest first.
    pub registrations: Vec<(RegistrationId, RegistrationRecord)>,
    /// Whether that is all there are.
    pub is_complete: bool,
}

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
        let fields = fields(reply)?;
        if fields.is_empty() {
            return Ok(None);
        }
        RegistrationRecord::of_fields(&fields).map(Some).map_err(|source| StateError::Fault { id, source })
    }

    /// The registrations whose applicants do not know what became of them, and will not be told: at most `most`, the oldest first,
    /// and whether all keys were looked at.
    ///
    /// It walks all keys of every primary, which never blocks the server; its cost grows with all that is kept there.
    ///
    /// # Errors
    /// The store's: also if this user may not `SCAN`. Records that are not understood are left out.
    pub async fn untold(&self, most: usize) -> Result<Untold, StateError> {
        let mut untold = Untold { registrations: Vec::new(), is_complete: true };
        let pattern = format!("{}*-*-*-*-*", escaped(&self.prefix));
        for node in self.connection.primaries().await? {
            let (mut cursor, mut pages) = ("0".to_owned(), 0);
            loop {
                let scan = Command::new("SCAN").arg(cursor).args(["MATCH", &pattern, "COUNT"]).arg(PAGE);
                let mut reply = self.connection.execute_on(&node, scan).await?.into_array()?.into_iter();
                cursor = reply.next().map(Reply::into_string).transpose()?.unwrap_or_default();
                let keys = reply.next().map(Reply::into_array).transpose()?.unwrap_or_default();
                let ids = keys.into_iter().filter_map(|key| {
                    key.into_string().ok()?.strip_prefix(&self.prefix)?.parse::<RegistrationId>().ok()
                });
                self.look_through(ids.collect(), &mut untold.registrations).await?;
                pages += 1;
                if cursor == "0" || cursor.is_empty() {
                    break;
                }
                if pages == MOST_PAGES || untold.registrations.len() > most {
                    untold.is_complete = false;
                    break;
                }
            }
        }
        // A walk may come by the same key twice.
        untold.registrations.sort_by_key(|(id, record)| (record.updated, *id));
        untold.registrations.dedup_by_key(|(id, _)| *id);
        untold.is_complete &= untold.registrations.len() <= most;
        untold.registrations.truncate(most);
        Ok(untold)
    }

    async fn look_through(
        &self,
        ids: Vec<RegistrationId>,
        untold: &mut Vec<(RegistrationId, RegistrationRecord)>,
    ) -> Result<(), StateError> {
        for ids in ids.chunks(AT_A_TIME) {
            let commands = ids.iter().map(|id| Command::new("HGETALL").key(self.key(*id))).collect();
            for (id, reply) in ids.iter().zip(self.connection.execute_all(commands).await) {
                let fields = match reply {
                    Ok(reply) => fields(reply)?,
                    Err(error) if error.kind() == valkey_connection::ErrorKind::WrongType => continue,
                    Err(error) => return Err(error.into()),
                };
                match RegistrationRecord::of_fields(&fields) {
                    Ok(record) if record.is_untold() => untold.push((*id, record)),
                    _ => {}
                }
            }
        }
        Ok(())
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

fn fields(reply: Reply) -> Result<BTreeMap<String, String>, Error> {
    reply
        .into_pairs()?
        .into_iter()
        .map(|(name, value)| Ok((name.into_string()?, value.into_string()?)))
        .collect()
}

/// A prefix as a pattern that matches nothing else.
fn escaped(prefix: &str) -> String {
    prefix.chars().fold(String::new(), |mut escaped, c| {
        if "*?[]^\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}
