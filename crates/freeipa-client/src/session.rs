//! The session with one server: who has it, and who is getting a new one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::account::Admitted;
use crate::cookie::{Cookie, SetCookie};
use crate::member::Member;
use crate::service_login::{LoginError, LoginUnavailable, LoginVerdict, Refused, Told, attempt};

/// The pauses after a login that failed for no fault of the credentials.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What one server has given.
#[derive(Debug, Default)]
pub(crate) struct Session {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    sessions: u64,
    /// The login that is going on, which all wait for.
    running: Option<Running>,
    failures: u32,
    /// Until when nobody tries again, and why.
    pause: Option<(Instant, LoginError)>,
}

/// A login that is going on.
#[derive(Clone, Debug)]
struct Running {
    /// Of the credentials when it began.
    epoch: u64,
    result: watch::Receiver<Option<Login>>,
}

/// A session, as good as is known.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) cookie: Cookie,
    /// Counts the sessions with this server.
    pub(crate) number: u64,
    /// Of the credentials.
    epoch: u64,
}

type Login = Result<Live, LoginError>;

impl Member {
    /// The session, which is made if there is none or only the one of this number, which the server has forgotten.
    ///
    /// All who ask wait for the same login, which nobody's giving up ends: an attempt whose result nobody learns would be made
    /// again, until the account is locked.
    pub(crate) async fn session(self: &Arc<Self>, forgotten: Option<u64>) -> Login {
        loop {
            let mut running = match self.live_or_running(forgotten)? {
                Ok(live) => return Ok(live),
                Err(running) => running,
            };
            let login = match running.result.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(login)) => login.clone(),
                Ok(None) | Err(_) => Err(LoginError::Unavailable(LoginUnavailable::Interrupted)),
            };
            // What became of former credentials is no answer to who asks with others.
            if login.is_ok() || running.epoch == self.account.epoch() {
                return login;
            }
        }
    }

    /// The session, or the login that is going on; one is begun if need be.
    fn live_or_running(
        self: &Arc<Self>,
        forgotten: Option<u64>,
    ) -> Result<Result<Live, Running>, LoginError> {
        let epoch = self.account.epoch();
        let mut state = self.session.lock();
        match &state.live {
            Some(live) if Some(live.number) != forgotten && live.epoch == epoch => {
                return Ok(Ok(live.clone()));
            }
            _ => state.live = None,
        }
        // One that ended without a result was cut off with its runtime.
        let is_alive =
            |running: &&Running| running.result.has_changed().is_ok() || running.result.borrow().is_some();
        if let Some(running) = state.running.as_ref().filter(is_alive) {
            return Ok(Err(running.clone()));
        }
        if let Some(refusal) = self.account.refusal() {
            return Err(refusal);
        }
        if let Some((_, error)) = state.pause.as_ref().filter(|(until, _)| *until > Instant::now()) {
            return Err(error.clone());
        }
        let (told, result) = watch::channel(None);
        let running = Running { epoch, result };
        state.running = Some(running.clone());
        let member = Arc::clone(self);
        tokio::spawn(async move { told.send_replace(Some(member.log_in().await)) });
        Ok(Err(running))
    }

    async fn log_in(&self) -> Login {
        let mut admitted = match self.account.admit(self.server.name()).await {
            Ok(admitted) => admitted,
            Err(refusal) => return self.session.settle(Err(refusal)),
        };
        let Ok(_permit) = self.in_flight.acquire().await else {
            return self.session.settle(Err(LoginError::Unavailable(LoginUnavailable::Interrupted)));
        };
        // With the turn: what the guard lets go must not wait for anything else.
        if let Err(refusal) = self.account.ask_guard(&mut admitted, self.timeout).await {
            tracing::error!(server = self.server.name(), "{refusal}");
            return self.session.settle(Err(refusal));
        }
        // Settled before the turn is over: who closes the client finds the session.
        self.session.settle(self.log_in_as(admitted).await)
    }

    async fn log_in_as(&self, mut admitted: Admitted) -> Login {
        let deadline = Instant::now() + self.timeout;
        // As long as nothing else is known, and if it is cut off.
        admitted.told = Told::Unclear;
        let answered = attempt(&self.exchange, self.server.name(), &admitted.credentials, deadline).await;
        let guarded = admitted.guarded.take();
        match answered {
            Ok(cookie) => {
                admitted.told = Told::Accepted;
                self.account.tell_guard(guarded, LoginVerdict::Accepted).await;
                self.went(false);
                tracing::debug!(server = self.server.name(), "logged in to FreeIPA");
                Ok(Live { cookie, number: 0, epoch: admitted.epoch })
            }
            Err(refused @ (Refused::Rejected(why) | Refused::RejectedByKdc(why))) => {
                admitted.told = Told::Rejected(why);
                let account = Arc::clone(&admitted.account);
                drop(admitted);
                let rejected =
                    account.refusal().unwrap_or(LoginError::Rejected { why, wait: Duration::ZERO });
                let wait = match rejected {
                    LoginError::Rejected { wait, .. } => wait,
                    _ => Duration::ZERO,
                };
                account.tell_guard(guarded, LoginVerdict::Rejected { why, wait }).await;
                if matches!(refused, Refused::Rejected(_)) {
                    self.went(false);
                }
                tracing::error!(server = self.server.name(), "{rejected}");
                Err(rejected)
            }
            Err(Refused::Unclear(error)) => {
                self.account.tell_guard(guarded, LoginVerdict::Unclear).await;
                self.went(true);
                tracing::warn!(
                    server = self.server.name(),
                    %error,
                    "no login to FreeIPA, and the password may have been refused"
                );
                Err(error)
            }
            Err(Refused::Otherwise(error)) => {
                admitted.told = Told::Nothing;
                self.account.tell_guard(guarded, LoginVerdict::Nothing).await;
                // Without a ticket nobody has asked the server.
                if !matches!(error, LoginError::Negotiate(_)) {
                    self.went(true);
                }
                tracing::warn!(server = self.server.name(), %error, "no login to FreeIPA");
                Err(error)
            }
        }
    }
}

