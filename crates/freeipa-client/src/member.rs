//! One server of a client: the way to it, its session, and how it does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::account::Account;
use crate::health::Health;
use crate::http::Exchange;
use crate::server::Server;
use crate::session::Session;
use crate::settings::{InvalidSettings, Settings};

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) server: Server,
    pub(crate) exchange: Exchange,
    pub(crate) account: Arc<Account>,
    pub(crate) session: Session,
    /// What may be on its way at the same time, logins included. Closed when the client is.
    pub(crate) in_flight: Semaphore,
    pub(crate) timeout: Duration,
    pub(crate) api_version: String,
    health: Mutex<Health>,
}

impl Member {
    pub(crate) fn new(
        server: &Server,
        settings: &Settings,
        account: &Arc<Account>,
    ) -> Result<Self, InvalidSettings> {
        Ok(Self {
            server: server.clone(),
            exchange: Exchange::new(server, settings)?,
            account: Arc::clone(account),
            session: Session::default(),
            in_flight: Semaphore::new(settings.max_in_flight),
            timeout: settings.timeout,
            api_version: settings.api_version.clone(),
            health: Mutex::default(),
        })
    }

    pub(crate) fn is_well(&self) -> bool {
        self.with_health(|health| health.is_well(Instant::now()))
    }

    pub(crate) fn answers(&self) -> bool {
        self.with_health(|health| health.answers())
    }

    /// Remembers how a call went: `is_away` if the server did not answer, or could do nothing.
    pub(crate) fn went(&self, is_away: bool) {
        self.with_health(|health| if is_away { health.failure(Instant::now()) } else { health.success() });
    }

    fn with_health<T>(&self, look: impl FnOnce(&mut Health) -> T) -> T {
        look(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
