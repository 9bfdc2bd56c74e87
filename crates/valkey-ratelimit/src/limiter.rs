//! Asks limits in Valkey.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use valkey_connection::{Command, Connection};

use crate::algorithm::{Algorithm, Answer, Ask};
use crate::combiner::{Combiner, Got, Wanted};
use crate::decision::{Allowed, Decision, Denied, Source, Standing, Ticket};
use crate::denials::Denials;
use crate::error::{Failed, LimitError};
use crate::outage::{Health, Machine, Outcome, Route, Turn};
use crate::rule::Rule;
use crate::scripts::{Charge, Item, MAX_ITEMS, Want};
use crate::subject::Subject;

/// Asks limits that all who use the same Valkey share. Cloning is cheap.
///
/// Exact by the clock of the primary: whoever asks, from wherever, a rule admits what its [`Algorithm`] states and no more.
/// Checks of one process that happen at the same time travel together.
///
/// No call waits longer than the [deadline](Self::with_deadline). After five failures in a row, or when half of the calls of a
/// second fail, the store is taken to be away, and calls end at once with [`LimitError::Away`]: what to do then is for the caller
/// to say. One call at a time finds out whether it is back, and then a growing share of them goes to it.
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
    connection: Connection,
    combiner: Arc<Combiner>,
    denials: Arc<Denials>,
    outage: Arc<Mutex<Machine>>,
    deadline: Duration,
}

/// How long a call waits unless said otherwise.
const DEADLINE: Duration = Duration::from_millis(100);

/// One limit among several that are asked together.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    rule: &'a Rule,
    subject: &'a Subject,
    cost: u64,
    shadow: bool,
}

impl Limiter {
    /// Over a connection, which may be shared with anything else.
    pub fn new(connection: Connection) -> Self {
        let outage = Arc::new(Mutex::new(Machine::new(DEADLINE, Instant::now())));
        let combiner = Combiner::new(connection.clone());
        Self { combiner, connection, denials: Arc::default(), outage, deadline: DEADLINE }
    }

    /// How long a call waits for the store at most; 100 ms unless said otherwise. It begins to count what fails anew.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.outage = Arc::new(Mutex::new(Machine::new(deadline, Instant::now())));
        self.deadline = deadline;
        self
    }

    /// How the store does, as this process sees it.
    pub fn health(&self) -> Health {
        self.outage().health()
    }

    /// Charges a request that costs so much, if there is room.
    ///
    /// # Errors
    /// [`LimitError`]. After [`LimitError::Unavailable`] it may have been charged.
    ///
    /// # Cancel safety
    /// A check that is dropped may have been charged.
    pub async fn check(&self, rule: &Rule, subject: &Subject, cost: u64) -> Result<Decision, LimitError> {
        let cost = cost.max(1);
        let limit = rule.limit(subject);
        let asked = Instant::now();
        if let Some(answer) = self.denials.of(&limit, cost, asked) {
            return refused(rule, cost, &answer, Source::Memory);
        }
        let wanted = Wanted { limit: limit.clone(), cost };
        match self.in_time(rule, self.combiner.ask(wanted)).await? {
            Got::Granted { answer, charge } => {
                self.denials.note(limit, cost, &answer, asked);
                Ok(allowed(&answer, Ticket { charge, amount: cost }))
            }
            Got::Refused(answer) => {
                self.denials.note(limit, cost, &answer, asked);
                refused(rule, cost, &answer, Source::Store)
            }
            Got::Foreign => Err(foreign(rule, subject)),
        }
    }

    /// Charges all of several limits, or none: one decision for each, all of them allowed or each as it stands. A
    /// [shadow](Demand::shadow) is charged as far as it has room, and is in nobody's way.
    ///
    /// In a cluster all have to be of one subject, or the server refuses; and sorted sets ([`Algorithm::SlidingLog`]) cannot be
    /// asked together with others there.
    ///
    /// # Errors
    /// As [`check`](Self::check); also when one limit is named twice, or more than 64.
    ///
    /// # Cancel safety
    /// As [`check`](Self::check).
    pub async fn check_all(&self, demands: &[Demand<'_>]) -> Result<Vec<Decision>, LimitError> {
        let Some(first) = demands.first() else { return Ok(Vec::new()) };
        let name = first.rule.name();
        let items: Vec<Item> = demands.iter().enumerate().map(|(at, demand)| demand.item(at > 0)).collect();
        let twice = items
            .iter()
            .enumerate()
            .any(|(at, item)| items[..at].iter().any(|other| other.limit.key == item.limit.key));
        if twice || items.len() > MAX_ITEMS {
            return Err(LimitError::Demands { rule: name.clone(), most: MAX_ITEMS });
        }
        let (nonce, answers) = self.in_time(first.rule, self.combiner.call(&items)).await?;
        let decisions = demands.iter().zip(answers).map(|(demand, answer)| {
            let Some(answer) = answer else { return Err(foreign(demand.rule, demand.subject)) };
            if answer.granted == 0 {
                return refused(demand.rule, demand.cost, &answer, Source::Store);
            }
            let charge = Charge { nonce: nonce.clone(), mark: answer.mark };
            Ok(allowed(&answer, Ticket { charge, amount: demand.cost }))
        });
        decisions.collect()
    }

    /// How a limit stands, charging nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn peek(&self, rule: &Rule, subject: &Subject, cost: u64) -> Result<Standing, LimitError> {
        let cost = cost.max(1);
        let want = Want::Grant { ask: Ask::peek(cost), follows: false, shadow: false };
        let answer = self.one(rule, subject, want).await?;
        if answer.next_after == Answer::NEVER {
            return Err(above(rule, cost));
        }
        Ok(Standing {
            remaining: answer.remaining,
            retry_after: Duration::from_micros(answer.next_after),
            reset_after: Duration::from_micros(answer.reset_after),
        })
    }

    /// Gives back so much of what was charged, at most all of it, and says how much came back: what has left the window
    /// meanwhile made room already.
    ///
    /// # Errors
    /// As [`check`](Self::check); then it may have been given back.
    ///
    /// # Cancel safety
    /// A refund that is dropped may have been done.
    pub async fn refund(
        &self,
        rule: &Rule,
        subject: &Subject,
        ticket: Ticket,
        amount: u64,
    ) -> Result<u64, LimitError> {
        let Ticket { charge, amount: charged } = ticket;
        let want = Want::GiveBack { charge, amount: amount.min(charged) };
        let back = self.one(rule, subject, want).await;
        self.denials.forget(&rule.limit(subject));
        Ok(back?.granted)
    }

    /// Forgets all that a subject was charged; says whether there was anything.
    ///
    /// # Errors
    /// [`LimitError::Unavailable`].
    pub async fn reset(&self, rule: &Rule, subject: &Subject) -> Result<bool, LimitError> {
        let limit = rule.limit(subject);
        let call = async {
            let reply = self.connection.execute(Command::new("UNLINK").key(&limit.key)).await;
            reply.and_then(|reply| reply.as_int()).map_err(Failed::Store)
        };
        let removed = self.in_time(rule, call).await;
        self.denials.forget(&limit);
        Ok(removed? > 0)
    }

    /// Asks the store, unless it is away, and for no longer than the deadline.
    async fn in_time<T>(
        &self,
        rule: &Rule,
        call: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, LimitError> {
        let begun = Instant::now();
        let route = self.outage().route(begun, rand::random());
        let Route::Store(turn) = route else { return Err(LimitError::Away { rule: rule.name().clone() }) };
        // Whoever drops this future tells nothing of the store, but frees the place of a probe.
        let turn = Pending { outage: &self.outage, turn: Some(turn) };
        let answer =
            tokio::time::timeout(self.deadline, call).await.unwrap_or(Err(Failed::Late(self.deadline)));
        turn.settle(&answer, begun.elapsed());
        answer.map_err(|failed| LimitError::of(rule.name(), failed))
    }

    fn outage(&self) -> MutexGuard<'_, Machine> {
        lock(&self.outage)
    }

    async fn one(&self, rule: &Rule, subject: &Subject, want: Want) -> Result<Answer, LimitError> {
        let item = Item { limit: rule.limit(subject), want };
        let (_, answers) = self.in_time(rule, self.combiner.call(&[item])).await?;
        answers.into_iter().next().flatten().ok_or_else(|| foreign(rule, subject))
    }
}

