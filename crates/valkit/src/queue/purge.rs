//! `valkit queue purge Q`

use valkey_admin::Execution;
use valkey_envelope::QueueName;

use super::{Done, parts, places, refuse_dead};
use crate::{confirm::Guard, context::Context, exit::Exit, failure::Failure};

const EXAMPLES: &str = "\
Removes what is there when it begins, oldest first, not what arrives meanwhile. What consumers hold stays, and so do \
dead letters (valkit dead purge).

Examples:
  valkit queue purge user-registrations --only ready --dry-run
  valkit queue purge user-registrations --only delayed,low --yes";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// Which parts; `ready` is everything that can be taken now
    #[arg(long, value_name = "PART,...", required = true, value_delimiter = ',',
        value_parser = parts(["ready", "public", "high", "low", "woken", "redo", "delayed"]))]
    only: Vec<String>,
    #[command(flatten)]
    guard: Guard,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { queue, only, guard } = arguments;
    refuse_dead(&only, &queue, "purge")?;
    let admin = context.admin().await?;
    let places = places(&only);
    let found = admin.purge(&queue, &places, Execution::DryRun, |_| ()).await?;
    if found.done() == 0 {
        Failure::unless_there(&admin, &queue).await?;
    }
    if guard.dry_run || found.done() == 0 {
        return Done::finish(queue, guard.dry_run, found, "messages to remove", context);
    }
    let what =
        format!("This removes {} messages ({}) of queue {queue} for good", found.done(), only.join(", "));
    guard.confirm(&what, queue.as_str())?;
    let tally = admin.purge(&queue, &places, Execution::Run, |_| ()).await?;
    Done::finish(queue, false, tally, "messages removed", context)
}
