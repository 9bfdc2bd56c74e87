//! Which queues there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use valkey_connection::{Command, Reply};
use valkey_envelope::{QueueKeys, QueueName};

use crate::{admin::Admin, error::Error, scripts};

/// The queues found by walking the keys of every primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Catalog {
    /// Every queue that has at least one key. An empty queue without consumers and settings has none.
    pub queues: BTreeSet<QueueName>,
    /// The in-flight hashes found, by queue: also those of consumers that are not registered (any more).
    pub in_flight: BTreeMap<QueueName, BTreeSet<Consumer>>,
    /// Keys that begin like one of a queue, but whose queue name no sender and no receiver of ours accepts.
    pub unnameable: u64,
    /// The walk was given up after [`Catalog::MAX_PAGES`] pages: there may be more queues.
    pub truncated: bool,
    /// The server is one of several that share the keys of a cluster, and the connection knows of this one only.
    pub one_of_cluster: bool,
}

/// A consumer's id, as in the keys.
pub type Consumer = String;

/// How far a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Pages asked for so far, over all primaries.
    pub pages: u64,
    /// Queues found so far.
    pub queues: usize,
}

// === impl Admin ===

impl Admin {
    /// Finds the queues: SCAN over every primary, a page of about a thousand keys at a time, `on_page` after each.
    ///
    /// This is the one verb whose cost grows with all keys of the server, not with those of a queue; it never
    /// blocks the server.
    ///
    /// # Errors
    /// [`Error::Connection`]: also if SCAN is not allowed for the user.
    pub async fn queues(&self, mut on_page: impl FnMut(Progress) + Send) -> Result<Catalog, Error> {
        let mut catalog = Catalog::default();
        let mut pages = 0;
        let primaries = self.connection.primaries().await?;
        if let [only] = &primaries[..] {
            let info = self.connection.execute_on(only, Command::new("CLUSTER INFO")).await;
            // Without a cluster this is an error; a user who may not ask is told nothing.
            let info = info.and_then(Reply::into_string).unwrap_or_default();
            catalog.one_of_cluster = is_shared(&info);
        }
        for node in primaries {
            let mut cursor = "0".to_owned();
            loop {
                let command =
                    Command::new("SCAN").arg(cursor).args(["MATCH", "*queue:*", "COUNT"]).arg(Catalog::PAGE);
                let [next, keys] =
                    scripts::fields("SCAN", self.connection.execute_on(&node, command).await?)?;
                cursor = next.into_string()?;
                pages += 1;
                for key in keys.into_array()? {
                    catalog.note(key)?;
                }
                on_page(Progress { pages, queues: catalog.queues.len() });
                if cursor == "0" {
                    break;
                }
                if pages >= Catalog::MAX_PAGES {
                    catalog.truncated = true;
                    return Ok(catalog);
                }
            }
        }
        Ok(catalog)
    }

    /// The keys of a pattern, on every primary, and whether `pages` of each were enough to look at all. Those that are no
    /// text are left out: none is ours.
    pub(crate) async fn scan(&self, pattern: &str, pages: u64) -> Result<(BTreeSet<String>, bool), Error> {
        let (mut found, mut complete) = (BTreeSet::new(), true);
        for node in self.connection.primaries().await? {
            let mut cursor = "0".to_owned();
            let mut left = pages;
            loop {
                let command =
                    Command::new("SCAN").arg(cursor).args(["MATCH", pattern, "COUNT"]).arg(Catalog::PAGE);
                let [next, keys] =
                    scripts::fields("SCAN", self.connection.execute_on(&node, command).await?)?;
                cursor = next.into_string()?;
                found.extend(keys.into_array()?.into_iter().filter_map(|key| key.into_string().ok()));
                left = left.saturating_sub(1);
                if cursor == "0" || left == 0 {
                    complete &= cursor == "0";
                    break;
                }
            }
        }
        Ok((found, complete))
    }
}

// === impl Catalog ===

impl Catalog {
    /// Pages a walk asks for at most: ten million keys.
    pub const MAX_PAGES: u64 = 10_000;

    /// Keys the server looks at for one page.
    const PAGE: u64 = 1_000;

    fn note(&mut self, key: Reply) -> Result<(), Error> {
        let key = key.into_bytes()?;
        let Ok(key) = std::str::from_utf8(&key) else {
            self.unnameable += u64::from(key.starts_with(b"queue:") || key.starts_with(b"{queue:"));
            return Ok(());
        };
        match QueueKeys::queue_of(key) {
            Some(queue) => {
                if let Some((_, consumer)) = key.split_once("}:inflight:") {
                    self.in_flight.entry(queue.clone()).or_default().insert(consumer.to_owned());
                }
                self.queues.insert(queue);
            }
            None => self.unnameable += u64::from(key.starts_with("queue:") || key.starts_with("{queue:")),
        }
        Ok(())
    }
}

/// Whether several primaries serve the slots, by the answer to `CLUSTER INFO`.
fn is_shared(info: &str) -> bool {
    let size = info.lines().find_map(|line| line.trim().strip_prefix("cluster_size:"));
    size.and_then(|size| size.parse().ok()).is_some_and(|size: u32| size > 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn catalog(keys: &[&[u8]]) -> Catalog {
        let mut catalog = Catalog::default();
        for key in keys {
            catalog.note(Reply::Bytes(key.to_vec().into())).unwrap();
        }
        catalog
    }

    #[test]
    fn keys_lead_to_their_queue() {
        let found = catalog(&[
            b"queue:a",
            b"{queue:a}:redo",
            b"{queue:b:c}:inflight:0f",
            b"other:queue:x",
            b"{queue:a}x",
        ]);
        let names: Vec<_> = found.queues.iter().map(QueueName::as_str).collect();
        assert_eq!(names, ["a", "b:c"]);
        assert_eq!(found.in_flight.values().flatten().collect::<Vec<_>>(), ["0f"]);
    }

    #[test]
    fn a_cluster_of_one_is_seen_whole() {
        assert!(is_shared("cluster_enabled:1\r\ncluster_size:3\r\n"));
        assert!(!is_shared("cluster_state:ok\r\ncluster_size:1\r\n") && !is_shared(""));
    }

    #[test]
    fn names_we_could_not_use_are_counted() {
        let found = catalog(&[b"queue:with space", b"queue:\xff", b"queue:", b"session"]);
        assert_eq!((found.queues.len(), found.unnameable), (0, 3));
    }
}
