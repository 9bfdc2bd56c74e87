//! `valkit limit peek`

use clap::Args;
use serde::Serialize;
use valkey_ratelimit::{Rule, Standing};

use super::{Whom, limiter, millis, rules::Origin};
use crate::{context::Context, exit::Exit, failure::Failure, text};

const EXAMPLES: &str = "\
Of an address with limits on its networks, too, it shows what is left of the tightest.

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
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { rule, whom, cost, origin } = arguments;
    let rule = origin.rule(rule.as_deref(), context)?;
    let subject = whom.subject();
    let standing = if rule.allows(&subject) {
        None
    } else {
        Some(limiter(context).await?.peek(&rule, &subject, cost).await?)
    };
    let told = Told::of(&rule, subject.as_str(), standing);
    context.output.object(&told, || {
        let unknown = || "-".to_owned();
        let time = |time: fn(&Standing) -> std::time::Duration| {
            standing.map_or_else(unknown, |standing| text::duration(time(&standing)))
        };
        let remaining = match standing {
            Some(standing) => standing.remaining.to_string(),
            None => "never limited: on the allow list".to_owned(),
        };
        context.output.pairs(&[
            ("rule", told.rule.clone()),
            ("subject", told.subject.clone()),
            ("quota", format!("{}, {}", told.quota, told.algorithm)),
            ("remaining", remaining),
            ("retry after", time(|standing| standing.retry_after)),
            ("reset after", time(|standing| standing.reset_after)),
        ])
    })?;
    Ok(Exit::Ok)
}

impl Told {
    fn of(rule: &Rule, subject: &str, standing: Option<Standing>) -> Self {
        Self {
            rule: rule.name().to_string(),
            subject: subject.to_owned(),
            quota: rule.quota().to_string(),
            algorithm: rule.algorithm().name(),
            allow_list: standing.is_none(),
            remaining: standing.map(|standing| standing.remaining),
            retry_after_ms: standing.map(|standing| millis(standing.retry_after)),
            reset_after_ms: standing.map(|standing| millis(standing.reset_after)),
        }
    }
}