impl Session {
    /// Keeps what came of a login, and numbers the session.
    fn settle(&self, mut login: Login) -> Login {
        let mut state = self.lock();
        state.running = None;
        match &mut login {
            Ok(live) => {
                state.sessions += 1;
                live.number = state.sessions;
                state.live = Some(live.clone());
                (state.failures, state.pause) = (0, None);
            }
            // The gate, or the guard, knows when the next attempt is due.
            Err(
                LoginError::Rejected { .. }
                | LoginError::RejectedEarlier(_)
                | LoginError::Spent { .. }
                | LoginError::Unclear { .. },
            ) => {
                state.pause = None;
            }
            Err(error) => {
                let pause = FIRST_PAUSE * 2_u32.pow(state.failures.min(8));
                state.failures = state.failures.saturating_add(1);
                state.pause = Some((Instant::now() + pause.min(LONGEST_PAUSE), error.clone()));
            }
        }
        login
    }

    /// What an answer to the session of this number says of its cookie.
    pub(crate) fn hear(&self, number: u64, said: SetCookie) {
        let mut state = self.lock();
        let Some(live) = state.live.as_mut().filter(|live| live.number == number) else { return };
        match said {
            SetCookie::Session(cookie) => live.cookie = cookie,
            SetCookie::Emptied => state.live = None,
        }
    }

    /// Forgets the session of this number.
    pub(crate) fn forget(&self, number: u64) {
        let mut state = self.lock();
        if state.live.as_ref().is_some_and(|live| live.number == number) {
            state.live = None;
        }
    }

    /// Takes the session away, to end it.
    pub(crate) fn take(&self) -> Option<Live> {
        self.lock().live.take()
    }

    /// Lets the next login be tried at once.
    pub(crate) fn start_afresh(&self) {
        let mut state = self.lock();
        (state.failures, state.pause) = (0, None);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
