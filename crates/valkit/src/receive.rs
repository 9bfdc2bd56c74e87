//! `valkit receive QUEUE...`

mod exec;
mod hints;
mod print;
mod tee;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
    time::timeout,
};
use valkey_admin::Admin;
use valkey_connection::Connection;
use valkey_envelope::QueueName;
use valkey_receiver::{Delivery, Outcome, Receiver, SettleError};

use crate::{context::Context, exit::Exit, failure::Failure, stop::Stop};

const EXAMPLES: &str = "\
Without --exec every message is printed as a line of JSON and acked once it is written. With --exec a shell runs CMD for \
each: the payload is on its stdin, its output is ours, and its exit code decides: 0 ack, 65 dead letter, 75 and any other \
retry. The last line of its stderr is kept with a dead letter. 126 and 127 are the shell's word that CMD cannot be run: then \
no attempt is counted, everything goes back, and this ends with exit code 2; a program that ends so by itself does the same. \
VALKIT_QUEUE, VALKIT_ID, VALKIT_KIND, VALKIT_LANE, VALKIT_ATTEMPT, VALKIT_CRASHES, VALKIT_TIMESTAMP and \
VALKIT_HEADERS (a JSON object) tell about the message.

SIGINT and SIGTERM take nothing new and finish what is running; a second one gives up on it. What was fetched and not \
begun goes back uncounted. A lost lease kills its program: another consumer has the message.

Examples:
  valkit receive user-registrations --count 1
  valkit receive user-registrations --idle-exit 5s > all.ndjson
  valkit receive user-registrations --concurrency 4 --exec 'curl -fsS -d @- http://api/register'";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queues
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<QueueName>,
    /// Stop after so many messages
    #[arg(long, short = 'n')]
    count: Option<NonZeroUsize>,
    /// Messages worked on at the same time
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    concurrency: NonZeroUsize,
    /// Stop when nothing came for this long
    #[arg(long, value_name = "DURATION", value_parser = valkey_config::parse_duration)]
    idle_exit: Option<Duration>,
    /// How long messages stay ours when we die [default: `VALKEY_LEASE`, else 15s]
    #[arg(long, value_name = "DURATION", value_parser = valkey_config::parse_duration)]
    lease: Option<Duration>,
    /// Run this with `sh -c` for every message
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
}

/// What came of it, as far as the receiver's own books do not say it.
#[derive(Default)]
struct Served {
    /// Messages that could not be settled.
    unsettled: u64,
    /// Messages put back because nothing could be done with any; the books have them among the retried.
    put_back: u64,
    /// Deliveries of messages whose consumer had died with them.
    reclaimed: u64,
    /// Whether it ended because nothing came.
    idle: bool,
}

/// What is done with a message.
#[derive(Clone)]
enum Work {
    Exec(Arc<str>),
    Print,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let stop = Stop::listen()?;
    let settings = context.settings()?;
    let connection = Connection::connect(&settings.connection).await?;
    let mut receiver = settings.receiver;
    if let Some(lease) = arguments.lease {
        receiver = receiver.lease(lease);
    }
    // No more is fetched than will be worked on: what others could do must not wait here.
    let prefetch = receiver.prefetch.min(arguments.count.unwrap_or(NonZeroUsize::MAX)).min(
        arguments.concurrency.saturating_mul(
            NonZeroUsize::new(if arguments.exec.is_some() { 1 } else { 64 }).unwrap_or(NonZeroUsize::MIN),
        ),
    );
    receiver = receiver.prefetch(prefetch).max_concurrent_messages(arguments.concurrency);
    let mut builder = Receiver::builder(&connection).settings(receiver);
    for queue in &arguments.queues {
        builder = builder.queue(queue.clone());
    }
    let receiver = builder.start().await?;
    let work = arguments.exec.as_deref().map_or(Work::Print, |command| Work::Exec(command.into()));

