//! Asks limits in Valkey.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use valkey_connection::{Command, Connection};

use crate::algorithm::{Answer, Ask};
use crate::combiner::{Combiner, Got, Wanted};
use crate::decision::{Allowed, Charges, Decision, Denied, Source, Standing, Ticket};
use crate::error::{Failed, LimitError};
use crate::fallback::Fallback;
use crate::ladder::tightest;
use crate::lease::Lease;
use crate::memory::{Memory, Recalled};
use crate::outage::Health;
use crate::rule::{Rule, RuleName};
use crate::scripts::{Charge, Item, Limit, Want};
use crate::several::{Demand, in_nobodys_way};
use crate::subject::Subject;
use crate::unavailable::OnUnavailable;

/// Asks limits that all who use the same Valkey share. Cloning is cheap.
///
/// Exact by the clock of the primary: whoever asks, from wherever, a rule admits what its
/// [`Algorithm`](crate::Algorithm) states and no more. Checks of one process that happen at the same time travel together.
///
/// No call waits longer than the [deadline](Self::with_deadline). After five failures in a row, or when half of the calls of a
/// second fail, the store is taken to be away, and calls end at once: as [`Rule::with_on_unavailable`] says, or else with
/// [`LimitError::Away`]. One call at a time finds out whether it is back, and then a growing share of them goes to it.
///
/// ```no_run
/// use valkey_connection::{Connection, ConnectionSettings};
/// use valkey_ratelimit::{Decision, Limiter, Rule, Subject};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(Connection::connect(&ConnectionSettings::default()).await?);
/// let rule = Rule::new("logins".parse()?, "5/1m".parse()?);
/// match limiter.check(&rule, &Subject::text("ada"), 1).await? {
///     Decision::Allowed(allowed) => println!("{} left", allowed.remaining),
///     Decision::Denied(denied) => println!("again in {:?}", denied.retry_after),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Limiter {
    pub(crate) connection: Connection,
    pub(crate) combiner: Arc<Combiner>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) fallback: Arc<Fallback>,
}

/// How long a call waits unless said otherwise.
const DEADLINE: Duration = Duration::from_millis(100);

impl Limiter {
    /// Over a connection, which may be shared with anything else.
    pub fn new(connection: Connection) -> Self {
        let memory: Arc<Memory> = Arc::default();
        let combiner = Combiner::new(connection.clone(), Arc::clone(&memory), DEADLINE);
        Self { combiner, connection, memory, fallback: Arc::default() }
    }

