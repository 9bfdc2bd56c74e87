//! The service account: its credentials, and whether anybody may try them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::credentials::Credentials;
use crate::service_login::{
    Admission, EarlierRefusal, Gate, LoginAttempt, LoginError, LoginGuard, LoginLeave, LoginRejected,
    LoginUnavailable, LoginVerdict, ServiceLogin, Told,
};
use crate::settings::Settings;

/// How soon the guard is asked again that others keep busy.
const NEXT_QUESTION: Duration = Duration::from_millis(200);

/// The service account, the same at every server.
#[derive(Debug)]
pub(crate) struct Account {
    known: Mutex<Known>,
    settled: Notify,
    guard: Option<Arc<dyn LoginGuard>>,
}

#[derive(Debug)]
struct Known {
    credentials: Credentials,
    gate: Gate,
    /// What the guard said when it was asked last, if it was no.
    refused: Option<(Instant, EarlierRefusal)>,
}

impl Account {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (credentials, gate) = (settings.credentials.clone(), Gate::new(settings.login_pause));
        Self {
            known: Mutex::new(Known { credentials, gate, refused: None }),
            settled: Notify::new(),
            guard: settings.login_guard.clone(),
        }
    }

    pub(crate) fn standing(&self) -> ServiceLogin {
        let (now, wall) = (Instant::now(), SystemTime::now());
        self.with(|known| match &known.refused {
            Some((asked, refusal)) if *asked + refusal.wait > now => ServiceLogin::Rejected {
                since: wall
                    .checked_sub(now.saturating_duration_since(*asked) + refusal.ago)
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                why: refusal.why,
                next_attempt: wall + (*asked + refusal.wait).saturating_duration_since(now),
            },
            _ => known.gate.standing(now, wall),
        })
    }

    pub(crate) fn login(&self) -> Option<String> {
        self.with(|known| known.credentials.login().map(str::to_owned))
    }

    /// Takes other credentials; `false` if they are the same.
    pub(crate) fn replace(&self, credentials: Credentials) -> bool {
        self.with(|known| {
            let new = !known.credentials.is_same(&credentials);
            if new {
                known.credentials = credentials;
                known.gate.renew();
                known.refused = None;
            }
            new
        })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.with(|known| known.gate.epoch())
    }

    pub(crate) fn refusal(&self) -> Option<LoginError> {
        self.with(|known| match known.gate.closed(Instant::now()) {
            Some(Admission::Closed { why, wait }) => Some(LoginError::Rejected { why, wait }),
            _ => None,
        })
    }

    /// Waits until an attempt may be made at this server.
    pub(crate) async fn admit(self: &Arc<Self>, server: &str) -> Result<Admitted, LoginError> {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // Before it is asked: what settles in between is not missed.
            settled.as_mut().enable();
            let (admission, credentials) =
                self.with(|known| (known.gate.admit(Instant::now(), server), known.credentials.clone()));
            match admission {
                Admission::Go(epoch) => {
                    return Ok(Admitted {
                        account: Arc::clone(self),
                        credentials,
                        epoch,
                        server: server.to_owned(),
                        told: Told::Nothing,
                        guarded: None,
                    });
                }
                Admission::Closed { why, wait } => return Err(LoginError::Rejected { why, wait }),
                Admission::Unclear { wait } => return Err(LoginError::Unclear { wait }),
                Admission::Wait => settled.await,
            }
        }
    }

    /// Waits until the guard lets it be made, for as long as one attempt may take.
    pub(crate) async fn ask_guard(
        &self,
        admitted: &mut Admitted,
        within: Duration,
    ) -> Result<(), LoginError> {
        let (Some(guard), Credentials::Password { login, password }) = (&self.guard, &admitted.credentials)
        else {
            return Ok(());
        };
        let attempt = LoginAttempt::new(login.as_str(), password.clone(), within);
        let deadline = Instant::now() + within;
        loop {
            let leave = guard.admit(&attempt).await;
            let refused = match &leave {
                LoginLeave::Refused(refusal) => Some((Instant::now(), refusal.clone())),
                LoginLeave::Spent { wait } => Some((
                    Instant::now(),
                    EarlierRefusal {
                        why: LoginRejected::WrongPassword,
                        by: String::new(),
                        ago: Duration::ZERO,
                        wait: *wait,
                    },
                )),
                _ => None,
            };
            self.with(|known| {
                if known.gate.epoch() == admitted.epoch {
                    known.refused = refused;
                }
            });
            match leave {
                LoginLeave::Go { ticket } => {
                    admitted.guarded = Some((attempt, ticket));
                    return Ok(());
                }
                LoginLeave::Refused(refusal) => return Err(LoginError::RejectedEarlier(refusal)),
                LoginLeave::Spent { wait } => return Err(LoginError::Spent { wait }),
                LoginLeave::Unclear { wait } => return Err(LoginError::Unclear { wait }),
                LoginLeave::Busy if Instant::now() + NEXT_QUESTION < deadline => {
                    tokio::time::sleep(NEXT_QUESTION).await;
                }
                LoginLeave::Busy => return Err(LoginError::Unavailable(LoginUnavailable::Busy)),
            }
        }
    }

    pub(crate) async fn tell_guard(&self, guarded: Option<(LoginAttempt, String)>, verdict: LoginVerdict) {
        if let (Some(guard), Some((attempt, ticket))) = (&self.guard, guarded) {
            guard.settle(&attempt, &ticket, verdict).await;
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Leave to make one attempt. However it ends, the gate hears of it.
pub(crate) struct Admitted {
    pub(crate) account: Arc<Account>,
    pub(crate) credentials: Credentials,
    pub(crate) epoch: u64,
    pub(crate) server: String,
    pub(crate) told: Told,
    /// What the guard knows it by.
    pub(crate) guarded: Option<(LoginAttempt, String)>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.account.with(|known| known.gate.settle(Instant::now(), self.epoch, &self.server, self.told));
        self.account.settled.notify_waiters();
    }
}
