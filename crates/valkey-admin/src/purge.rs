//! Removing what waits.

use valkey_connection::Command;
use valkey_envelope::QueueName;

use crate::{
    admin::{Admin, Execution},
    error::Error,
    place::Place,
    scripts::{self, PURGE},
    tally::Tally,
};

// === impl Admin ===

impl Admin {
    /// Removes what waits in the named places, oldest first: as much as was there when each place was begun, not
    /// what arrives meanwhile. In slices; after each, `on_progress` gets the number removed so far.
    ///
    /// # Errors
    /// [`Error::NotApplicable`] for `in-flight` (consumers own those) and `dead` (see
    /// [`purge_dead`](Self::purge_dead)); [`Error::Connection`] if nothing was removed. An error after that is in
    /// [`Tally::failed`].
    ///
    /// # Cancel safety
    /// Dropping the future stops after the current slice; what was removed stays removed.
    pub async fn purge(
        &self,
        queue: &QueueName,
        places: &[Place],
        execution: Execution,
        mut on_progress: impl FnMut(u64) + Send,
    ) -> Result<Tally, Error> {
        for &place in places {
            let reason = match place {
                Place::InFlight => "consumers own these messages; stop the consumers, then hand them back",
                Place::Dead => "dead letters have their own purge, with filters",
                _ => continue,
            };
            return Err(Error::NotApplicable { verb: "purge", place, reason });
        }
        self.knows_format(queue).await?;
        let mut tally = Tally::default();
        let result = self.purge_places(queue, places, execution, &mut tally, &mut on_progress).await;
        tally.close(result)
    }

    async fn purge_places(
        &self,
        queue: &QueueName,
        places: &[Place],
        execution: Execution,
        tally: &mut Tally,
        on_progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), Error> {
        let keys = queue.keys();
        for &place in places {
            let key = place.key(&keys).expect("in flight, the only place without a key, was refused");
            let call = |most| PURGE.call().key(key).arg(place.kind()).arg(most);
            self.in_slices((place, key), execution, tally, on_progress, call).await?;
        }
        Ok(())
    }

    /// How many elements a place with a key of its own has.
    pub(crate) async fn size(&self, place: Place, key: &str) -> Result<u64, Error> {
        let command = match place.kind() {
            "list" => "LLEN",
            "zset" => "ZCARD",
            _ => "HLEN",
        };
        scripts::count(self.connection.execute(Command::new(command).key(key)).await?)
    }
}
