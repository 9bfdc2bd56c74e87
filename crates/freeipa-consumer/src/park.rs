//! Parking: while nobody could be served, nothing is taken, and nothing is held against those who wait.
//!
//! ```text
//!          trouble                     the probe goes well
//!   Open ──────────► Parked ───────────────────────────────────► Open
//!     ▲                 ▲  └── what no probe can show ─► Trying ──┐
//!     │                 └───────────── trouble ────────────┘      │
//!     └──────────── a registration goes well, or a minute ────────┘
//! ```

mod probe;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use valkey_receiver::{ReceiveError, ReceiverHandle};

use crate::telemetry;

pub(crate) use self::probe::{Probe, watch_over};

/// The first pause; each that follows is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What keeps everybody from being served, and who has to do something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What kind.
    pub(crate) kind: TroubleKind,
    /// What was seen, with a remedy. Neither a secret nor anything about a person is in it.
    pub(crate) reason: String,
}

/// What kind of trouble, by who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TroubleKind {
    /// Names, certificates, or the set-up of the directory: whoever set it up.
    Configuration,
    /// The directory does not answer, or cannot reach what it needs: whoever runs it.
    Directory,
    /// The service account is not let in: whoever holds its password.
    Login,
    /// Nobody can be told anything: whoever holds the bot's token, or Telegram.
    Reports,
    /// The service account lacks a right: whoever grants rights.
    Rights,
    /// Nobody has looked yet.
    Starting,
    /// Valkey is away: whoever runs it.
    Store,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Registrations are taken.
    Open,
    /// Nothing is taken.
    Parked {
        /// Why.
        trouble: Trouble,
        /// Since when.
        since: SystemTime,
    },
    /// Registrations are taken again, and nobody knows yet whether that was right.
    Trying {
        /// What was the matter.
        trouble: Trouble,
        /// Since when it is.
        since: SystemTime,
    },
}

/// The one switch that all registrations of a consumer look at. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(crate) struct Park {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: watch::Sender<State>,
    receiver: OnceLock<ReceiverHandle>,
    longest_pause: Duration,
}

#[derive(Clone, Debug)]
struct State {
    standing: Standing,
    /// Troubles since it last went well.
    troubles: u32,
    /// Whether only a registration can show that the trouble is over.
    needs_proof: bool,
}

// === impl Park ===

impl Park {
    /// Parked, until somebody has looked.
    pub(crate) fn new(longest_pause: Duration) -> Self {
        let trouble = Trouble { kind: TroubleKind::Starting, reason: "nobody has looked yet".to_owned() };
        let standing = Standing::Parked { trouble, since: SystemTime::now() };
        telemetry::parked(true);
        let state = watch::Sender::new(State { standing, troubles: 0, needs_proof: false });
        Self { inner: Arc::new(Inner { state, receiver: OnceLock::new(), longest_pause }) }
    }

    /// Whose reins it holds from now on.
    pub(crate) fn attach(&self, receiver: ReceiverHandle) {
        if self.is_parked() {
            receiver.pause();
        }
        // Only the first: a consumer has one receiver.
        let _ = self.inner.receiver.set(receiver);
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.inner.state.borrow().standing.clone()
    }

    /// The queues that cannot be served at present, and why.
    pub(crate) fn unserved(&self) -> Vec<ReceiveError> {
        self.inner.receiver.get().map(ReceiverHandle::unserved).unwrap_or_default()
    }

    /// Waits until registrations are taken. Cancel safe.
    pub(crate) async fn open(&self) {
        // The sender is here.
        let _ = self.inner.state.subscribe().wait_for(|state| state.standing == Standing::Open).await;
    }

    fn is_parked(&self) -> bool {
        matches!(self.inner.state.borrow().standing, Standing::Parked { .. })
    }

    /// How long to wait for, if it is parked.
    pub(crate) fn closed(&self) -> Option<Duration> {
        self.is_parked().then(|| self.retry_after())
    }

    /// When a registration that met trouble is worth another look: not all at the same moment.
    pub(crate) fn retry_after(&self) -> Duration {
        self.pause() + Duration::from_millis(rand::random_range(0..1_000))
    }

    /// How long until somebody looks again.
    pub(crate) fn pause(&self) -> Duration {
        pause(self.inner.state.borrow().troubles, self.inner.longest_pause)
    }

    /// Takes nothing more. What is parked already stays parked for the reason it has.
    pub(crate) fn begin(&self, trouble: Trouble) {
        // No probe writes, so none can show that the account may.
        let needs_proof = matches!(trouble.kind, TroubleKind::Rights | TroubleKind::Configuration);
        self.begin_with(trouble, needs_proof);
    }

    /// The same for trouble that a probe does not meet, of whatever kind: it is over when a registration goes well.
    pub(crate) fn begin_unseen(&self, trouble: Trouble) {
        self.begin_with(trouble, true);
    }

    fn begin_with(&self, trouble: Trouble, needs_proof: bool) {
        let begun = self.inner.state.send_if_modified(|state| {
            if matches!(state.standing, Standing::Parked { .. }) {
                return false;
            }
            state.troubles = state.troubles.saturating_add(1);
            state.needs_proof = needs_proof;
            telemetry::trouble(trouble.kind);
            tracing::error!(kind = %trouble.kind, reason = %trouble.reason, "parked: no registrations are taken until this is over");
            state.standing = Standing::Parked { trouble, since: SystemTime::now() };
            true
        });
        if begun {
            telemetry::parked(true);
            self.rein(ReceiverHandle::pause);
        }
    }