    let admin = Admin::new(connection);
    hints::paused(&admin, &arguments.queues, context).await;
    let mut served = Served::default();
    let result = serve(&receiver, &arguments, work, &stop, &mut served).await;
    let drained = receiver.drain().await?;
    // The receiver's own books: what a program said is not yet what became of the message, since a last retry is a dead
    // letter, and some never reach a program.
    let put_back = served.put_back.min(drained.retried);
    let reclaimed = match served.reclaimed {
        0 => String::new(),
        count => format!(", reclaimed from dead consumers {count}"),
    };
    context.say(&format!(
        "acked {}, retried {}, dead {}, handed back {}{reclaimed}",
        drained.acked,
        drained.retried - put_back,
        drained.dead,
        drained.handed_back + put_back
    ));
    result?;
    if served.idle {
        hints::held_by_others(&admin, &arguments.queues, context).await;
    }
    if served.unsettled > 0 || drained.uncertain > 0 {
        let count = served.unsettled.max(drained.uncertain);
        return Err(Failure::Partial(format!(
            "{count} messages could not be settled; they will be delivered again"
        )));
    }
    Ok(Exit::Ok)
}

/// Works until it is enough.
async fn serve(
    receiver: &Receiver,
    arguments: &Arguments,
    work: Work,
    stop: &Stop,
    served: &mut Served,
) -> Result<(), Failure> {
    let places = Arc::new(Semaphore::new(arguments.concurrency.get()));
    let mut running = JoinSet::new();
    let mut left = arguments.count.map_or(usize::MAX, NonZeroUsize::get);
    let idle = arguments.idle_exit.unwrap_or(Duration::MAX);
    let mut broken = None;
    while left > 0 && broken.is_none() {
        let place = tokio::select! {
            biased;
            () = stop.drain.cancelled() => break,
            Some(done) = running.join_next() => {
                broken = note(done, served);
                continue;
            }
            place = Arc::clone(&places).acquire_owned() => place.map_err(|_| Failure::Failed("closed".into()))?,
        };
        let next = tokio::select! {
            () = stop.drain.cancelled() => break,
            next = timeout(idle, receiver.recv()) => next,
            Some(done) = running.join_next() => {
                broken = note(done, served);
                continue;
            }
        };
        match next {
            Ok(Some(delivery)) => {
                left -= 1;
                served.reclaimed += u64::from(delivery.crashes() > 0);
                let (work, stop) = (work.clone(), stop.clone());
                running.spawn(async move {
                    let result = one(delivery, work, &stop).await;
                    drop(place);
                    result
                });
            }
            Ok(None) => break,
            Err(_) if running.is_empty() => {
                served.idle = true;
                break;
            }
            // Somebody still works: that is not idle.
            Err(_) => {}
        }
    }
    while let Some(done) = running.join_next().await {
        broken = broken.or(note(done, served));
    }
    broken.map_or(Ok(()), Err)
}

/// Works on one message and settles it.
async fn one(delivery: Delivery, work: Work, stop: &Stop) -> Result<Result<(), SettleError>, Failure> {
    let (outcome, failure) = match work {
        Work::Print => match print::print(&delivery) {
            Ok(()) => (Outcome::ack(), None),
            // Nobody has read it, and nobody will: it goes back, and we stop.
            Err(failure) => (Outcome::snooze(Duration::ZERO), Some(failure)),
        },
        Work::Exec(command) => match exec::exec(&delivery, &command, &stop.now).await {
            Ok(outcome) => (outcome, None),
            Err(failure) => (Outcome::snooze(Duration::ZERO), Some(failure)),
        },
    };
    let settled = tokio::select! {
        settled = delivery.outcome(outcome) => settled,
        // A server that refuses to settle it must not hold up the end: it will be delivered again.
        () = stop.overdue() => Err(SettleError::Stopped),
    };
    match failure {
        Some(failure) => Err(failure),
        None => Ok(settled),
    }
}

/// Looks at a finished message; what is returned ends the verb.
fn note(
    done: Result<Result<Result<(), SettleError>, Failure>, JoinError>,
    served: &mut Served,
) -> Option<Failure> {
    match done {
        Ok(Ok(settled)) => served.unsettled += u64::from(settled.is_err()),
        Ok(Err(failure)) => {
            served.put_back += 1;
            return Some(failure);
        }
        Err(error) => return Some(Failure::Failed(format!("working on a message: {error}"))),
    }
    None
}
