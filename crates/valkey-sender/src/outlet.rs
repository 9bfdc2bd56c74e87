//! The ways to one queue: one line for each durability, so that nobody waits for what others have asked for.

use std::sync::{Arc, Mutex, PoisonError};

use valkey_connection::Connection;
use valkey_envelope::QueueName;

use crate::combiner::Combiner;
use crate::durability::Durability;
use crate::links::{Links, Withheld};
use crate::pusher::{PushOptions, Pusher, Way};

/// A line in which concurrent sends of one durability meet.
pub(crate) type Line = Arc<Combiner<Pusher>>;

/// All that leads to one queue.
pub(crate) struct Outlet {
    way: Arc<Way>,
    fast: Line,
    /// Of the durabilities asked for so far; few.
    safe: Mutex<Vec<(Durability, Line)>>,
}

// === impl Outlet ===

impl Outlet {
    pub(crate) fn new(
        connection: Connection,
        queue: QueueName,
        options: PushOptions,
        links: Arc<Links>,
    ) -> Self {
        let way = Arc::new(Way::new(connection, queue, options, links));
        let fast = Combiner::new(Pusher::new(Arc::clone(&way), Durability::Fast));
        Self { way, fast, safe: Mutex::default() }
    }

    pub(crate) fn queue(&self) -> &QueueName {
        self.way.queue()
    }

    pub(crate) fn line(&self, durability: Durability) -> Line {
        if durability == Durability::Fast {
            return Arc::clone(&self.fast);
        }
        let mut safe = self.safe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = safe.iter().find(|(known, _)| *known == durability) {
            return Arc::clone(line);
        }
        let line = Combiner::new(Pusher::new(Arc::clone(&self.way), durability));
        safe.push((durability, Arc::clone(&line)));
        line
    }

    /// Whether the server can promise that.
    pub(crate) async fn check(&self, durability: Durability) -> Result<(), Withheld> {
        self.way.check(durability).await
    }
}