    /// A probe went ill: it stays parked, for this reason from now on.
    pub(crate) fn still(&self, trouble: Trouble) {
        self.inner.state.send_if_modified(|state| {
            state.troubles = state.troubles.saturating_add(1);
            let Standing::Parked { trouble: known, .. } = &mut state.standing else { return false };
            if *known != trouble {
                telemetry::trouble(trouble.kind);
                tracing::error!(kind = %trouble.kind, reason = %trouble.reason, "still parked");
            }
            *known = trouble;
            true
        });
    }

    /// A probe went well.
    fn reopen(&self) {
        self.inner.state.send_if_modified(|state| {
            let Standing::Parked { trouble, since } = state.standing.clone() else { return false };
            let parked_for = since.elapsed().unwrap_or_default();
            let kind = trouble.kind;
            // No probe writes, so none can show that the account may.
            let needs_proof =
                state.needs_proof || matches!(kind, TroubleKind::Rights | TroubleKind::Configuration);
            state.standing = if needs_proof { Standing::Trying { trouble, since } } else { Standing::Open };
            if state.standing == Standing::Open {
                state.troubles = 0;
            }
            if kind == TroubleKind::Starting {
                tracing::info!("ready: registrations are taken");
            } else {
                tracing::info!(
                    ?parked_for,
                    proven = state.standing == Standing::Open,
                    "registrations are taken again"
                );
            }
            true
        });
        telemetry::parked(!matches!(self.standing(), Standing::Open));
        self.rein(ReceiverHandle::resume);
    }

    /// A registration went well, or nothing went wrong for long enough.
    pub(crate) fn went_well(&self) {
        let opened = self.inner.state.send_if_modified(|state| {
            let is_trying = matches!(state.standing, Standing::Trying { .. });
            if is_trying {
                *state = State { standing: Standing::Open, troubles: 0, needs_proof: false };
            }
            is_trying
        });
        if opened {
            telemetry::parked(false);
        }
    }

    fn rein(&self, pull: fn(&ReceiverHandle)) {
        if let Some(receiver) = self.inner.receiver.get() {
            pull(receiver);
        }
    }
}

/// The pause after so many troubles.
fn pause(troubles: u32, longest: Duration) -> Duration {
    let doublings = troubles.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(longest)
}

// === impl TroubleKind ===

impl TroubleKind {
    /// Each of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Configuration,
        Self::Directory,
        Self::Login,
        Self::Reports,
        Self::Rights,
        Self::Starting,
        Self::Store,
    ];

    /// One word for metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Directory => "directory",
            Self::Login => "login",
            Self::Reports => "reports",
            Self::Rights => "rights",
            Self::Starting => "starting",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for TroubleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(kind: TroubleKind) -> Trouble {
        Trouble { kind, reason: "a test".to_owned() }
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let longest = Duration::from_secs(10);
        let pauses: Vec<u64> = (0..8).map(|troubles| pause(troubles, longest).as_secs()).collect();
        assert_eq!(pauses, [1, 1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(pause(u32::MAX, Duration::MAX), Duration::from_secs(1 << 16));
    }

    #[test]
    fn what_a_probe_can_show_is_over_with_it_and_the_rest_only_with_a_registration() {
        let park = Park::new(Duration::from_secs(10));
        assert!(park.closed().is_some(), "nobody has looked yet");
        park.reopen();
        assert_eq!(park.standing(), Standing::Open);
        park.begin(trouble(TroubleKind::Directory));
        park.went_well(); // one that was on its way
        assert!(park.closed().is_some());
        park.reopen();
        assert_eq!(park.standing(), Standing::Open);

        park.begin(trouble(TroubleKind::Rights));
        park.reopen();
        assert!(matches!(park.standing(), Standing::Trying { .. }));
        assert_eq!(park.closed(), None);
        park.begin(trouble(TroubleKind::Rights));
        assert_eq!(park.pause(), Duration::from_secs(2), "it is tried less and less often");
        park.reopen();
        park.went_well();
        assert_eq!(park.standing(), Standing::Open);
        park.begin(trouble(TroubleKind::Rights));
        assert_eq!(park.pause(), Duration::from_secs(1));
    }

    #[test]
    fn what_no_probe_meets_is_tried_less_and_less_often_whatever_its_kind() {
        let park = Park::new(Duration::from_secs(10));
        park.reopen();
        for pause in [1, 2, 4] {
            park.begin_unseen(trouble(TroubleKind::Directory));
            assert_eq!(park.pause(), Duration::from_secs(pause));
            park.reopen();
            assert!(matches!(park.standing(), Standing::Trying { .. }));
        }
        park.went_well();
        park.begin(trouble(TroubleKind::Directory));
        park.reopen();
        assert_eq!(park.standing(), Standing::Open);
    }

    #[test]
    fn the_reason_is_the_latest_that_a_probe_saw() {
        let park = Park::new(Duration::from_secs(10));
        park.still(trouble(TroubleKind::Login));
        park.begin(trouble(TroubleKind::Rights)); // one that was on its way
        let Standing::Parked { trouble: seen, .. } = park.standing() else { panic!("it is parked") };
        assert_eq!(seen.kind, TroubleKind::Login);
    }
}
