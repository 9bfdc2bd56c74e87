//! One run of one registration: what the machine wants is done, and the machine is told what happened.

use std::fmt;
use std::time::Duration;

use freeipa_client::{CallError, Class, Outcome};
use tokio::time::{Instant, sleep};
use valkey_config::Secret;

use super::Office;
use super::accounts::Accounts;
use super::blame::Concerns;
use super::ending::Ending;
use super::verdict::{Verdict, class_of, failed, is_read_only, late, trouble, verdict};
use crate::park::{Trouble, TroubleKind};
use crate::registration::{Applicant, Refusal, RegistrationId};
use crate::settings::PasswordDelivery;
use crate::state::{Action, Event, Machine, Next, Owner, StateError, Tell, Token};
use crate::status::{Access, News, Recipient, Report, ReportError, Unreachable};
use crate::telemetry;

/// How often a collision is tried again at once.
const COLLISIONS: u32 = 3;
/// How often a record is written that could not be, and how long it is waited in between.
const SAVES: u32 = 3;
const BETWEEN_SAVES: Duration = Duration::from_millis(200);
/// How long a registration waits whose server is away while others are not.
const AWAY: Duration = Duration::from_secs(15);
/// A pause that it is worth to wait for with a password in memory; for a longer one none is made.
const SHORT_PAUSE: Duration = Duration::from_secs(3);

