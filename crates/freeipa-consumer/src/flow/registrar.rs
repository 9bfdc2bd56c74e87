//! The handler: from a message to what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use freeipa_client::Class;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;
use valkey_connection::ErrorKind;
use valkey_receiver::{Handler, Message, Outcome};

use super::Office;
use super::accounts::Accounts;
use super::ending::Ending;
use super::run::{Run, RunError};
use super::store_trouble;
use super::verdict;
use crate::park::{Trouble, TroubleKind};
use crate::registration::{Applicant, Refusal, Registration, RegistrationId, UserRegistrationData, contact};
use crate::settings::PasswordDelivery;
use crate::state::{Failure, Finish, Flow, Machine, Plan, RegistrationRecord, StateError, Step, Token, Turn};
use crate::status::Recipient;
use crate::telemetry;

/// How long a registration waits for its turn, at the shortest.
const TURN: Duration = Duration::from_secs(1);
/// In how many attempts groups are to be joined: one that is missing, or not ours to fill, is so until somebody changes that, and the
/// sooner somebody hears of it the better.
const GROUP_TRIES: u32 = 4;
/// How long it waits when the store could not be asked.
const STORE: Duration = Duration::from_secs(2);
/// How long it waits for a consumer that understands its record.
const NEWER: Duration = Duration::from_secs(30);

/// Works on registrations. Cloning gives another handle of the same office.
#[derive(Clone, Debug)]
pub(crate) struct Registrar {
    office: Arc<Office>,
}

/// How it ended, why the registration was refused, if it was, and which it was, if that was made out.
type Ended = Result<(Ending, Option<Refusal>, Option<RegistrationId>), RunError>;

impl Registrar {
    pub(crate) fn new(office: Arc<Office>) -> Self {
        Self { office }
    }

    /// The same, and who cannot be served for what is in the store under the id hears of it when nobody tries again.
    async fn register_or_say(&self, message: &Message) -> Ended {
        let is_last = message.attempt() >= self.office.policy.attempts.get();
        match self.register(message).await {
            Err(RunError::State(error)) if is_last && is_of_one_key(&error) => {
                self.give_up(message, &error).await
            }
            ended => ended,
        }
    }

    /// Says that it will not be, without the record.
    async fn give_up(&self, message: &Message, error: &StateError) -> Ended {
        let payload = message.envelope().payload().get().as_bytes();
        let (recipient, id) = contact(payload, &self.office.policy.names);
        tracing::error!(%error, "a registration is given up for what is in the store under its id");
        let mut plan = Plan::new(Vec::new());
        self.count(message, &mut plan);
        let run = Run {
            office: &self.office,
            id,
            token: Token::new(),
            applicant: None,
            keeps_record: false,
            recipient,
            accounts: None,
            refusal: None,
            begun: Instant::now(),
            note: Some(error.to_string()),
            is_admitted: false,
            is_begun: false,
        };
        let (machine, next) = Machine::of_another(plan, Failure::Exhausted);
        Ok((run.go(machine, next).await?, None, Some(id)))
    }

    async fn register(&self, message: &Message) -> Ended {
        let Office { policy, domain, client, .. } = &*self.office;
        let payload = message.envelope().payload().get().as_bytes();
        let data = match UserRegistrationData::parse(payload, &policy.names) {
            Ok(data) => data,
            Err(refusal) => {
                return self.refuse(message, payload, refusal, RegistrationId::of_bytes(payload)).await;
            }
        };
        let server = client.server(&contact(payload, &policy.names).1.to_string());
        let mut asked = domain.ask(&server).await;
        if let Err(error) = &asked
            && error.class() == Class::Unavailable
            && let Some(other) = self.office.another(&server).await
        {
            asked = domain.ask(&other).await;
        }
        let domain = match asked {
            Ok(domain) => domain,
            Err(error) => {
                let kind = verdict::trouble(error.class());
                self.office.park.begin(Trouble { kind, reason: error.to_string() });
                return Ok((Ending { finish: Finish::Park, note: None }, None, None));
            }
        };
        let mut rules = policy.rules.clone();
        if let Some(longest) = domain.longest_login {
            rules.logins.rule = rules.logins.rule.within(longest);
        }
        let registration = match rules.check(&data) {
            Ok(registration) => registration,
            Err(refusal) => {
                return self.refuse(message, payload, refusal, RegistrationId::of_content(&data)).await;
            }
        };
        let span = tracing::Span::current();
        span.record("registration", tracing::field::display(registration.id));
        span.record("applicant", tracing::field::display(registration.applicant()));

        let turn = match self.office.turns.take(registration.user_id).await {
            Ok(Some(turn)) => turn,
            Ok(None) => return Ok((Ending::snooze(jittered(TURN)), None, None)),
            Err(error) => return Err(StateError::Store(error).into()),
        };
        let ending = tokio::select! {
            ending = self.work(message, &registration, domain.default_group) => ending,
            () = hold(&turn, policy.turn_lease) => {
                tracing::warn!("the applicant's turn was lost; somebody else may have it");
                Ok(Ending::snooze(jittered(TURN)))
            }
        };
        if let Err(error) = turn.release().await {
            tracing::debug!(%error, "the applicant's turn is free when its lease ends");
        }
        ending.map(|ending| (ending, None, Some(registration.id)))
    }

