//! Messages in flight with consumers that are not registered.

use serde::Serialize;
use valkey_connection::{Command, ScriptCall};
use valkey_envelope::{QueueKeys, QueueName};

use crate::{
    admin::Admin,
    error::Error,
    scripts::{self, INFLIGHT},
    stats::QueueStats,
};

/// What a consumer holds that is not registered: somebody removed it from the consumers' key, or that key. No lease of it
/// can end, so nobody reclaims these messages; [`Admin::hand_back`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stray {
    /// The consumer's id.
    pub consumer: String,
    /// Messages it holds.
    pub in_flight: u64,
}

/// What a look for strays has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Strays {
    /// Those that hold something.
    pub found: Vec<Stray>,
    /// The server has too many keys to look at all of them: there may be more.
    pub truncated: bool,
}

// === impl Admin ===

impl Admin {
    /// Pages of a thousand keys that are looked at for one queue.
    const STRAY_PAGES: u64 = 256;
    /// Hashes asked for in one round trip.
    const STRAY_BATCH: usize = 256;

    /// Looks for messages in flight with consumers that are not registered, among the first 256,000 keys of each primary.
    /// The scan never blocks the server. See [`QueueStats::add_strays`].
    ///
    /// # Errors
    /// [`Error::Connection`]: also if SCAN is not allowed for the user.
    pub async fn strays(&self, queue: &QueueName) -> Result<Strays, Error> {
        let keys = queue.keys();
        let prefix = keys.inflight("");
        let (found, complete) = self.scan(&format!("{prefix}*"), Self::STRAY_PAGES).await?;
        let consumers = found.iter().filter_map(|key| key.strip_prefix(prefix.as_str()));
        let found = self.strays_among(&keys, consumers).await?;
        Ok(Strays { found, truncated: !complete })
    }

    /// Those of these consumers that hold something and are not registered.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn strays_of<'a>(
        &self,
        queue: &QueueName,
        consumers: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Stray>, Error> {
        self.strays_among(&queue.keys(), consumers).await
    }

    async fn strays_among<'a>(
        &self,
        keys: &QueueKeys,
        consumers: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Stray>, Error> {
        let consumers: Vec<&str> = consumers.into_iter().collect();
        let mut strays = Vec::new();
        for some in consumers.chunks(Self::STRAY_BATCH) {
            // First the hash, then the register: a consumer that leaves in between is no stray.
            let calls: Vec<ScriptCall> =
                some.iter().map(|consumer| INFLIGHT.call().key(keys.inflight(consumer))).collect();
            let mut held = Vec::new();
            for (consumer, reply) in some.iter().zip(self.connection.invoke_all(calls).await) {
                let [_, count, _] = scripts::fields("inflight", reply?)?;
                let in_flight = scripts::count(count)?;
                if in_flight > 0 {
                    held.push(Stray { consumer: (*consumer).to_owned(), in_flight });
                }
            }
            let asked = held
                .iter()
                .map(|stray| Command::new("ZSCORE").key(keys.consumers()).arg(stray.consumer.as_str()))
                .collect();
            let known = self.connection.execute_all(asked).await;
            for (stray, registered) in held.into_iter().zip(known) {
                let unknown = match registered {
                    Ok(score) => score.is_nil(),
                    // Where something else squats on the register, nobody is registered.
                    Err(error) if error.kind() == valkey_connection::ErrorKind::WrongType => true,
                    Err(error) => return Err(error.into()),
                };
                if unknown {
                    strays.push(stray);
                }
            }
        }
        Ok(strays)
    }
}

// === impl QueueStats ===

impl QueueStats {
    /// Takes what a look for strays has found into the picture.
    pub fn add_strays(&mut self, strays: Vec<Stray>) {
        self.in_flight += strays.iter().map(|stray| stray.in_flight).sum::<u64>();
        self.exists |= !strays.is_empty();
        self.strays.extend(strays);
    }
}
