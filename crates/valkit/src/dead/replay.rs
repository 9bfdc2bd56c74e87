//! `valkit dead replay Q`

use valkey_admin::{Execution, ReplayTo};
use valkey_envelope::QueueName;

use super::{Done, Which, explain_nothing};
use crate::{context::Context, exit::Exit, failure::Failure};

const EXAMPLES: &str = "\
Puts the messages back as the bytes they were, into the lane they came from, oldest first, with a fresh count of \
attempts. Two replays at the same time never double a message. (Into another queue of a cluster a message is added \
first and removed then: an abort in between leaves it in both.)

Examples:
  valkit dead replay user-registrations --all --dry-run
  valkit dead replay user-registrations --reason max_attempts --since 2h
  valkit dead replay user-registrations ID1 ID2 --to repaired";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    #[command(flatten)]
    which: Which,
    /// Into another queue
    #[arg(long, value_name = "QUEUE")]
    to: Option<QueueName>,
    /// Count what would be replayed and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { queue, which, to, dry_run } = arguments;
    let selection = which.selection()?;
    let admin = context.admin().await?;
    let to = to.map_or(ReplayTo::Source, ReplayTo::Queue);
    let execution = if dry_run { Execution::DryRun } else { Execution::Run };
    let tally = admin.replay(&queue, &selection, &to, execution, |_| ()).await?;
    if tally.done() == 0 && tally.failed.is_none() {
        explain_nothing(&admin, &queue, context).await?;
    }
    Done::finish(
        queue,
        dry_run,
        &tally,
        if dry_run { "dead letters to replay" } else { "dead letters replayed" },
        context,
    )
}
