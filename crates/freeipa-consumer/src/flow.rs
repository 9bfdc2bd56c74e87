//! What a registration goes through, from the queue to the account: the machine's actions, done.
//!
//! ```text
//!  message ─► Registrar ─► parse, check ─► the applicant's turn, the record ─► Run
//!                 ▲                                                             │ Machine: what next?
//!                 │                      ┌── Accounts: calls to one server ◄────┤
//!              Outcome ◄── Finish ◄──────┤                                      │
//!                                        └── StatusReporter: the applicant ◄────┘
//! ```
//!
//! The record is written before each action that relies on it, and never holds a password: that is in memory from the call that
//! makes it to the message that tells it, and whoever dies in between has another one made. So a consumer may be killed anywhere.
//!
//! What an error means stands in one table (`verdict`). What concerns everybody parks the consumer and costs nobody an attempt;
//! what concerns one registration is tried again by the receiver's policy, and then told, and kept among the dead letters.
//!
//! The lease of the queue is renewed by the receiver for as long as a registration is worked on, so it need not be longer than
//! that takes. A registration that is worked on for longer than three quarters of `processing_timeout` is put back between two steps.

mod accounts;
mod blame;
mod domain;
mod ending;
mod registrar;
mod run;
mod verdict;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freeipa_client::{Client, Pinned};

pub(crate) use self::blame::Blame;
pub(crate) use self::domain::KnownDomain;
pub(crate) use self::registrar::Registrar;
use valkit_service::Shutdown;

use crate::park::{Park, Probe, Trouble, TroubleKind};
use crate::registration::{FieldMap, Rules};
use crate::settings::{PasswordDelivery, Settings};
use crate::state::{Flow, OnPartial, Records, Turns};
use crate::status::{ReportError, StatusReporter};

/// What all registrations of a consumer share.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) client: Client,
    pub(crate) reporter: Arc<dyn StatusReporter>,
    pub(crate) records: Records,
    pub(crate) turns: Turns,
    pub(crate) park: Park,
    pub(crate) shutdown: Shutdown,
    pub(crate) policy: Policy,
    pub(crate) domain: KnownDomain,
    pub(crate) blame: Mutex<Blame>,
}

/// What the settings say of registrations.
#[derive(Debug)]
pub(crate) struct Policy {
    flow: Flow,
    on_partial: OnPartial,
    one_account_per_person: bool,
    email_unique: bool,
    delivery: PasswordDelivery,
    names: FieldMap,
    rules: Rules,
    turn_lease: Duration,
    attempts: NonZeroU32,
    /// How long a server may still do what it has not answered.
    quiet: Duration,
    /// How long a registration may be worked on; as long as it takes if there is none.
    patience: Option<Duration>,
}

impl Policy {
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { consumer, registration, freeipa, report, receiver, .. } = settings;
        // The rest of the time is for the step that is under way.
        let patience = Some(receiver.processing_timeout.mul_f64(0.75)).filter(|patience| !patience.is_zero());
        Self {
            flow: consumer.flow,
            on_partial: consumer.on_partial_groups,
            one_account_per_person: consumer.one_account_per_person,
            email_unique: registration.email_unique,
            delivery: report.password_delivery(),
            names: registration.field_map(),
            rules: registration.rules(freeipa.service_login()),
            turn_lease: consumer.applicant_lease,
            quiet: freeipa.request_timeout,
            attempts: NonZeroU32::MIN.saturating_add(receiver.max_retries),
            patience,
        }
    }
}

impl Office {
    fn blame(&self) -> MutexGuard<'_, Blame> {
        self.blame.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another server than this one that answers, if there is one.
    async fn another(&self, than: &Pinned) -> Option<Pinned> {
        for server in self.client.servers() {
            if !server.is_same(than) && server.ping().await.is_ok() {
                return Some(server);
            }
        }
        None
    }
}

impl Probe for Arc<Office> {
    async fn probe(&self) -> Result<(), Trouble> {
        let mut trouble = None;
        for server in self.client.servers() {
            match server.ping().await {
                Ok(_) => {
                    trouble = None;
                    break;
                }
                Err(error) => {
                    let kind = verdict::trouble(error.class());
                    trouble = trouble.or(Some(Trouble { kind, reason: error.to_string() }));
                }
            }
        }
        match trouble {
            Some(trouble) => Err(trouble),
            None if let Err(error) = self.records.probe().await => {
                Err(Trouble { kind: TroubleKind::Store, reason: store_trouble(&error) })
            }
            None => match self.reporter.check().await {
                Ok(_) | Err(ReportError::Paused { .. }) => Ok(()),
                Err(error) => Err(Trouble { kind: TroubleKind::Reports, reason: error.to_string() }),
            },
        }
    }
}

/// What is said of a store that refuses.
fn store_trouble(error: &dyn std::fmt::Display) -> String {
    format!(
        "{error}; the user in Valkey needs (ACL) all commands of a consumer, and the keys of the queue and of key_prefix"
    )
}