/// One run of one registration.
pub(super) struct Run<'a> {
    pub(super) office: &'a Office,
    pub(super) id: RegistrationId,
    /// The run, as its writes are known.
    pub(super) token: Token,
    /// Whose registration it is, if that can be made out.
    pub(super) applicant: Option<Applicant>,
    /// Whether what is remembered under the id is this applicant's.
    pub(super) keeps_record: bool,
    /// Who is told; nobody knows whom, if there is none.
    pub(super) recipient: Option<Recipient>,
    /// The account, unless the registration was refused.
    pub(super) accounts: Option<Accounts<'a>>,
    pub(super) refusal: Option<&'a Refusal>,
    pub(super) begun: Instant,
    /// What stood in the way last.
    pub(super) note: Option<String>,
    /// Whether it is settled that the person may have a new account.
    pub(super) is_admitted: bool,
    /// Whether something may have been written to the server, now or before: then no other will do.
    pub(super) is_begun: bool,
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    State(#[from] StateError),
    /// A mistake of this program.
    #[error(transparent)]
    Unexpected(#[from] crate::state::Unexpected),
}

impl Run<'_> {
    /// Goes on until the machine has nothing more to do.
    ///
    /// # Cancel safety
    /// It may be dropped anywhere, and another run goes on from what the record and the directory say.
    pub(super) async fn go(mut self, machine: Machine, next: Next) -> Result<Ending, RunError> {
        let (mut machine, mut next) = (machine, next);
        loop {
            let begun = Instant::now();
            // Before it is written down where it was begun: what is only asked may be asked elsewhere.
            if let Some(event) = self.object(&next.action).await {
                telemetry::step("admit", begun.elapsed());
                self.heed(&event);
                next = machine.on(event)?;
                continue;
            }
            if next.save && self.keeps_record {
                let server = self.accounts.as_ref().map(|accounts| accounts.server.server_name().to_owned());
                machine.record_mut().server = server.or_else(|| machine.record().server.clone());
                if let Some(applicant) = self.applicant {
                    machine.record_mut().applicant = Some(applicant.hex());
                }
                self.save(&mut machine).await?;
            }
            let begun = Instant::now();
            let event = match &next.action {
                Action::Finish(finish) => return Ok(Ending { finish: *finish, note: self.note }),
                // What was made is told: nobody else could.
                Action::Tell(tell) => self.tell(tell).await,
                _ if self.office.shutdown.is_draining() => Event::Stop,
                _ if self.is_out_of_time() => {
                    self.note = Some("it took too long: the directory is slow".to_owned());
                    Event::Busy
                }
                action => self.perform(action).await,
            };
            telemetry::step(name_of(&next.action), begun.elapsed());
            tracing::debug!(action = name_of(&next.action), step = %machine.record().step, took = ?begun.elapsed(), "a step");
            self.heed(&event);
            if matches!(event, Event::Paused(_))
                && next.save
                && !self.is_begun
                && machine.record().server.is_some()
            {
                // Nothing was written there: the next run may begin elsewhere.
                machine.record_mut().server = None;
                self.save(&mut machine).await?;
            }
            next = machine.on(event)?;
        }
    }

    /// What changes what is done around the machine.
    fn heed(&mut self, event: &Event) {
        self.is_admitted |= matches!(event, Event::Found { .. });
        self.keeps_record &= !matches!(event, Event::IdTaken | Event::Owned(Owner::OtherApplicant));
    }

    fn is_out_of_time(&self) -> bool {
        self.office.policy.patience.is_some_and(|patience| self.begun.elapsed() > patience)
    }

    /// Writes the record. It may be written twice: the store knows the run that writes.
    async fn save(&self, machine: &mut Machine) -> Result<(), StateError> {
        let mut tries = 1;
        loop {
            match self.office.records.save(self.id, machine.record_mut(), &self.token).await {
                Err(StateError::Store(error)) if error.is_transient() && tries < SAVES => {
                    tries += 1;
                    sleep(BETWEEN_SAVES).await;
                }
                result => return result,
            }
        }
    }

    /// What stands against a new account, before the first name is tried. A server that is away is left for another, as long as
    /// nothing was begun there.
    async fn object(&mut self, action: &Action) -> Option<Event> {
        if self.is_admitted
            || !matches!(action, Action::Create { .. } | Action::Probe { .. })
            || self.office.shutdown.is_draining()
        {
            return None;
        }
        loop {
            let accounts = self.accounts.as_mut()?;
            let error = match accounts.objection().await {
                Ok(objection) => {
                    self.office.blame().passed(name_of(&Action::Find), self.id);
                    self.is_admitted |= objection.is_none();
                    return objection;
                }
                Err(error) => error,
            };
            if error.class() == Class::Unavailable
                && !self.is_begun
                && accounts.server.ping().await.is_err()
                && let Some(other) = self.office.another(&accounts.server).await
            {
                tracing::info!(from = accounts.server.server_name(), to = other.server_name(), %error, "another server");
                accounts.server = other;
                continue;
            }
            return Some(self.judge(&Action::Find, &error).await);
        }
    }

    /// Does something to the directory.
    async fn perform(&mut self, action: &Action) -> Event {
        let Some(accounts) = &mut self.accounts else { return Event::Misunderstood };
        if matches!(action, Action::SetPassword { .. })
            && let Some(pause) = self.office.reporter.paused().filter(|pause| *pause > SHORT_PAUSE)
        {
            return Event::Paused(pause);
        }
        let mut collisions = 0;
        loop {
            let performed = accounts.perform(action).await;
            let is_write = !matches!(action, Action::Find | Action::LookUp { .. } | Action::Probe { .. });
            let may_be_done =
                performed.as_ref().map_or_else(|error| error.outcome() == Outcome::Unknown, |_| true);
            self.is_begun |= is_write && may_be_done;
            let error = match performed {
                Ok(event) => {
                    self.office.blame().passed(name_of(action), self.id);
                    if matches!(event, Event::Owned(Owner::Ours(_))) {
                        // The answer to it was lost, or an error, and it was done.
                        self.office.blame().passed(CREATE, self.id);
                    }
                    if event == Event::NotJoined {
                        let unjoined = accounts.unjoined.join(", ");
                        tracing::warn!(groups = %unjoined, "not all groups could be joined");
                        self.note = Some(format!("groups: {unjoined}"));
                    }
                    return event;
                }
                Err(error) => error,
            };
            let again = verdict(action, error.class(), error.outcome(), error.field()) == Verdict::Again;
            if !again || collisions == COLLISIONS {
                return self.judge(action, &error).await;
            }
            collisions += 1;
        }
    }

    /// What an error means for this registration; and for all, in which case nothing more is taken.
    async fn judge(&mut self, action: &Action, error: &CallError) -> Event {
        let class = class_of(error);
        telemetry::call_failed(error.class());
        let verdict = verdict(action, class, error.outcome(), error.field());
        if verdict == Verdict::Said(Event::Exists) {
            // Somebody wished for a login that is taken: an answer, and no fault of anybody's.
            tracing::debug!(action = name_of(action), "the login is taken");
        } else {
            tracing::warn!(action = name_of(action), %class, %error, "the directory did not do it");
        }
        self.note = Some(error.to_string());
        if is_read_only(error) {
            return match &self.accounts {
                Some(accounts) if self.office.another(&accounts.server).await.is_some() => {
                    Event::Paused(AWAY)
                }
                _ => self.unseen(TroubleKind::Directory, error.to_string()),
            };
        }
        let failed = failed(action, error.outcome());
        match verdict {
            // It has collided often enough.
            Verdict::Again => Event::Busy,
            Verdict::Said(event) if event == failed => {
                self.unless_all_fail(action, class, late(action, event, error.cause()), error)
            }
            Verdict::Said(event) => event,
            Verdict::Trouble(kind) if matches!(class, Class::Denied | Class::Configuration) => {
                match self.office.blame().refused(name_of(action), self.id) {
                    Concerns::Everybody => self.trouble(kind, error.to_string()),
                    Concerns::ThisOne => {
                        self.note = Some(alone(error));
                        late(action, failed, error.cause())
                    }
                }
            }
            Verdict::Trouble(kind) => self.trouble(kind, error.to_string()),
            Verdict::Away(event) => {
                let Some(accounts) = &self.accounts else { return event };
                match accounts.server.ping().await {
                    // It is back already: what ended for all was no fault of this one.
                    Ok(_) if self.office.park.closed().is_some() => Event::Trouble,
                    // It was this call, and not the server.
                    Ok(_) => self.unless_all_fail(action, class, late(action, event, error.cause()), error),
                    Err(_) if self.office.another(&accounts.server).await.is_some() => Event::Paused(AWAY),
                    Err(away) => self.trouble(trouble(away.class()), away.to_string()),
                }
            }
        }
    }

    /// What fails for a reason of its own counts as an attempt, unless others fail alike: a ping shows that the server answers, and not
    /// that it does what it is asked to.
    fn unless_all_fail(&self, action: &Action, class: Class, event: Event, error: &CallError) -> Event {
        match self.office.blame().failed(name_of(action), class, self.id) {
            Concerns::ThisOne => event,
            Concerns::Everybody => {
                let reason = format!("one registration after the other fails: {error}");
                self.unseen(TroubleKind::Directory, reason)
            }
        }
    }

    /// Trouble that the probe does not meet.
    fn unseen(&self, kind: TroubleKind, reason: String) -> Event {
        self.office.park.begin_unseen(Trouble { kind, reason });
        Event::Trouble
    }

    fn trouble(&self, kind: TroubleKind, reason: String) -> Event {
        self.office.park.begin(Trouble { kind, reason });
        Event::Trouble
    }

    /// Tells the applicant.
    async fn tell(&mut self, tell: &Tell) -> Event {
        let Some(recipient) = self.recipient.clone() else {
            return Event::Unreachable(Unreachable::NoChat);
        };
        let news = match tell {
            Tell::Created { login } => News::Created { login: login.clone(), access: self.access() },
            Tell::Failed(failure) => failure.news(self.refusal),
            Tell::Queued => News::Queued,
        };
        let word = news.name();
        let result = self.office.reporter.report(&Report::new(self.id, recipient, news)).await;
        match &result {
            Ok(told) => {
                self.office.blame().passed(TELL, self.id);
                telemetry::told(word);
                if told.moved_to.is_some() {
                    tracing::info!("the chat has moved; whoever keeps its id should be told");
                }
            }
            Err(ReportError::Unreachable(why)) => {
                telemetry::unreported(*why);
                tracing::warn!(news = word, %why, "the applicant cannot be told");
            }
            Err(ReportError::Paused { .. }) => {}
            Err(ReportError::Misconfigured { reason })
                if self.office.blame().refused(TELL, self.id) == Concerns::ThisOne =>
            {
                tracing::warn!(news = word, %reason, "the applicant cannot be told, and others can");
                self.note = Some(alone(reason));
                return Event::Busy;
            }
            Err(ReportError::Misconfigured { reason }) => {
                return self.trouble(TroubleKind::Reports, reason.clone());
            }
            Err(error) => {
                tracing::warn!(news = word, %error, "the applicant may not have been told");
                self.note = Some(error.to_string());
                match self.office.reporter.check().await {
                    // It was this message, and not the way.
                    Ok(_) | Err(ReportError::Paused { .. }) => {}
                    Err(away) => return self.trouble(TroubleKind::Reports, away.to_string()),
                }
            }
        }
        Event::of_report(&result)
    }

    /// How the applicant gets in.
    fn access(&self) -> Access {
        let password: Option<&Secret> =
            self.accounts.as_ref().and_then(|accounts| accounts.password.as_ref());
        match (self.office.policy.delivery, password) {
            (PasswordDelivery::Temporary, Some(password)) => Access::TemporaryPassword(password.clone()),
            (PasswordDelivery::ResetPage, _) => Access::ResetPage,
            _ => Access::Untold,
        }
    }
}

const CREATE: &str = "create";
const TELL: &str = "tell";

/// What stands in the way of one registration while others pass.
fn alone(error: &dyn fmt::Display) -> String {
    format!("others pass, so it concerns this registration alone: {error}")
}

/// What an action is called in metrics and logs.
const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Activate { .. } => "activate",
        Action::Create { .. } => CREATE,
        Action::Disable { .. } => "disable",
        Action::Find => "find",
        Action::Finish(_) => "finish",
        Action::Join { .. } => "join",
        Action::LookUp { .. } => "look_up",
        Action::Probe { .. } => "probe",
        Action::SetPassword { .. } => "set_password",
        Action::Tell(_) => TELL,
        Action::Unstage { .. } => "unstage",
    }
}
