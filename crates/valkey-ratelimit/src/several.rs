//! Several limits asked at once.

use std::time::{Duration, Instant};

use crate::algorithm::{Answer, Ask};
use crate::decision::{Allowed, Charges, Decision, Denied, Source, Ticket};
use crate::error::LimitError;
use crate::limiter::{Limiter, above, allowed, foreign, locally, refused};
use crate::rule::Rule;
use crate::scripts::{Charge, Item, Limit, MAX_ITEMS, Want};
use crate::subject::Subject;
use crate::unavailable::OnUnavailable;

impl Denied {
    /// Whether this limit itself refuses. If not, it had room as far as it was asked, and was charged nothing because
    /// [another](Limiter::check_all) of those it was asked with refuses.
    #[must_use]
    pub fn refuses(&self) -> bool {
        !self.retry_after.is_zero()
    }
}

/// One limit among several that are asked together.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) subject: &'a Subject,
    pub(crate) cost: u64,
    shadow: bool,
}

impl<'a> Demand<'a> {
    /// Of a request that costs 1.
    pub fn new(rule: &'a Rule, subject: &'a Subject) -> Self {
        Self { rule, subject, cost: 1, shadow: rule.is_shadow() }
    }

    /// Of one that costs so much.
    #[must_use]
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost.max(1);
        self
    }

    /// Only to see what it would do: it is charged as far as it has room, and its refusal stops nothing.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }
}

/// One count that a demand is charged to.
pub(crate) struct Step<'a> {
    rule: &'a Rule,
    subject: Subject,
    pub(crate) limit: Limit,
    cost: u64,
    shadow: bool,
}

impl<'a> Step<'a> {
    /// The subject's own, and then those of its networks; none of whom is never limited, nor of a shadow's subject that is nobody.
    fn all(demand: &Demand<'a>) -> Vec<Self> {
        let Demand { rule, subject, cost, shadow } = *demand;
        if rule.allows(subject) || subject.is_nobody() {
            return Vec::new();
        }
        let counted = rule.counted_as(subject, Instant::now());
        let own = (counted.clone().into_owned(), rule.limit(&counted));
        std::iter::once(own)
            .chain(rule.networks(subject))
            .map(|(subject, limit)| Self { rule, subject, limit, cost, shadow })
            .collect()
    }

    fn item(&self, follows: bool) -> Item {
        let want = Want::Grant { ask: Ask::one(self.cost), follows, shadow: self.shadow };
        Item { limit: self.limit.clone(), want }
    }
}

/// What is known of one step.
enum Known {
    Charged(Answer, Charge),
    Refused(Answer, Source),
    Foreign,
    /// Another is known to refuse; this one was not asked.
    NotAsked,
}