fn lock(outage: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    outage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A question that is under way.
struct Pending<'a> {
    outage: &'a Mutex<Machine>,
    turn: Option<Turn>,
}

impl Pending<'_> {
    fn settle<T>(mut self, answer: &Result<T, Failed>, took: Duration) {
        let Some(turn) = self.turn.take() else { return };
        let outcome = match answer {
            Err(failed) if failed.is_of_the_store() => Outcome::Failed,
            _ => Outcome::Answered { took },
        };
        lock(self.outage).settle(&turn, outcome, Instant::now(), rand::random());
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            lock(self.outage).give_up(&turn);
        }
    }
}

impl<'a> Demand<'a> {
    /// Of a request that costs 1.
    pub fn new(rule: &'a Rule, subject: &'a Subject) -> Self {
        Self { rule, subject, cost: 1, shadow: false }
    }

    /// Of one that costs so much.
    #[must_use]
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost.max(1);
        self
    }

    /// Only to see what it would do: its refusal stops nothing.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    fn item(&self, follows: bool) -> Item {
        let Self { rule, subject, cost, shadow } = *self;
        let want = Want::Grant { ask: Ask::one(cost), follows, shadow };
        Item { limit: rule.limit(subject), want }
    }
}

fn allowed(answer: &Answer, ticket: Ticket) -> Decision {
    let reset_after = Duration::from_micros(answer.reset_after);
    Decision::Allowed(Allowed { remaining: answer.remaining, reset_after, ticket })
}

fn refused(rule: &Rule, cost: u64, answer: &Answer, source: Source) -> Result<Decision, LimitError> {
    if answer.next_after == Answer::NEVER {
        return Err(above(rule, cost));
    }
    Ok(Decision::Denied(Denied {
        source,
        remaining: answer.remaining,
        retry_after: Duration::from_micros(answer.next_after),
        reset_after: Duration::from_micros(answer.reset_after),
    }))
}

fn above(rule: &Rule, cost: u64) -> LimitError {
    let limit = match rule.algorithm() {
        Algorithm::Gcra { burst } => burst,
        _ => rule.quota().limit(),
    };
    LimitError::CostAboveLimit { rule: rule.name().clone(), cost, limit }
}

fn foreign(rule: &Rule, subject: &Subject) -> LimitError {
    LimitError::ForeignKey { rule: rule.name().clone(), key: rule.key(subject) }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}
