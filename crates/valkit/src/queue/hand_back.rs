//! `valkit queue hand-back Q`

use valkey_admin::{Admin, Execution};
use valkey_envelope::QueueName;

use super::{Done, parts, places, refuse_dead};
use crate::{confirm::Guard, context::Context, exit::Exit, failure::Failure, text::counted};

const EXAMPLES: &str = "\
For leaving to plain BRPOP consumers: moves what they cannot see to the list queue:NAME, in the order in which it would \
have been taken. Failed attempts are added to `retries` of the envelope; no other byte changes. Messages of consumers \
whose lease is over are included; delayed ones become ready. Stop living consumers first: they keep what they hold.

Examples:
  valkit queue hand-back user-registrations --dry-run
  valkit queue hand-back user-registrations --yes
  valkit queue hand-back user-registrations --only in-flight --yes";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// Only these parts
    #[arg(long, value_name = "PART,...", value_delimiter = ',',
        value_parser = parts(["in-flight", "woken", "redo", "high", "low", "delayed"]))]
    only: Vec<String>,
    #[command(flatten)]
    guard: Guard,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { queue, only, guard } = arguments;
    refuse_dead(&only, &queue, "replay")?;
    let admin = context.admin().await?;
    let places = if only.is_empty() { Admin::HAND_BACK.to_vec() } else { places(&only) };
    let found = admin.hand_back(&queue, &places, Execution::DryRun, |_| ()).await?;
    let stats = admin.stats(&queue).await?;
    if !stats.exists && found.done() == 0 {
        return Err(Failure::no_queue(&queue));
    }
    let live = stats.consumers.iter().filter(|consumer| consumer.lease.is_live()).count();
    if live > 0 {
        context.hint(&format!(
            "{} alive: what they hold they keep, and what is handed back they take",
            counted(live, "consumer")
        ));
    }
    if guard.dry_run || found.done() == 0 {
        return Done::finish(queue, guard.dry_run, found, "messages to hand back", context);
    }
    let what = format!("This moves {} of queue {queue} to its public list", counted(found.done(), "message"));
    guard.confirm(&what, queue.as_str())?;
    let tally = admin.hand_back(&queue, &places, Execution::Run, |_| ()).await?;
    Done::finish(queue, false, tally, "messages handed back", context)
}
