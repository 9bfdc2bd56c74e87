//! `valkit dead purge Q`

use valkey_admin::Execution;
use valkey_envelope::QueueName;

use super::{Done, Which, explain_nothing};
use crate::{confirm::Guard, context::Context, exit::Exit, failure::Failure, text::counted};

const EXAMPLES: &str = "\
Examples:
  valkit dead purge user-registrations --reason expired --dry-run
  valkit dead purge user-registrations --until 30d --yes
  valkit dead purge user-registrations ID1 ID2 --yes";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    guard: Guard,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { queue, which, guard } = arguments;
    let selection = which.selection()?;
    let admin = context.admin().await?;
    let found = admin.purge_dead(&queue, &selection, Execution::DryRun, |_| ()).await?;
    if found.done() == 0 && found.failed.is_none() {
        explain_nothing(&admin, &queue, context).await?;
    }
    if guard.dry_run || found.done() == 0 {
        return Done::finish(queue, guard.dry_run, &found, "dead letters to remove", context);
    }
    let what = format!("This removes {} of queue {queue} for good", counted(found.done(), "dead letter"));
    guard.confirm(&what, queue.as_str())?;
    let tally = admin.purge_dead(&queue, &selection, Execution::Run, |_| ()).await?;
    Done::finish(queue, false, &tally, "dead letters removed", context)
}
