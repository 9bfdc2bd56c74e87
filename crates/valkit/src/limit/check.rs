//! `valkit limit check`

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use valkey_ratelimit::{Allowed, Decision, Demand, Denied, OnUnavailable, Rule, Source, Subject};

use super::{Whom, limiter, millis, rules::Origin};
use crate::{context::Context, exit::Exit, failure::Failure, table::Column, text};

const EXAMPLES: &str = "\
Asks as a program does that has the rule, and charges the same count. With several rules, all are charged or none: if one \
refuses, all are denied, and the table says which of them refuse and which would have had room. What \
the rule says of outages is for programs that serve somebody: here the exit code is 5.

Exit codes: 0 allowed, 6 denied, 5 server not reachable, 4 no such rule, 1 all else, also a user whom the server refuses.

Examples:
  valkit limit check per-ip 192.0.2.7 --rules rules.toml
  valkit limit check per-ip,per-net 192.0.2.7 -o json
  valkit limit check --quota 5/1h --name backup nightly >/dev/null && ./backup.sh";

#[derive(Args)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub(crate) struct Arguments {
    /// A rule of the file; several, separated by commas
    rule: Option<String>,
    #[command(flatten)]
    whom: Whom,
    /// What the request costs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    cost: u64,
    #[command(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Told {
    rule: String,
    subject: String,
    cost: u64,
    decision: &'static str,
    /// Whether it is this rule that refuses: of several, all are denied if one does.
    refuses: bool,
    source: &'static str,
    /// Unknown to who decides without the store.
    remaining: Option<u64>,
    retry_after_ms: u64,
    reset_after_ms: Option<u64>,
    /// The network of the subject that has used up what it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

/// Of several rules, which of them refuses.
const COLUMNS: [Column<Told>; 7] = [
    Column::left("RULE", |told| told.rule.clone()),
    Column::left("DECISION", |told| told.word().to_owned()),
    Column::left("SUBJECT", |told| told.network.as_ref().unwrap_or(&told.subject).clone()),
    Column::left("SOURCE", |told| told.source.to_owned()),
    Column::right("REMAINING", |told| told.remaining.map_or_else(unknown, |count| count.to_string())),
    Column::right("RETRY AFTER", Told::retry_after),
    Column::right("RESET AFTER", |told| told.reset_after_ms.map_or_else(unknown, time)),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { rule, whom, cost, origin } = arguments;
    let strict = |rule: Rule| rule.with_on_unavailable(OnUnavailable::Deny);
    let rules: Vec<Rule> = origin.rules(rule.as_deref(), context)?.into_iter().map(strict).collect();
    let subject = whom.subject()?;
    let decisions =
        ask(&rules, &subject, cost, context).await.map_err(|failure| Failure::Unasked(failure.into()))?;
    let denied = decisions.iter().any(|decision| !decision.is_allowed());
    let told: Vec<Told> = rules
        .iter()
        .zip(decisions)
        .map(|(rule, decision)| Told::of(rule.name().as_str(), subject.as_str(), cost, decision))
        .collect();
    let shown = match &told[..] {
        [told] => context.output.object(told, || told.text(context)),
        told => context.output.list(&COLUMNS, told),
    };
    if denied {
        // Also if nobody reads it: the code is what scripts go by.
        return Ok(Exit::Denied);
    }
    shown?;
    Ok(Exit::Ok)
}

async fn ask(
    rules: &[Rule],
    subject: &Subject,
    cost: u64,
    context: &Context,
) -> Result<Vec<Decision>, Failure> {
    let limiter = limiter(context).await?;
    Ok(match rules {
        [rule] => vec![limiter.check(rule, subject, cost).await?],
        rules => {
            let demands: Vec<_> = rules.iter().map(|rule| Demand::new(rule, subject).cost(cost)).collect();
            limiter.check_all(&demands).await?
        }
    })
}

impl Told {
    fn of(rule: &str, subject: &str, cost: u64, decision: Decision) -> Self {
        let (rule, subject) = (rule.to_owned(), subject.to_owned());
        match decision {
            Decision::Allowed(Allowed { source, remaining, reset_after, .. }) => {
                let known = matches!(source, Source::Store | Source::Memory | Source::Lease | Source::Local);
                Self {
                    rule,
                    subject,
                    cost,
                    decision: "allowed",
                    refuses: false,
                    source: source.as_str(),
                    remaining: known.then_some(remaining),
                    retry_after_ms: 0,
                    reset_after_ms: known.then(|| millis(reset_after)),
                    network: None,
                }
            }
            Decision::Denied(denied) => {
                let refuses = denied.refuses();
                let Denied { source, remaining, retry_after, reset_after, subject: by, .. } = denied;
                Self {
                    network: (by.as_str() != subject).then(|| by.as_str().to_owned()),
                    rule,
                    subject,
                    cost,
                    decision: "denied",
                    refuses,
                    source: source.as_str(),
                    remaining: Some(remaining),
                    retry_after_ms: millis(retry_after),
                    reset_after_ms: Some(millis(reset_after)),
                }
            }
        }
    }

    /// What it is told of among several.
    fn word(&self) -> &'static str {
        match (self.decision, self.refuses) {
            ("denied", true) => "refuses",
            ("denied", false) => "has room",
            (decision, _) => decision,
        }
    }

    fn retry_after(&self) -> String {
        if self.refuses { time(self.retry_after_ms) } else { unknown() }
    }

    fn text(&self, context: &Context) -> String {
        let mut pairs = vec![
            ("rule", self.rule.clone()),
            ("subject", self.subject.clone()),
            ("decision", self.decision.to_owned()),
            ("source", self.source.to_owned()),
            ("remaining", self.remaining.map_or_else(unknown, |count| count.to_string())),
            ("retry after", self.retry_after()),
            ("reset after", self.reset_after_ms.map_or_else(unknown, time)),
        ];
        if let Some(network) = &self.network {
            pairs.push(("network", network.clone()));
        }
        context.output.pairs(&pairs)
    }
}

fn unknown() -> String {
    "-".to_owned()
}

fn time(ms: u64) -> String {
    text::duration(Duration::from_millis(ms))
}
