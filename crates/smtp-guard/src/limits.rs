//! What the gate asks of `valkey-ratelimit`, as one question with one answer.

mod lately;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::warn;
use valkey_ratelimit::{
    Acquired, Algorithm, Decision, Full, OnUnavailable, Permit, Quota, Rule, RuleName, SlotRule, Source,
    Subject,
};

use self::lately::Lately;
use crate::guard::GuardError;
use crate::pace::Pace;
use crate::settings::{GuardSettings, Network};
use crate::store::Store;
use crate::telemetry::{self, Refusal};

/// The limits of the gate.
#[derive(Debug)]
pub(crate) struct Limits {
    store: Store,
    all: (SlotRule, Subject),
    each: SlotRule,
    rate: Rule,
    ipv6_prefix: u8,
    allowed: Vec<Network>,
    on_unavailable: OnUnavailable,
    refused: Lately,
    troubles: Pace,
}

/// Lines a second about troubles that are none of the store's being away, which is told of elsewhere.
const TROUBLES: u32 = 1;

/// What becomes of a client.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may pass, and holds a place while this is held.
    Admitted(Pass),
    /// It may not.
    Refused(Refused),
}

/// Whether a limit was really asked before somebody passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    Yes,
    No,
}

/// The right to be connected. The place is free again when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    _place: Option<Permit>,
    /// Whether a limit could not be asked.
    pub(crate) unchecked: bool,
}

/// Why a client may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which limit.
    pub(crate) reason: Refusal,
    /// How much of it there is.
    pub(crate) most: u64,
    /// After how long it may be worth another try, if that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl Limits {
    /// The limits that the settings describe.
    ///
    /// # Errors
    /// They are none that can be asked.
    pub(crate) fn new(settings: &GuardSettings, store: Store) -> Result<Self, GuardError> {
        let (resources, gate) = (&settings.resources, &settings.gate);
        let wrong = |error: &dyn std::fmt::Display| GuardError::Limits(error.to_string());
        let name = |name: &str| name.parse::<RuleName>().map_err(|error| wrong(&error));
        let quota = Quota::new(resources.max_requests_per_window.get(), resources.rate_limit_window)
            .map_err(|error| wrong(&error))?;
        let on_unavailable = gate.when_unavailable();
        let slot = |name, most| {
            let rule = SlotRule::new(name, most).with_prefix(&resources.valkey_key_prefix);
            rule.with_on_unavailable(on_unavailable)
        };
        // The key is one that existing nodes have, too.
        let rate = Rule::new(name("ip")?, quota)
            .with_algorithm(Algorithm::SlidingLog)
            .with_prefix(&resources.valkey_key_prefix)
            .with_address_bits(32, gate.ipv6_prefix)
            .with_on_unavailable(on_unavailable);
        rate.validate().map_err(|error| wrong(&error))?;
        if let Some(warning) = rate.warning() {
            warn!("{warning}");
        }
        Ok(Self {
            store,
            all: (slot(name("connections")?, resources.max_connections.get()), Subject::text("all")),
            each: slot(name("connections-per-ip")?, resources.max_connections_per_ip.get()),
            rate,
            ipv6_prefix: gate.ipv6_prefix,
            allowed: gate.allowed.to_vec(),
            on_unavailable,
            refused: Lately::default(),
            troubles: Pace::new(TROUBLES),
        })
    }

    /// Asks whether a client may pass. Never takes longer than twice the time that a check may take.
    ///
    /// A place first, then the rate: who finds no place is not charged. It is the other way round for those whom the rate has
    /// just refused: that is remembered, and costs no round trip.
    pub(crate) async fn admit(&self, client: IpAddr) -> Admission {
        let client = client.to_canonical();
        if self.allowed.iter().any(|network| network.contains(client)) {
            return Admission::Admitted(Pass::default());
        }
        let begun = Instant::now();
        let admission = self.ask(client).await;
        telemetry::check_took(begun.elapsed());
        if matches!(admission, Admission::Admitted(Pass { unchecked: true, .. })) {
            self.store.note_unchecked();
        }
        admission
    }

    async fn ask(&self, client: IpAddr) -> Admission {
        self.try_ask(client).await.map_or_else(Admission::Refused, Admission::Admitted)
    }

    async fn try_ask(&self, client: IpAddr) -> Result<Pass, Refused> {
        let subject = self.subject(client);
        let asked = if self.refused.has(&subject, Instant::now()) {
            Some(self.rate(client, &subject).await?)
        } else {
            None
        };
        let mut pass = self.place(&subject).await?;
        let rate = match asked {
            // It is charged by now, also if there had been no place: so rare is it that it does no harm.
            Some(rate) => rate,
            None => self.rate(client, &subject).await?,
        };
        pass.unchecked |= rate == Checked::No;
        Ok(pass)
    }

    /// Whom an address counts as.
    fn subject(&self, client: IpAddr) -> Subject {
        if client.is_ipv6() { Subject::network(client, self.ipv6_prefix) } else { Subject::ip(client) }
    }

    async fn place(&self, subject: &Subject) -> Result<Pass, Refused> {
        let wanted = [self.all.clone(), (self.each.clone(), subject.clone())];
        match self.store.slots().acquire(&wanted).await {
            Ok(Acquired::Held(permit)) => {
                let unchecked = permit.source() != Source::Store;
                if unchecked {
                    telemetry::fallback("connections");
                }
                Ok(Pass { _place: Some(permit), unchecked })
            }
            Ok(Acquired::Full(Full { rule, most, .. })) => {
                let is_each = rule == *self.each.name();
                let reason = if is_each { Refusal::ConnectionsPerIp } else { Refusal::Connections };
                Err(Refused { reason, most, retry_after: None })
            }
            Err(error) => {
                self.without("connections", error.is_unavailable(), &error)?;
                Ok(Pass { _place: None, unchecked: true })
            }
        }
    }

    async fn rate(&self, client: IpAddr, subject: &Subject) -> Result<Checked, Refused> {
        match self.store.limiter_from_the_start().check(&self.rate, &Subject::ip(client), 1).await {
            Ok(Decision::Allowed(allowed)) if matches!(allowed.source, Source::Fallback | Source::Local) => {
                telemetry::fallback("rate");
                Ok(Checked::No)
            }
            Ok(Decision::Allowed(_)) => Ok(Checked::Yes),
            Ok(Decision::Denied(denied)) => {
                self.refused.note(subject, Instant::now() + denied.retry_after);
                let most = self.rate.quota().limit();
                Err(Refused { reason: Refusal::Rate, most, retry_after: Some(denied.retry_after) })
            }
            Err(error) => self.without("rate", error.is_unavailable(), &error),
        }
    }

    /// What becomes of a client when a limit cannot be asked, and has not decided for itself what that means.
    fn without(
        &self,
        limit: &'static str,
        is_unavailable: bool,
        error: &dyn std::fmt::Display,
    ) -> Result<Checked, Refused> {
        // A store that is away is told of elsewhere, once.
        if !is_unavailable && let Some(untold) = self.troubles.may_say(Instant::now()) {
            warn!(limit, %error, untold, "a limit cannot be asked");
        }
        if self.on_unavailable == OnUnavailable::Deny {
            return Err(Refused { reason: Refusal::Unavailable, most: 0, retry_after: None });
        }
        telemetry::fallback(limit);
        Ok(Checked::No)
    }
}
