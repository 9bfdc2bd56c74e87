//! The store, which may be away when this process starts: mail flows before it is there.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::{info, warn};
use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::Limiter;

use crate::settings::GuardSettings;
use crate::shutdown::Shutdown;

/// How long after a failure to connect it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The store that all services of this process share. Cloning is cheap.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ConnectionSettings,
    check_timeout: Duration,
    ready: OnceLock<Ready>,
}

/// What there is once the store has answered for the first time.
struct Ready {
    connection: Connection,
    limiter: Limiter,
}

impl Store {
    /// Asks nobody yet.
    pub fn open(settings: &GuardSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings: settings.connection.clone(),
                check_timeout: settings.gate.check_timeout,
                ready: OnceLock::new(),
            }),
        }
    }

    /// Asks limits; `None` before the store has answered for the first time.
    pub fn limiter(&self) -> Option<&Limiter> {
        self.inner.ready.get().map(|ready| &ready.limiter)
    }

    /// The connection; `None` before the store has answered for the first time.
    pub fn connection(&self) -> Option<&Connection> {
        self.inner.ready.get().map(|ready| &ready.connection)
    }

    /// Connects, however often it takes; afterwards the connection heals by itself.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.connect() => {}
            () = shutdown.draining() => {}
        }
    }

    async fn connect(&self) {
        let mut told = String::new();
        loop {
            match Connection::connect(&self.inner.settings).await {
                Ok(connection) => {
                    let limiter = Limiter::new(connection.clone()).with_deadline(self.inner.check_timeout);
                    let _ = self.inner.ready.set(Ready { connection, limiter });
                    info!("the store answers: limits are in force");
                    return;
                }
                Err(error) => {
                    // Once for each reason: an outage may be long.
                    let text = error.to_string();
                    if text != told {
                        warn!(error = %text, "the store cannot be reached; it is tried again each second");
                        told = text;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("ready", &self.inner.ready.get().is_some()).finish_non_exhaustive()
    }
}
