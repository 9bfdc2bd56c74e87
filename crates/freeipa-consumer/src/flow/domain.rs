//! What the directory says of itself, remembered for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use freeipa_client::{CallError, Pinned};
use tokio::time::Instant;

/// How long it is believed: an administrator may change it.
const FRESH: Duration = Duration::from_mins(5);

/// What every registration has to know of the domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Domain {
    /// The most characters of a login.
    pub(super) longest_login: Option<usize>,
    /// The group that every account is in.
    pub(super) default_group: Option<String>,
}

/// The same, asked for when nobody knows it any more.
#[derive(Debug, Default)]
pub(crate) struct KnownDomain(Mutex<Option<(Instant, Domain)>>);

impl KnownDomain {
    /// What is known, or what the server says.
    ///
    /// # Errors
    /// It is not known, and the server does not say it.
    pub(super) async fn ask(&self, server: &Pinned) -> Result<Domain, CallError> {
        if let Some((since, domain)) = &*self.known()
            && since.elapsed() < FRESH
        {
            return Ok(domain.clone());
        }
        let config = server.config_show().await?;
        let domain = Domain {
            longest_login: config.max_username_length(),
            default_group: config.default_group().map(str::to_owned),
        };
        *self.known() = Some((Instant::now(), domain.clone()));
        Ok(domain)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Domain)>> {
        // It is replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
