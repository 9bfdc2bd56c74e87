//! `valkit limit peek`

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use valkey_ratelimit::{Rule, Usage};

use super::{Whom, limiter, millis, rules::Origin};
use crate::{context::Context, exit::Exit, failure::Failure, table::Column, text};

const EXAMPLES: &str = "\
Of an address with limits on its networks, too, it shows what is left of the tightest, who refuses, and then each step.

Examples:
  valkit limit peek per-ip 192.0.2.7 --rules rules.toml
  valkit limit peek --quota 100/1m --algorithm sliding-log --name ip --prefix elemta:ratelimit: 172.20.0.1";

#[derive(Args)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub(crate) struct Arguments {
    /// A rule of the file
    rule: Option<String>,
    #[command(flatten)]
    whom: Whom,
    /// The cost of the request that `retry after` is about
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    cost: u64,
    #[command(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Told {
    rule: String,
    subject: String,
    quota: String,
    algorithm: &'static str,
    /// Whether the subject is on the rule's list of those who are never limited; nothing else is told then.
    allow_list: bool,
    remaining: Option<u64>,
    retry_after_ms: Option<u64>,
    reset_after_ms: Option<u64>,
    /// The step that refuses for longest, if one does.
    refused_by: Option<String>,
    /// The subject's own count, and then those of its networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    subject: String,
    used: u64,
    limit: u64,
    refuses: bool,
    retry_after_ms: u64,
    reset_after_ms: u64,
}

const COLUMNS: [Column<Step>; 6] = [
    Column::left("STEP", |step| step.subject.clone()),
    Column::right("USED", |step| step.used.to_string()),
    Column::right("LIMIT", |step| step.limit.to_string()),
    Column::left("DECISION", |step| if step.refuses { "refuses" } else { "has room" }.to_owned()),
    Column::right(
        "RETRY AFTER",
        |step| if step.refuses { time(step.retry_after_ms) } else { "-".to_owned() },
    ),
    Column::right("RESET AFTER", |step| time(step.reset_after_ms)),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { rule, whom, cost, origin } = arguments;
    let rule = origin.rule(rule.as_deref(), context)?;
    let subject = whom.subject()?;
    let steps = if rule.allows(&subject) {
        Vec::new()
    } else {
        limiter(context).await?.peek_each(&rule, &subject, cost).await?
    };
    let told = Told::of(&rule, subject.as_str(), steps);
    context.output.object(&told, || told.text(context))?;
    Ok(Exit::Ok)
}

impl Told {
    fn of(rule: &Rule, subject: &str, steps: Vec<Usage>) -> Self {
        let steps: Vec<Step> = steps.into_iter().map(Step::of).collect();
        let refused_by = steps.iter().filter(|step| step.refuses).max_by_key(|step| step.retry_after_ms);
        Self {
            rule: rule.name().to_string(),
            subject: subject.to_owned(),
            quota: rule.quota().to_string(),
            algorithm: rule.algorithm().name(),
            allow_list: steps.is_empty(),
            remaining: steps.iter().map(|step| step.limit - step.used).min(),
            retry_after_ms: steps.iter().map(|step| step.retry_after_ms).max(),
            reset_after_ms: steps.iter().map(|step| step.reset_after_ms).max(),
            refused_by: refused_by.map(|step| step.subject.clone()),
            steps,
        }
    }

    fn text(&self, context: &Context) -> String {
        let unknown = || "-".to_owned();
        let remaining = match self.remaining {
            Some(remaining) => remaining.to_string(),
            None => "never limited: on the allow list".to_owned(),
        };
        let mut pairs = vec![
            ("rule", self.rule.clone()),
            ("subject", self.subject.clone()),
            ("quota", format!("{}, {}", self.quota, self.algorithm)),
            ("remaining", remaining),
            ("retry after", self.retry_after_ms.map_or_else(unknown, time)),
            ("reset after", self.reset_after_ms.map_or_else(unknown, time)),
        ];
        if self.steps.len() < 2 {
            return context.output.pairs(&pairs);
        }
        pairs.push(("refused by", self.refused_by.clone().unwrap_or_else(|| "nobody".to_owned())));
        context.output.pairs(&pairs) + "\n" + &context.output.table(&COLUMNS, &self.steps)
    }
}

impl Step {
    fn of(usage: Usage) -> Self {
        let Usage { subject, used, limit, retry_after, reset_after, .. } = usage;
        let (retry_after_ms, reset_after_ms) = (millis(retry_after), millis(reset_after));
        Self { subject, used, limit, refuses: !retry_after.is_zero(), retry_after_ms, reset_after_ms }
    }
}

fn time(ms: u64) -> String {
    text::duration(Duration::from_millis(ms))
}