    /// A registration that was checked, in the applicant's turn.
    async fn work(
        &self,
        message: &Message,
        registration: &Registration,
        default_group: Option<String>,
    ) -> Result<Ending, RunError> {
        let Office { policy, records, client, .. } = &*self.office;
        let record = records.load(registration.id).await?;
        let is_of_another =
            record.as_ref().is_some_and(|record| record.is_of_another(registration.applicant()));
        let record = record.filter(|_| !is_of_another);
        let is_resumed = record.is_some();
        // What was begun goes on where it was begun: the other servers may not have heard of it yet.
        let begun_on = record.as_ref().and_then(|record| client.server_named(record.server.as_deref()?));
        let is_begun = begun_on.is_some();
        let server = begun_on.unwrap_or_else(|| client.server(&registration.id.to_string()));

        let mut groups = registration.groups.clone();
        // An earlier run may have made the account, and not been let into the group that all are in.
        groups.extend(default_group.filter(|group| is_resumed && !groups.contains(group)));
        let mut plan = Plan::new(registration.logins.clone());
        plan.flow = policy.flow;
        plan.on_partial = policy.on_partial;
        plan.said = Some(registration.said.to_string());
        plan.has_groups = !groups.is_empty();
        plan.has_password =
            policy.delivery == PasswordDelivery::Temporary && registration.recipient.is_private();
        self.count(message, &mut plan);
        let stages =
            policy.flow != Flow::Direct || record.as_ref().is_some_and(|record| record.step == Step::Staged);
        let accounts = Accounts {
            server,
            registration,
            stages,
            groups,
            is_unsought: true,
            policy,
            password: None,
            unjoined: Vec::new(),
        };
        let run = Run {
            office: &self.office,
            id: registration.id,
            token: Token::new(),
            applicant: Some(registration.applicant()),
            keeps_record: !is_of_another,
            recipient: Some(registration.recipient.clone()),
            accounts: Some(accounts),
            refusal: None,
            begun: Instant::now(),
            note: None,
            is_admitted: false,
            is_begun,
        };
        let (machine, next) = if is_of_another {
            tracing::warn!("another person has registered with this id");
            Machine::of_another(plan, Failure::IdTaken)
        } else {
            Machine::accepted(plan, record)
        };
        run.go(machine, next).await
    }

    /// A registration that was refused: the applicant hears why, if it can be made out who that is.
    async fn refuse(
        &self,
        message: &Message,
        payload: &[u8],
        refusal: Refusal,
        said: RegistrationId,
    ) -> Ended {
        let (recipient, id) = contact(payload, &self.office.policy.names);
        tracing::Span::current().record("registration", tracing::field::display(id));
        let mut plan = Plan::new(Vec::new());
        (plan.said, plan.refusal) = (Some(said.to_string()), Some(refusal.code()));
        self.count(message, &mut plan);
        let record: Option<RegistrationRecord> = self.office.records.load(id).await?;
        let applicant = recipient.as_ref().and_then(Recipient::person).map(Applicant::of);
        let is_of_another = match (&record, applicant) {
            (Some(record), Some(applicant)) => record.is_of_another(applicant),
            _ => false,
        };
        let run = Run {
            office: &self.office,
            id,
            token: Token::new(),
            applicant,
            keeps_record: !is_of_another,
            recipient,
            accounts: None,
            refusal: Some(&refusal),
            begun: Instant::now(),
            note: None,
            is_admitted: false,
            is_begun: false,
        };
        let (machine, next) = if is_of_another {
            Machine::of_another(plan, Failure::Invalid)
        } else {
            Machine::refused(plan, record)
        };
        let ending = run.go(machine, next).await?;
        Ok((ending, Some(refusal), Some(id)))
    }

