//! `valkit limit top`

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use valkey_ratelimit::{Survey, Usage};

use super::{limiter, millis, rules::Origin};
use crate::{
    context::{Context, is_interactive},
    exit::Exit,
    failure::Failure,
    table::Column,
    text::{self, counted},
};

const EXAMPLES: &str = "\
Finds the keys of the rules by walking all keys of every primary (SCAN), which never blocks the server, and looks at each, \
which charges nothing. Also at the sorted sets of programs that are not ours. A subject that begins with # stands for a long \
text; the other verbs take the text itself.

Examples:
  valkit limit top --rules rules.toml
  valkit limit top per-ip --most 100 -o ndjson | jq 'select(.share >= 1) | .subject'
  valkit limit top --quota 100/1m --algorithm sliding-log --name ip --prefix elemta:ratelimit:";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A rule of the file, several separated by commas [default: all of them]
    rule: Option<String>,
    /// So many subjects
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    most: u32,
    #[command(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Row {
    rule: String,
    subject: String,
    used: u64,
    limit: u64,
    share: f64,
    retry_after_ms: u64,
    reset_after_ms: u64,
}

const COLUMNS: [Column<Row>; 7] = [
    Column::left("RULE", |row| row.rule.clone()),
    Column::left("SUBJECT", |row| row.subject.clone()),
    Column::right("USED", |row| row.used.to_string()),
    Column::right("LIMIT", |row| row.limit.to_string()),
    Column::right("SHARE", |row| format!("{:.0}%", row.share * 100.0)),
    Column::right("RETRY AFTER", |row| {
        if row.retry_after_ms == 0 { "-".to_owned() } else { time(row.retry_after_ms) }
    }),
    Column::right("RESET AFTER", |row| time(row.reset_after_ms)),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { rule, most, origin } = arguments;
    let rules = match rule.as_deref() {
        Some(names) => origin.rules(Some(names), context)?,
        None => origin.all(context)?,
    };
    let limiter = limiter(context).await?;
    let spinner = if is_interactive() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let (mut rows, mut subjects, mut foreign, mut complete) = (Vec::new(), 0, 0, true);
    for rule in &rules {
        let name = rule.name();
        let survey = limiter.survey(rule, most as usize, |surveyed| {
            spinner.set_message(format!(
                "{name}: {} in {} pages",
                counted(surveyed.subjects as u64, "subject"),
                surveyed.pages
            ));
        });
        let Survey { nearest, subjects: counted, foreign: others, complete: whole, .. } = survey.await?;
        rows.extend(nearest.into_iter().map(|usage| Row::of(name.as_str(), usage)));
        subjects += counted;
        foreign += others;
        complete &= whole;
    }
    spinner.finish_and_clear();
    // Of equals, those who wait longer.
    rows.sort_by(|a, b| b.share.total_cmp(&a.share).then(b.retry_after_ms.cmp(&a.retry_after_ms)));
    rows.truncate(most as usize);
    context.output.list(&COLUMNS, &rows)?;
    if rules.is_empty() {
        context.hint("the file has no rules: each is a table [rules.NAME]");
    } else if subjects == 0 {
        context.hint("nobody is counted under these rules; are the name and the prefix those of the keys?");
    } else if subjects > rows.len() {
        context.hint(&format!(
            "{} of {}; --most N shows more",
            rows.len(),
            counted(subjects as u64, "subject")
        ));
    }
    if foreign > 0 {
        context.hint(&format!(
            "{} like a subject's, but with something else in it: counted by another algorithm, or not by a limit",
            counted(foreign as u64, "key")
        ));
    }
    if !complete {
        context.hint("the server has too many keys to look at all of them: others may be nearer to a limit");
        return Ok(Exit::Partial);
    }
    Ok(Exit::Ok)
}

impl Row {
    fn of(rule: &str, usage: Usage) -> Self {
        let Usage { subject, used, limit, retry_after, reset_after, .. } = usage;
        let share = used as f64 / limit.max(1) as f64;
        let (retry_after_ms, reset_after_ms) = (millis(retry_after), millis(reset_after));
        Self { rule: rule.to_owned(), subject, used, limit, share, retry_after_ms, reset_after_ms }
    }
}

fn time(ms: u64) -> String {
    text::duration(Duration::from_millis(ms))
}
