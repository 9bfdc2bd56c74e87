//! `valkit queue ls`

use std::time::Duration;

use indicatif::ProgressBar;
use valkey_admin::QueueStats;

use crate::{
    context::{Context, is_interactive},
    exit::Exit,
    failure::Failure,
    table::Column,
    text::{self, counted},
};

const EXAMPLES: &str = "\
Finds queues by walking all keys of every primary (SCAN), which never blocks the server.

Examples:
  valkit queue ls
  valkit queue ls -o ndjson | jq 'select(.dead > 0) | .queue'";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Only queues whose name contains this
    filter: Option<String>,
}

const COLUMNS: [Column<QueueStats>; 8] = [
    Column::left("QUEUE", |stats| stats.queue.to_string()),
    Column::right("READY", |stats| stats.ready.total().to_string()),
    Column::right("DELAYED", |stats| stats.delayed.to_string()),
    Column::right("IN FLIGHT", |stats| stats.in_flight.to_string()),
    Column::right("DEAD", |stats| stats.dead.to_string()),
    Column::right("CONSUMERS", |stats| {
        stats.consumers.iter().filter(|c| c.lease.is_live()).count().to_string()
    }),
    Column::right("OLDEST", |stats| text::optional(stats.oldest.ready)),
    Column::left("STATE", state),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    let spinner = if is_interactive() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let catalog = admin
        .queues(|progress| {
            spinner.set_message(format!("{} queues in {} pages", progress.queues, progress.pages));
        })
        .await;
    spinner.finish_and_clear();
    let catalog = catalog?;
    let wanted = |name: &str| arguments.filter.as_deref().is_none_or(|filter| name.contains(filter));
    let queues: Vec<_> = catalog.queues.iter().filter(|queue| wanted(queue.as_str())).cloned().collect();

    let (mut rows, mut failed) = (Vec::new(), None);
    for stats in admin.stats_all(&queues).await {
        match stats {
            Ok(mut stats) => {
                let hashes = catalog.in_flight.get(&stats.queue).into_iter().flatten();
                match admin.strays_of(&stats.queue, hashes.map(String::as_str)).await {
                    Ok(strays) => stats.add_strays(strays),
                    Err(error) => failed = Some(error),
                }
                rows.push(stats);
            }
            Err(error) => failed = Some(error),
        }
    }
    if rows.is_empty()
        && let Some(error) = failed
    {
        return Err(error.into());
    }
    context.output.list(&COLUMNS, &rows)?;
    if queues.is_empty() {
        context.hint("no queue has a key on this server; an empty queue leaves none behind");
    }
    if catalog.unnameable > 0 {
        context.hint(&format!(
            "{} like a queue's, but with a name that we do not accept",
            counted(catalog.unnameable, "key")
        ));
    }
    if catalog.one_of_cluster {
        context.hint(
            "this is one node of a cluster: with VALKEY_MODE=cluster the queues of all nodes are shown",
        );
    }
    if catalog.truncated {
        context.hint("the server has too many keys to look at all of them: there may be more queues");
    }
    match failed {
        Some(error) => Err(Failure::Partial(format!("not every queue could be read: {error}"))),
        None if catalog.truncated => Ok(Exit::Partial),
        None => Ok(Exit::Ok),
    }
}

fn state(queue: &QueueStats) -> String {
    let full = queue.limits.max_length.is_some_and(|limit| queue.ready.total() + queue.delayed >= limit);
    let marks = [
        (!queue.squatters.is_empty(), "foreign key"),
        (!queue.strays.is_empty(), "strays"),
        (!queue.odd_limits.is_empty(), "odd limit"),
        (queue.list_expires_in.is_some(), "expires"),
        (queue.paused, "paused"),
        (full, "full"),
    ];
    let on: Vec<&str> = marks.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    if on.is_empty() { "ok".to_owned() } else { on.join(", ") }
}
