//! Connections for pushes that wait for an acknowledgement.
//!
//! Such a wait blocks its connection, so they have a few of their own; while one waits, the next group goes out over
//! another, and more gather. What a server may be believed is found out once for each connection and queue.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use valkey_connection::{
    Acknowledged, Acknowledgement, Call, Connection, DedicatedConnection, DurabilityRefusal, Error,
};
use valkey_envelope::QueueKeys;

use crate::durability::Durability;

/// Groups that wait at once. Each carries up to 512 messages, so more would only make them smaller.
const MAX_LINKS: usize = 2;
/// So long a refusal is repeated without asking the server again.
const REFUSAL_HOLDS: Duration = Duration::from_secs(1);

/// The connections of one sender and all its clones.
pub(crate) struct Links {
    connection: Connection,
    within: Duration,
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
}

/// One connection, and what is known about the server behind it.
struct Link {
    connection: DedicatedConnection,
    known: HashMap<(String, Durability), Known>,
}

enum Known {
    /// To be believed, for as long as the connection has had so many sockets.
    Granted {
        wanted: Acknowledgement,
        sockets: u64,
    },
    Refused {
        refusal: DurabilityRefusal,
        until: Instant,
    },
}

/// Why nothing was sent.
#[derive(Clone, Debug)]
pub(crate) enum Withheld {
    /// The connection or the server failed before.
    Failed(Error),
    /// The server cannot promise the durability.
    Refused(DurabilityRefusal),
}

/// A link for one group; goes back when dropped, also half-way.
struct Borrowed<'a> {
    links: &'a Links,
    link: Option<Link>,
    _permit: SemaphorePermit<'a>,
}

// === impl Links ===

impl Links {
    /// `within`: how long an acknowledgement may take.
    pub(crate) fn new(connection: Connection, within: Duration) -> Self {
        Self { connection, within, permits: Semaphore::new(MAX_LINKS), idle: Mutex::default() }
    }

    /// Runs calls of one queue, and waits until they are as safe as that.
    ///
    /// # Errors
    /// Why nothing was sent.
    pub(crate) async fn run(
        &self,
        keys: &QueueKeys,
        durability: Durability,
        calls: Vec<Call>,
    ) -> Result<Vec<Acknowledged>, Withheld> {
        let mut borrowed = self.borrow().await?;
        let link = borrowed.link();
        let wanted = link.wanted(keys, durability, self.within).await?;
        let answers = link.connection.run_acknowledged(calls, wanted).await;
        if answers.iter().any(|answer| answer.reply.is_ok() && answer.confirmed.is_err()) {
            // Something is not as it was. What it is now is better found out before the next message than after it.
            link.known.remove(&name(keys, durability));
        }
        Ok(answers)
    }

    /// Finds out anew whether the server of a queue can promise a durability.
    ///
    /// # Errors
    /// Why it cannot, or why that could not be found out.
    pub(crate) async fn check(&self, keys: &QueueKeys, durability: Durability) -> Result<(), Withheld> {
        let mut borrowed = self.borrow().await?;
        let link = borrowed.link();
        link.known.remove(&name(keys, durability));
        link.wanted(keys, durability, self.within).await.map(drop)
    }

    async fn borrow(&self) -> Result<Borrowed<'_>, Withheld> {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let link = match idle {
            Some(link) => link,
            None => Link {
                connection: self.connection.dedicated().await.map_err(Withheld::Failed)?,
                known: HashMap::new(),
            },
        };
        Ok(Borrowed { links: self, link: Some(link), _permit: permit })
    }
}

// === impl Link ===

impl Link {
    /// What to wait for, if this server may be believed.
    async fn wanted(
        &mut self,
        keys: &QueueKeys,
        durability: Durability,
        within: Duration,
    ) -> Result<Acknowledgement, Withheld> {
        let name = name(keys, durability);
        match self.known.get(&name) {
            Some(Known::Granted { wanted, sockets }) if *sockets == self.connection.sockets() => {
                return Ok(*wanted);
            }
            Some(Known::Refused { refusal, until }) if Instant::now() < *until => {
                return Err(Withheld::Refused(refusal.clone()));
            }
            _ => {}
        }
        // In the queue's slot, and among the keys that a sender to it may write.
        let key = format!("{}:trial:{:08x}", keys.tag(), rand::random::<u32>());
        let examined = match durability {
            Durability::Replicated(count) => self
                .connection
                .examine_replicas(&key, count, within)
                .await
                .map(|granted| granted.map(|()| Acknowledgement::Replicas { count, within })),
            // Nobody waits for `fast`; asked all the same, it is as good as the next better.
            Durability::Durable | Durability::Fast => self
                .connection
                .examine_sync(&key, within)
                .await
                .map(|granted| granted.map(|policy| Acknowledgement::Synced { policy, within })),
        };
        match examined.map_err(Withheld::Failed)? {
            Ok(wanted) => {
                self.known.insert(name, Known::Granted { wanted, sockets: self.connection.sockets() });
                Ok(wanted)
            }
            Err(refusal) => {
                let until = Instant::now() + REFUSAL_HOLDS;
                self.known.insert(name, Known::Refused { refusal: refusal.clone(), until });
                Err(Withheld::Refused(refusal))
            }
        }
    }
}

fn name(keys: &QueueKeys, durability: Durability) -> (String, Durability) {
    (keys.tag().to_owned(), durability)
}

// === impl Borrowed ===

impl Borrowed<'_> {
    fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("it is taken out by the drop alone")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.links.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        }
    }
}
