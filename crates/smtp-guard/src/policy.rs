//! The policy service: what Postfix asks by `check_policy_service`.
//!
//! ```text
//!  smtpd ─► Listener ─► conversation: Parser ─► Desk ─► Bill: which limits, what cost ─► Limiter: all or none
//!  smtpd ◄───────────── action=... ◄───────────┘ └─► Memory: what of this message was counted already
//! ```
//!
//! Each limit is about somebody ([`Per`](crate::settings::Per)) and counts messages or recipients
//! ([`Count`](crate::settings::Count)). All limits that concern a question are one atomic check: all are charged or none.
//! A message counts once however often Postfix asks about it, and a recipient once for a message.
//!
//! # What is answered
//!
//! | answer | when |
//! |---|---|
//! | `DUNNO` | there is room, or nothing to count; or the limits cannot be asked and all of them say `allow` |
//! | `450 4.7.1` | a limit on messages is reached |
//! | `452 4.5.3` | a limit on recipients is reached |
//! | `451 4.3.2` | the limits cannot be asked, and one of them says `deny` |
//! | nothing, and a close | what came is no question: Postfix connects anew |
//!
//! An answer takes `gate.check_timeout` and 250 ms at most, whatever the store does.
//!
//! # In Postfix
//!
//! ```text
//! smtpd_recipient_restrictions = reject_unauth_destination, ...,
//!     check_policy_service { inet:127.0.0.1:10040, timeout=2s, default_action=DUNNO }
//! ```
//!
//! Last, so that nothing is counted that another restriction refuses. The same line in `smtpd_data_restrictions` or
//! `smtpd_end_of_data_restrictions` does as well, or in several of them.

mod answer;
mod bill;
mod conversation;
mod desk;
mod listener;
mod memory;
mod reload;
mod request;
mod rules;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub use self::answer::{Answer, Refused, Why};
use self::bill::{Asker, Limit};
use self::conversation::{Broken, Patience, talk};
use self::desk::Desk;
use self::listener::{Listener, Stream};
pub(crate) use self::reload::Reload;
pub use self::request::{LONGEST_LINE, LONGEST_REQUEST, MOST_ATTRIBUTES, Malformed, Parser, Request, Stage};
use valkit_service::Shutdown;

use crate::guard::GuardError;
use crate::pace::Pace;
use crate::settings::{GuardSettings, Listen, SettingsFile};
use crate::store::Store;
use crate::telemetry;

/// After an error of accepting, such as too many open files, it is waited for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens for Postfix, and answers what it asks.
#[derive(Debug)]
pub struct PolicyService {
    listeners: Vec<Listener>,
    limits: Arc<ArcSwap<Vec<Limit>>>,
    office: Arc<Office>,
}

/// What all connections share.
#[derive(Debug)]
struct Office {
    desk: Desk,
    patience: Patience,
    places: Arc<Semaphore>,
    most: usize,
    complaints: Pace,
}

// === impl PolicyService ===

impl PolicyService {
    /// Listens.
    ///
    /// # Errors
    /// An address is taken, or not ours; a limit that cannot be.
    pub async fn bind(settings: &GuardSettings, store: Store) -> Result<Self, GuardError> {
        let policy = &settings.policy;
        let limits = rules::of(policy, &settings.resources.valkey_key_prefix)?;
        rules::tell(&limits);
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        let mut listeners = Vec::new();
        for listen in &policy.listen {
            let listener = Listener::bind(listen).await;
            listeners.push(listener.map_err(|source| GuardError::Listen {
                section: "policy.listen",
                address: listen.to_string(),
                source,
            })?);
        }
        let most = policy.max_connections.get().min(Semaphore::MAX_PERMITS);
        let office = Office {
            desk: Desk::new(settings, Arc::clone(&limits), store),
            patience: Patience { idle: policy.idle_timeout, request: policy.request_timeout },
            places: Arc::new(Semaphore::new(most)),
            most,
            complaints: Pace::new(5),
        };
        Ok(Self { listeners, limits, office: Arc::new(office) })
    }

    /// What puts changed limits of a file into force; nothing if nobody asks them.
    pub(crate) fn reload(&self, file: SettingsFile, running: &GuardSettings) -> Option<Reload> {
        let is_asked = !self.listeners.is_empty();
        is_asked.then(|| Reload::new(file, running.clone(), Arc::clone(&self.limits)))
    }

    /// Where it really listens.
    pub fn addresses(&self) -> Vec<Listen> {
        self.listeners.iter().filter_map(Listener::address).collect()
    }

    /// Runs until it is told to end: then no connection is taken any more, and what was asked is answered, in so much time.
    pub async fn run(self, shutdown: Shutdown, drain_timeout: Duration) {
        let connections = TaskTracker::new();
        let accepting = TaskTracker::new();
        for listener in self.listeners {
            let (office, connections, shutdown) =
                (Arc::clone(&self.office), connections.clone(), shutdown.clone());
            accepting.spawn(async move { office.accept(&listener, &connections, &shutdown).await });
        }
        accepting.close();
        accepting.wait().await;
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = tokio::time::sleep(drain_timeout) => {}
            () = shutdown.ending() => {}
        }
    }
}

// === impl Office ===

impl Office {
    async fn accept(self: Arc<Self>, listener: &Listener, connections: &TaskTracker, shutdown: &Shutdown) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.draining() => return,
            };
            match accepted {
                Ok((stream, asker)) => self.take(stream, asker, connections, shutdown),
                Err(error) => {
                    self.complain(&error, None);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: Stream, asker: Asker, connections: &TaskTracker, shutdown: &Shutdown) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            telemetry::policy_connection_refused();
            let most = self.most;
            return self.complain(
                &format_args!("all {most} connections of policy.max_connections are taken"),
                asker,
            );
        };
        let (office, shutdown) = (Arc::clone(self), shutdown.clone());
        connections.spawn(async move {
            let _open = (place, telemetry::policy_connection());
            let talked = tokio::select! {
                talked = talk(stream, asker, &office.desk, office.patience, &shutdown) => talked,
                () = shutdown.ending() => return,
            };
            match talked {
                Ok(()) => {}
                // Postfix processes end whenever they like.
                Err(Broken::Io(error)) if is_usual(&error) => debug!(%error, "a policy connection ended"),
                Err(broken) => {
                    telemetry::policy_broken();
                    office.complain(&broken, asker);
                }
            }
        });
    }

    fn complain(&self, reason: &dyn std::fmt::Display, asker: Asker) {
        if let Some(unsaid) = self.complaints.may_say(Instant::now()) {
            // Nobody is named where it came from this host.
            warn!(%reason, asker = asker.map(tracing::field::display), unsaid, "a policy connection was closed");
        }
    }
}

fn is_usual(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