    fn count(&self, message: &Message, plan: &mut Plan) {
        plan.quiet = self.office.policy.quiet;
        plan.gives_up_groups = message.attempt() >= GROUP_TRIES;
        plan.is_last = message.attempt() >= self.office.policy.attempts.get();
        plan.is_redelivered = message.attempt() > 1 || message.crashes() > 0;
    }

    /// What becomes of a message whose run could not go on.
    fn outcome_of(&self, error: &RunError) -> (Outcome, &'static str) {
        match error {
            // The other one goes on with it.
            RunError::State(StateError::Overtaken { .. }) => (Outcome::snooze(jittered(STORE)), "overtaken"),
            RunError::State(StateError::Store(error)) if error.is_transient() => {
                (Outcome::snooze(jittered(STORE)), "store")
            }
            // One key of another type: the others have theirs.
            RunError::State(StateError::Store(error)) if error.kind() == ErrorKind::WrongType => {
                (Outcome::nack(error), "record")
            }
            // A missing right, a server that is set up otherwise: everybody meets it, and no attempt mends it.
            RunError::State(StateError::Store(error)) => {
                let trouble = Trouble { kind: TroubleKind::Store, reason: store_trouble(error) };
                self.office.park.begin_unseen(trouble);
                (Outcome::snooze(self.office.park.retry_after()), "store")
            }
            // Of a newer consumer, most likely, which will take it: to give it up would lose what that one has begun.
            RunError::State(StateError::Fault { .. }) => (Outcome::snooze(jittered(NEWER)), "record"),
            RunError::State(error @ StateError::NotARecord { .. }) => (Outcome::nack(error), "record"),
            error => (Outcome::nack(error), "failed"),
        }
    }
}

impl Handler for Registrar {
    async fn handle(&self, message: Message) -> Outcome {
        let park = &self.office.park;
        if let Some(wait) = park.closed() {
            return Outcome::snooze(wait);
        }
        let span = tracing::info_span!(
            "register",
            registration = tracing::field::Empty,
            applicant = tracing::field::Empty,
            attempt = message.attempt(),
        );
        async {
            let _in_hand = telemetry::in_hand();
            let begun = Instant::now();
            match self.register_or_say(&message).await {
                Ok((ending, refusal, id)) => {
                    let reason = ending.reason(refusal.as_ref());
                    telemetry::ended(ending.word(), &reason, begun.elapsed());
                    if ending.is_proof() {
                        park.went_well();
                    }
                    let note = ending.note.as_deref();
                    if matches!(ending.finish, Finish::DeadLetter(_)) {
                        tracing::warn!(outcome = ending.word(), reason, note, took = ?begun.elapsed(), "registration");
                    } else {
                        tracing::info!(outcome = ending.word(), note, took = ?begun.elapsed(), "registration");
                    }
                    ending.outcome(refusal.as_ref(), id, park)
                }
                Err(error) => {
                    let (outcome, word) = self.outcome_of(&error);
                    telemetry::ended(outcome.name(), word, begun.elapsed());
                    tracing::error!(%error, "a registration could not be worked on");
                    outcome
                }
            }
        }
        .instrument(span)
        .await
    }
}

/// Whether it is about what is under one key, and no trouble of the store.
fn is_of_one_key(error: &StateError) -> bool {
    match error {
        StateError::NotARecord { .. } => true,
        StateError::Store(error) => error.kind() == ErrorKind::WrongType,
        _ => false,
    }
}

/// Holds a turn. Ends when it was lost.
async fn hold(turn: &Turn, lease: Duration) {
    loop {
        sleep(lease / 3).await;
        match turn.renew().await {
            Ok(true) => {}
            Ok(false) => return,
            // Until the lease ends it is held all the same.
            Err(error) => tracing::debug!(%error, "the applicant's turn could not be renewed"),
        }
    }
}

/// Up to twice as long: those who wait for the same thing do not come back together.
fn jittered(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random_range(0.0..1.0))
}
