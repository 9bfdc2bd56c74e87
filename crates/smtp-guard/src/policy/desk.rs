//! Who answers the questions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::time::timeout;
use tracing::field::display;
use tracing::{info, warn};
use valkey_ratelimit::{Decision, Demand, Denied, LimitError, Limiter, Source};

use crate::pace::Pace;
use crate::policy::answer::{Answer, Refused, Why};
use crate::policy::bill::{Asker, Bill, Charge, Limit};
use crate::policy::memory::Memory;
use crate::policy::request::Request;
use crate::settings::{Count, GuardSettings};
use crate::store::{Store, why};
use crate::telemetry;

/// How much longer than the limits an answer may take.
const MARGIN: Duration = Duration::from_millis(250);

/// Answers the questions of all connections.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Those of the settings file, as it becomes.
    limits: Arc<ArcSwap<Vec<Limit>>>,
    memory: Memory,
    store: Store,
    check_timeout: Duration,
    refusals: Pace,
    troubles: Pace,
}

/// What came of asking the limits.
enum Asked {
    Decided(Vec<Decision>),
    Failed(LimitError),
    /// There is no store yet, or no answer although it was waited for long enough.
    Silent,
}

impl Desk {
    pub(crate) fn new(settings: &GuardSettings, limits: Arc<ArcSwap<Vec<Limit>>>, store: Store) -> Self {
        let GuardSettings { policy, gate, .. } = settings;
        let memory = Memory::new(policy.remember, policy.max_remembered.get(), Instant::now());
        let check_timeout = gate.check_timeout;
        Self { limits, memory, store, check_timeout, refusals: Pace::new(50), troubles: Pace::new(5) }
    }

    /// Answers one question, within the timeout of the limits and [`MARGIN`] whatever happens.
    pub(crate) async fn answer(&self, request: &Request, asker: Asker) -> Answer {
        let begun = Instant::now();
        let limits = self.limits.load_full();
        let bill = Bill::of(&limits, request, asker, &self.memory, begun);
        let answer = if bill.charges.is_empty() {
            Answer::Dunno(Why::Nothing)
        } else {
            let outcome = self.ask(&bill).await;
            telemetry::check_took(begun.elapsed());
            self.judge(&bill, request, outcome)
        };
        if matches!(answer, Answer::Dunno(_)) {
            bill.settled(&self.memory, Instant::now());
        }
        telemetry::policy_answered(&answer);
        answer
    }

    async fn ask(&self, bill: &Bill<'_>) -> Asked {
        let Some(limiter) = self.store.limiter() else { return Asked::Silent };
        match timeout(self.check_timeout + MARGIN, decide(limiter, &bill.charges)).await {
            Ok(Ok(decisions)) => Asked::Decided(decisions),
            Ok(Err(error)) => Asked::Failed(error),
            Err(_) => Asked::Silent,
        }
    }

    fn judge(&self, bill: &Bill<'_>, request: &Request, outcome: Asked) -> Answer {
        let decisions = match outcome {
            Asked::Decided(decisions) => decisions,
            Asked::Failed(LimitError::CostAboveLimit { rule, cost, limit }) => {
                if let Some(unsaid) = self.troubles.may_say(Instant::now()) {
                    let client = request.client.map(display);
                    warn!(%rule, cost, limit, client, unsaid, "a message has more recipients than its limit ever admits");
                }
                let over = bill.charges.iter().find(|charge| *charge.limit.rule.name() == rule);
                return over.map_or(Answer::Unavailable, |charge| refusal(charge, request, None));
            }
            Asked::Failed(error) => return self.without(bill, Some(&error)),
            Asked::Silent => return self.without(bill, None),
        };
        // Of several that are asked at once, those that would have had room say zero.
        let mut refused: Option<(&Charge<'_>, &Denied)> = None;
        let mut unchecked = false;
        for (charge, decision) in bill.charges.iter().zip(&decisions) {
            match decision {
                Decision::Denied(denied) => {
                    if refused.is_none_or(|(_, longest)| longest.retry_after < denied.retry_after) {
                        refused = Some((charge, denied));
                    }
                }
                Decision::Allowed(allowed) => {
                    if matches!(allowed.source, Source::Fallback | Source::Local) {
                        unchecked = true;
                        telemetry::fallback(charge.limit.rule.name().as_str());
                    }
                    if allowed.source == Source::Shadow {
                        self.say(charge, request, None, "would be refused, but the limit only counts");
                    }
                }
            }
        }
        let Some((charge, denied)) = refused else {
            return if unchecked { self.unchecked() } else { Answer::Dunno(Why::Room) };
        };
        self.say(charge, request, Some(denied.retry_after), "refused");
        refusal(charge, request, Some(denied.retry_after))
    }

    /// A line for the operator.
    fn say(&self, charge: &Charge<'_>, request: &Request, retry_after: Option<Duration>, what: &str) {
        let Some(unsaid) = self.refusals.may_say(Instant::now()) else { return };
        info!(
            rule = %charge.limit.rule.name(),
            subject = %charge.subject,
            retry_after = retry_after.map(|time| time.as_millis() as f64 / 1_000.0),
            client = request.client.map(display),
            sender = ?request.sender,
            instance = ?request.instance,
            unsaid,
            "{what}"
        );
    }

    fn unchecked(&self) -> Answer {
        self.store.note_unchecked();
        Answer::Dunno(Why::Fallback)
    }

    /// What is said when there is no decision: mail passes if all limits let it.
    fn without(&self, bill: &Bill<'_>, error: Option<&LimitError>) -> Answer {
        let denies = bill.charges.iter().any(Charge::denies);
        let answer = if denies { Answer::Unavailable } else { self.unchecked() };
        if !denies {
            bill.charges.iter().for_each(|charge| telemetry::fallback(charge.limit.rule.name().as_str()));
        }
        if let Some(unsaid) = self.troubles.may_say(Instant::now()) {
            let reason = error.map_or_else(|| "it does not answer".to_owned(), why);
            // Of several limits an error names the first, whatever that one says of outages.
            let rule = bill.charges.iter().find(|charge| charge.denies()).or(bill.charges.first());
            let rule = rule.map(|charge| display(charge.limit.rule.name()));
            warn!(rule, %reason, answer = answer.as_str(), unsaid, "answered without the limits");
        }
        answer
    }
}

/// One question to the limits, for all charges or none.
async fn decide<'a>(limiter: &Limiter, charges: &'a [Charge<'_>]) -> Result<Vec<Decision>, LimitError> {
    // One alone travels together with those of other questions.
    if let [charge] = charges {
        return Ok(vec![limiter.check(&charge.limit.rule, &charge.subject, charge.cost).await?]);
    }
    let demand = |charge: &'a Charge<'_>| Demand::new(&charge.limit.rule, &charge.subject).cost(charge.cost);
    let demands: Vec<Demand<'a>> = charges.iter().map(demand).collect();
    limiter.check_all(&demands).await
}

fn refusal(charge: &Charge<'_>, request: &Request, retry_after: Option<Duration>) -> Answer {
    let limit = charge.limit;
    let refused =
        Refused { rule: limit.rule.name().clone(), per: limit.per, client: request.client, retry_after };
    match limit.count {
        Count::Message => Answer::TooMuchMail(refused),
        Count::Recipient => Answer::TooManyRecipients(refused),
    }
}