    /// How long a call waits for the store at most; 100 ms unless said otherwise. It begins to count what fails anew.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.combiner = Combiner::new(self.connection.clone(), Arc::clone(&self.memory), deadline);
        self
    }

    /// How the store does, as this process sees it.
    pub fn health(&self) -> Health {
        self.combiner.outage.health()
    }

    /// Charges a request that costs so much, if there is room; of an address, to all its networks that the rule limits, or to
    /// none.
    ///
    /// # Errors
    /// [`LimitError`]. After [`LimitError::Late`] and [`LimitError::Unavailable`] it may have been charged. Never one that
    /// [is unavailable](LimitError::is_unavailable) unless the rule says [`OnUnavailable::Deny`].
    ///
    /// # Cancel safety
    /// A check that is dropped may have been charged.
    pub async fn check(&self, rule: &Rule, subject: &Subject, cost: u64) -> Result<Decision, LimitError> {
        if rule.has_networks() {
            let mut decisions = self.check_all(&[Demand::new(rule, subject).cost(cost)]).await?;
            // One demand has one decision.
            return Ok(decisions.pop().unwrap_or_else(|| Decision::Allowed(Allowed::by(Source::AllowList))));
        }
        let decision = if rule.allows(subject) {
            Ok(Decision::Allowed(Allowed::by(Source::AllowList)))
        } else {
            self.check_one(rule, subject, cost.max(1)).await
        };
        let decision = if rule.is_shadow() { Ok(in_nobodys_way(decision)) } else { decision };
        match &decision {
            Ok(decision) => rule.count(decision),
            Err(error) => rule.count_undecided(error),
        }
        decision
    }

    async fn check_one(&self, rule: &Rule, subject: &Subject, cost: u64) -> Result<Decision, LimitError> {
        rule.accepts(subject)?;
        let now = Instant::now();
        let subject = &*rule.counted_as(subject, now);
        let last = match rule.sought(subject, |sought| self.memory.recall(sought, cost, now)) {
            Recalled::Refused(answer) => return refused(rule, subject, cost, &answer, Source::Memory),
            Recalled::Taken { lease, left } => return Ok(taken(rule, cost, lease, left)),
            Recalled::Unknown(last) => last,
        };
        let (limit, held) = (rule.limit(subject), rule.held(subject));
        let lease = held.as_ref().zip(last).map_or(0, |(held, last)| last.next(held.most(), now));
        let wanted = Wanted { limit: limit.clone(), cost, held };
        match decided(rule.name(), self.combiner.ask(wanted, lease, now).await) {
            Ok(Got::Granted { answer, charge }) => {
                let charges = Charges::One((limit, charge));
                Ok(allowed(&answer, Ticket { rule: rule.name().clone(), charges, amount: cost }))
            }
            Ok(Got::Refused(answer)) => refused(rule, subject, cost, &answer, Source::Store),
            Ok(Got::Foreign) => Err(foreign(rule, &limit)),
            Err(error) if error.is_unavailable() => match rule.on_unavailable() {
                OnUnavailable::Allow => Ok(Decision::Allowed(Allowed::by(Source::Fallback))),
                OnUnavailable::Local { nodes } => {
                    let answer = self.fallback.ask(&limit, cost, nodes, Instant::now());
                    locally(rule, subject, cost, &answer)
                }
                OnUnavailable::Deny => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// How a limit stands, charging nothing; of an address with several networks, the one that has least left:
    /// [`peek_each`](Self::peek_each) tells them apart. Whoever is on the allow list has as much as there are numbers.
    ///
    /// # Errors
    /// As [`check`](Self::check), whatever the rule says of outages.
    pub async fn peek(&self, rule: &Rule, subject: &Subject, cost: u64) -> Result<Standing, LimitError> {
        let steps =
            if rule.allows(subject) { Vec::new() } else { self.peek_each(rule, subject, cost).await? };
        Ok(tightest(&steps))
    }

    /// Gives back so much of what was charged, at most all of it, and says how much came back: what has left the window
    /// meanwhile made room already.
    ///
    /// # Errors
    /// As [`check`](Self::check), whatever the rule says of outages; then it may have been given back.
    ///
    /// # Cancel safety
    /// A refund that is dropped may have been done.
    pub async fn refund(&self, ticket: Ticket, amount: u64) -> Result<u64, LimitError> {
        let Ticket { rule, charges, amount: charged } = ticket;
        let amount = amount.min(charged);
        let give_back = |(limit, charge): &(Limit, Charge)| Item {
            limit: limit.clone(),
            want: Want::GiveBack { charge: charge.clone(), amount },
        };
        let items = charges.as_slice().iter().map(give_back).collect();
        let answers = self.in_time_of(&rule, self.combiner.call_each(items)).await;
        for (limit, _) in charges.as_slice() {
            self.memory.forget_refusal(limit);
        }
        Ok(answers?.first().and_then(|(_, answer)| answer.as_ref()).map_or(0, |answer| answer.granted))
    }

    /// Corrects what was charged in advance, when it is known what the request really costs: charges the rest, or gives it back.
    /// Says how much is charged now. That is less than `actual` when there is no room for more: what has been done is done, and
    /// no window is charged more than its limit.
    ///
    /// # Errors
    /// As [`refund`](Self::refund).
    ///
    /// # Cancel safety
    /// As [`refund`](Self::refund).
    pub async fn commit(&self, ticket: Ticket, actual: u64) -> Result<u64, LimitError> {
        let Some(more) = actual.checked_sub(ticket.amount) else {
            let charged = ticket.amount;
            return Ok(charged - self.refund(ticket, charged - actual).await?);
        };
        if more == 0 {
            return Ok(actual);
        }
        let charges = ticket.charges.as_slice().iter().enumerate();
        let items = charges
            .map(|(at, (limit, _))| {
                let want = Want::Grant { ask: Ask::times(1, more), follows: at > 0, shadow: false };
                Item { limit: limit.clone(), want }
            })
            .collect();
        let answers = self.in_time_of(&ticket.rule, self.combiner.call_each(items)).await?;
        let granted =
            answers.first().and_then(|(_, answer)| answer.as_ref()).map_or(0, |answer| answer.granted);
        Ok(ticket.amount + granted)
    }

    /// Forgets all that a subject was charged; says whether there was anything. What its networks were charged stays.
    ///
    /// # Errors
    /// As [`refund`](Self::refund).
    pub async fn reset(&self, rule: &Rule, subject: &Subject) -> Result<bool, LimitError> {
        rule.accepts(subject)?;
        let limit = rule.limit(subject);
        let call = async {
            let reply = self.connection.execute(Command::new("UNLINK").key(&limit.key)).await;
            reply.and_then(|reply| reply.as_int()).map_err(Failed::Store)
        };
        let removed = self.in_time(rule, call).await;
        self.memory.forget(&limit);
        Ok(removed? > 0)
    }

    pub(crate) async fn in_time<T>(
        &self,
        rule: &Rule,
        call: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, LimitError> {
        self.in_time_of(rule.name(), call).await
    }

    /// Asks the store, unless it is away, and for no longer than the deadline.
    async fn in_time_of<T>(
        &self,
        rule: &RuleName,
        call: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, LimitError> {
        decided(rule, self.combiner.in_time(Instant::now(), call).await)
    }
}

/// What the store said, or why there is nothing; `None`: it is away.
fn decided<T>(rule: &RuleName, answer: Option<Result<T, Failed>>) -> Result<T, LimitError> {
    answer
        .ok_or_else(|| LimitError::Away { rule: rule.clone() })?
        .map_err(|failed| LimitError::of(rule, failed))
}

pub(crate) fn allowed(answer: &Answer, ticket: Ticket) -> Decision {
    let reset_after = Duration::from_micros(answer.reset_after);
    Decision::Allowed(Allowed {
        source: Source::Store,
        remaining: answer.remaining,
        reset_after,
        ticket: Some(ticket),
    })
}

/// Allowed by what is held.
fn taken(rule: &Rule, cost: u64, lease: Arc<Lease>, left: u64) -> Decision {
    let remaining = lease.answer.remaining + left;
    let reset_after = Duration::from_micros(lease.answer.reset_after);
    let ticket = Ticket { rule: rule.name().clone(), charges: Charges::Leased(lease), amount: cost };
    Decision::Allowed(Allowed { source: Source::Lease, remaining, reset_after, ticket: Some(ticket) })
}

pub(crate) fn refused(
    rule: &Rule,
    subject: &Subject,
    cost: u64,
    answer: &Answer,
    source: Source,
) -> Result<Decision, LimitError> {
    if answer.next_after == Answer::NEVER {
        return Err(above(rule, cost));
    }
    Ok(Decision::Denied(Denied {
        source,
        remaining: answer.remaining,
        retry_after: Duration::from_micros(answer.next_after),
        reset_after: Duration::from_micros(answer.reset_after),
        subject: subject.clone(),
    }))
}

/// What this process's own count says.
pub(crate) fn locally(
    rule: &Rule,
    subject: &Subject,
    cost: u64,
    answer: &Answer,
) -> Result<Decision, LimitError> {
    if answer.granted == 0 {
        return refused(rule, subject, cost, answer, Source::Local);
    }
    let reset_after = Duration::from_micros(answer.reset_after);
    Ok(Decision::Allowed(Allowed { remaining: answer.remaining, reset_after, ..Allowed::by(Source::Local) }))
}

pub(crate) fn above(rule: &Rule, cost: u64) -> LimitError {
    LimitError::CostAboveLimit { rule: rule.name().clone(), cost, limit: rule.most() }
}

pub(crate) fn foreign(rule: &Rule, limit: &Limit) -> LimitError {
    let key = String::from_utf8_lossy(&limit.key).into_owned();
    LimitError::ForeignKey { rule: rule.name().clone(), key }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}