impl Limiter {
    /// Charges all of several limits, or none: one decision for each, in their order. If one refuses, so do all; those that would
    /// have had room say so ([`Denied::refuses`]). A [shadow](Demand::shadow) is charged as far as it has room, and is in
    /// nobody's way.
    ///
    /// They are charged in one step, unless a cluster keeps them on different nodes: those of one subject are on one, but for
    /// sorted sets ([`Algorithm::SlidingLog`](crate::Algorithm::SlidingLog)). Then what one node charged is given back when
    /// another refuses, so that for a moment less is admitted than could be; never more.
    ///
    /// # Errors
    /// As [`check`](Self::check), when the rule of one that is no shadow says so; also when one limit is named twice, or more
    /// than 64.
    ///
    /// # Cancel safety
    /// As [`check`](Self::check).
    pub async fn check_all(&self, demands: &[Demand<'_>]) -> Result<Vec<Decision>, LimitError> {
        let decisions = self.decide_all(demands).await;
        match &decisions {
            Ok(decisions) => {
                for (demand, decision) in demands.iter().zip(decisions) {
                    demand.rule.count(decision);
                }
            }
            Err(error) => demands.iter().for_each(|demand| demand.rule.count_undecided(error)),
        }
        decisions
    }

    async fn decide_all(&self, demands: &[Demand<'_>]) -> Result<Vec<Decision>, LimitError> {
        let Some(first) = demands.first() else { return Ok(Vec::new()) };
        for demand in demands.iter().filter(|demand| !demand.shadow) {
            demand.rule.accepts(demand.subject)?;
        }
        let ladders: Vec<Vec<Step<'_>>> = demands.iter().map(Step::all).collect();
        let steps: Vec<&Step<'_>> = ladders.iter().flatten().collect();
        if steps.is_empty() {
            return Ok(demands.iter().map(nothing_to_ask).collect());
        }
        let twice = steps
            .iter()
            .enumerate()
            .any(|(at, step)| steps[..at].iter().any(|other| other.limit.key == step.limit.key));
        if twice || steps.len() > MAX_ITEMS {
            return Err(LimitError::Demands { rule: first.rule.name().clone(), most: MAX_ITEMS });
        }
        let mut known = match self.ask_all(first.rule, &steps).await {
            Ok(known) => known.into_iter(),
            Err(error) if error.is_unavailable() => return self.without_the_store(demands, &ladders, &error),
            Err(error) => return Err(error),
        };
        let decide = |(demand, ladder): (&Demand<'_>, &Vec<Step<'_>>)| {
            if ladder.is_empty() {
                return Ok(nothing_to_ask(demand));
            }
            let decision = fold(ladder, known.by_ref().take(ladder.len()));
            if demand.shadow { Ok(in_nobodys_way(decision)) } else { decision }
        };
        demands.iter().zip(&ladders).map(decide).collect()
    }

    async fn ask_all(&self, rule: &Rule, steps: &[&Step<'_>]) -> Result<Vec<Known>, LimitError> {
        let asked = Instant::now();
        let refusal = |step: &&Step<'_>| self.memory.refusal(&step.limit, step.cost, asked);
        if steps.iter().filter(|step| !step.shadow).any(|step| refusal(step).is_some()) {
            let recall =
                |step| refusal(step).map_or(Known::NotAsked, |answer| Known::Refused(answer, Source::Memory));
            return Ok(steps.iter().map(recall).collect());
        }
        let items = steps.iter().enumerate().map(|(at, step)| step.item(at > 0)).collect();
        let answers = self.in_time(rule, self.combiner.call_each(items)).await?;
        let mut known: Vec<Known> = steps
            .iter()
            .zip(answers)
            .map(|(step, (nonce, answer))| {
                let Some(answer) = answer else { return Known::Foreign };
                self.memory.note(&step.limit, step.cost, &answer, asked);
                match answer.granted {
                    0 => Known::Refused(answer, Source::Store),
                    _ => Known::Charged(answer, Charge { nonce, mark: answer.mark }),
                }
            })
            .collect();
        self.give_back_if_refused(rule, steps, &mut known).await;
        Ok(known)
    }

    /// On one server nothing was charged if one refuses; of several nodes of a cluster others may have charged.
    async fn give_back_if_refused(&self, rule: &Rule, steps: &[&Step<'_>], known: &mut [Known]) {
        let firm = || steps.iter().zip(known.iter()).filter(|(step, _)| !step.shadow);
        if firm().all(|(_, known)| matches!(known, Known::Charged(..))) {
            return;
        }
        let mut back = Vec::new();
        for (step, known) in steps.iter().zip(known).filter(|(step, _)| !step.shadow) {
            let Known::Charged(answer, charge) = known else { continue };
            let want = Want::GiveBack { charge: charge.clone(), amount: step.cost };
            back.push(Item { limit: step.limit.clone(), want });
            let remaining = answer.remaining + step.cost;
            *known =
                Known::Refused(Answer { granted: 0, remaining, next_after: 0, ..*answer }, Source::Store);
        }
        if !back.is_empty() {
            // If it does not get there, less is admitted, not more.
            let _ = self.in_time(rule, self.combiner.call_each(back)).await;
        }
    }

    /// Each as its rule says; all or none of those that are counted here.
    fn without_the_store(
        &self,
        demands: &[Demand<'_>],
        ladders: &[Vec<Step<'_>>],
        error: &LimitError,
    ) -> Result<Vec<Decision>, LimitError> {
        let denies = |step: &Step<'_>| !step.shadow && step.rule.on_unavailable() == OnUnavailable::Deny;
        if ladders.iter().flatten().any(denies) {
            return Err(error.clone());
        }
        let now = Instant::now();
        let mut charged = Vec::new();
        let mut decisions = Vec::with_capacity(demands.len());
        for (demand, ladder) in demands.iter().zip(ladders) {
            if ladder.is_empty() {
                decisions.push(nothing_to_ask(demand));
                continue;
            }
            let OnUnavailable::Local { nodes } = demand.rule.on_unavailable() else {
                decisions.push(Decision::Allowed(Allowed::by(Source::Fallback)));
                continue;
            };
            let answers: Vec<Answer> =
                ladder.iter().map(|step| self.fallback.ask(&step.limit, step.cost, nodes, now)).collect();
            charged.extend(
                ladder
                    .iter()
                    .zip(&answers)
                    .filter(|(_, answer)| answer.granted > 0)
                    .map(|(step, answer)| (&step.limit, step.cost, *answer, nodes, demand.shadow)),
            );
            let worst = ladder
                .iter()
                .zip(&answers)
                .max_by_key(|(_, answer)| (answer.granted == 0, answer.next_after));
            let decision = worst.map_or_else(
                || Ok(Decision::Allowed(Allowed::by(Source::Local))),
                |(step, answer)| locally(demand.rule, &step.subject, demand.cost, answer),
            );
            decisions.push(if demand.shadow { in_nobodys_way(decision) } else { decision? });
        }
        let refused = decisions.iter().any(|decision| !decision.is_allowed());
        if refused {
            for (limit, cost, answer, nodes, shadow) in charged {
                if !shadow {
                    self.fallback.give_back(limit, cost, &answer, nodes, now);
                }
            }
            for (decision, demand) in decisions.iter_mut().zip(demands) {
                if let Decision::Allowed(allowed) = decision
                    && !demand.shadow
                {
                    *decision =
                        Decision::Denied(not_this_one(demand.subject, allowed.source, allowed.remaining));
                }
            }
        }
        Ok(decisions)
    }
}

/// The decision on a demand that is charged to nobody.
fn nothing_to_ask(demand: &Demand<'_>) -> Decision {
    let is_allowed = demand.rule.allows(demand.subject);
    Decision::Allowed(Allowed::by(if is_allowed { Source::AllowList } else { Source::Shadow }))
}

/// The decision on all steps of a demand: if one refuses, the one that will for longest.
fn fold(ladder: &[Step<'_>], known: impl Iterator<Item = Known>) -> Result<Decision, LimitError> {
    let mut charges = Vec::new();
    let mut least: Option<Answer> = None;
    let mut denied: Option<Decision> = None;
    let retry_after = |decision: &Decision| match decision {
        Decision::Denied(denied) => denied.retry_after,
        Decision::Allowed(_) => Duration::ZERO,
    };
    for (step, known) in ladder.iter().zip(known) {
        let refusal = match known {
            Known::Charged(answer, charge) => {
                charges.push((step.limit.clone(), charge));
                if least.is_none_or(|least| answer.remaining < least.remaining) {
                    least = Some(answer);
                }
                continue;
            }
            Known::Refused(answer, source) => refused(step.rule, &step.subject, step.cost, &answer, source)?,
            Known::NotAsked => Decision::Denied(not_this_one(&step.subject, Source::Memory, 0)),
            Known::Foreign => return Err(foreign(step.rule, &step.limit)),
        };
        if denied.as_ref().is_none_or(|denied| retry_after(&refusal) > retry_after(denied)) {
            denied = Some(refusal);
        }
    }
    match (denied, least, ladder.first()) {
        (Some(denied), ..) => Ok(denied),
        (None, Some(answer), Some(step)) => {
            let charges = Charges::Several(charges);
            let ticket = Ticket { rule: step.rule.name().clone(), charges, amount: step.cost };
            Ok(allowed(&answer, ticket))
        }
        (None, _, Some(step)) => Err(above(step.rule, step.cost)),
        (None, _, None) => Ok(Decision::Allowed(Allowed::by(Source::AllowList))),
    }
}

fn not_this_one(subject: &Subject, source: Source, remaining: u64) -> Denied {
    let (retry_after, reset_after) = (Duration::ZERO, Duration::ZERO);
    Denied { source, remaining, retry_after, reset_after, subject: subject.clone() }
}

/// A shadow's refusal or mistake is told, and stops nothing.
pub(crate) fn in_nobodys_way(decision: Result<Decision, LimitError>) -> Decision {
    match decision {
        Ok(Decision::Denied(Denied { remaining, reset_after, .. })) => {
            Decision::Allowed(Allowed { remaining, reset_after, ..Allowed::by(Source::Shadow) })
        }
        Ok(decision) => decision,
        Err(_) => Decision::Allowed(Allowed::by(Source::Shadow)),
    }
}
