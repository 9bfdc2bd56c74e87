//! `valkit receive QUEUE...`

mod exec;
mod hints;
mod pen;
mod print;
mod tee;

use std::{io, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::timeout,
};
use valkey_admin::Admin;
use valkey_connection::Connection;
use valkey_envelope::QueueName;
use valkey_receiver::{Delivery, Outcome, Receiver, ReceiverHandle, SettleError};

use self::pen::Pen;
use crate::{context::Context, exit::Exit, failure::Failure, stop::Stop, text::counted};

const EXAMPLES: &str = "\
Without --exec every message is printed as a line of JSON and acked once it is written. With --exec a shell runs CMD for \
each: the payload is on its stdin, its output is ours, and its exit code decides: 0 ack, 65 dead letter, 75 and any other \
retry. The last line of its stderr is kept with a dead letter. 126 and 127 are the shell's word that CMD cannot be run: then \
no attempt is counted, everything goes back, and this ends with exit code 2; a program that ends so by itself does the same. \
Once nobody reads our output any more, a program that fails is not blamed either: everything goes back, and this ends, with \
exit code 0. \
VALKIT_QUEUE, VALKIT_ID, VALKIT_KIND, VALKIT_LANE, VALKIT_ATTEMPT, VALKIT_CRASHES, VALKIT_TIMESTAMP and \
VALKIT_HEADERS (a JSON object) tell about the message.

SIGINT and SIGTERM take nothing new and finish what is running; a second one kills it. What was killed so, or was fetched \
and not begun, goes back uncounted. A line that nobody reads holds up the end for VALKEY_DRAIN_TIMEOUT, or until the second \
signal. A lost lease kills its program: another consumer has the message.

If this dies itself (kill -9, out of memory), its programs live on, and once the lease is over their messages are run again \
beside them. On Linux `exec setpriv --pdeathsig KILL CMD` ends CMD with it, though not what CMD has started; `exec timeout 10 \
CMD`, with less than 3/4 of the lease, ends all of it before. Both need the `exec`, else the shell stands between.

Examples:
  valkit receive user-registrations --count 1
  valkit receive user-registrations --idle-exit 5s > all.ndjson
  valkit receive user-registrations --concurrency 4 --exec 'curl -fsS -d @- http://api/register'
  valkit receive user-registrations --exec 'exec setpriv --pdeathsig KILL ./create-account'";

/// How long a message waits, and its place, when there is no room for its program.
const NO_ROOM: Duration = Duration::from_secs(1);

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
    /// Messages put back because they were given up, or nothing could be done with any; the books have them among the
    /// retried.
    put_back: u64,
    /// Deliveries put off for want of room; the books have them among the retried as well.
    postponed: u64,
    /// Deliveries of messages whose consumer had died with them.
    reclaimed: u64,
    /// Whether it ended because nothing came.
    idle: bool,
}

/// What is done with a message.
#[derive(Clone)]
enum Work {
    /// What it says is passed on by this pen.
    Exec(Arc<str>, Pen),
    /// By this pen, for whom we have so much patience at the end.
    Print(Pen, Duration),
}

/// What is to become of a message.
enum Verdict {
    /// What its handling says.
    Settled(Outcome),
    /// It goes back uncounted: it was given up, or what went wrong is no fault of its own and ends the verb.
    Back(Option<Failure>),
    /// The system had no room for a program: the same, but a while later it may have.
    NoRoom(io::Error),
}

/// A message that is off our hands.
struct Done {
    settled: Result<(), SettleError>,
    put_back: bool,
    no_room: Option<io::Error>,
    failure: Option<Failure>,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self::Settled(outcome)
    }
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
    let patience = receiver.drain_timeout;
    let mut builder = Receiver::builder(&connection).settings(receiver);
    for queue in &arguments.queues {
        builder = builder.queue(queue.clone());
    }
    let wrong = |error| Failure::io("starting to write", error);
    let work = match arguments.exec.as_deref() {
        Some(command) => Work::Exec(command.into(), Pen::new(io::stderr()).map_err(wrong)?),
        None => Work::Print(Pen::new(io::stdout()).map_err(wrong)?, patience),
    };
    let receiver = builder.start().await?;

    let admin = Admin::new(connection);
    hints::paused(&admin, &arguments.queues, context).await;
    let mut served = Served::default();
    let result = serve(&receiver, &arguments, work, &stop, &mut served, context).await;
    let drained = receiver.drain().await?;
    // The receiver's own books: what a program said is not yet what became of the message, since a last retry is a dead
    // letter, and some never reach a program.
    let put_back = served.put_back.min(drained.retried);
    let retried = drained.retried - put_back;
    let postponed = served.postponed.min(retried);
    let put_off = match postponed {
        0 => String::new(),
        count => format!(", put off for want of room {count}"),
    };
    let reclaimed = match served.reclaimed {
        0 => String::new(),
        count => format!(", reclaimed from dead consumers {count}"),
    };
    context.say(&format!(
        "acked {}, retried {}, dead {}, handed back {}{put_off}{reclaimed}",
        drained.acked,
        retried - postponed,
        drained.dead,
        drained.handed_back + put_back
    ));
    if result.as_ref().is_err_and(Failure::is_silent) {
        context.say("ended because nobody reads the output any more");
    }
    result?;
    if served.idle {
        hints::held_by_others(&admin, &arguments.queues, context).await;
    }
    if served.unsettled > 0 || drained.uncertain > 0 {
        let count = served.unsettled.max(drained.uncertain);
        return Err(Failure::Partial(format!(
            "of {} nobody knows whether it is settled: what is not, comes again",
            counted(count, "message")
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
    context: &Context,
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
                broken = note(done, served, context);
                continue;
            }
            place = Arc::clone(&places).acquire_owned() => place.map_err(|_| Failure::Failed("closed".into()))?,
        };
        let next = tokio::select! {
            () = stop.drain.cancelled() => break,
            next = timeout(idle, receiver.recv()) => next,
            Some(done) = running.join_next() => {
                broken = note(done, served, context);
                continue;
            }
        };
        match next {
            Ok(Some(delivery)) => {
                left -= 1;
                served.reclaimed += u64::from(delivery.crashes() > 0);
                let (work, stop, reins) = (work.clone(), stop.clone(), receiver.handle());
                running.spawn(async move { one(delivery, work, &stop, &reins, place).await });
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
    // What is fetched and not begun is for others, however long the last ones take here.
    receiver.handle().drain();
    while let Some(done) = running.join_next().await {
        broken = broken.or(note(done, served, context));
    }
    broken.map_or(Ok(()), Err)
}

/// Works on one message, in its place, and settles it.
async fn one(
    delivery: Delivery,
    work: Work,
    stop: &Stop,
    reins: &ReceiverHandle,
    place: OwnedSemaphorePermit,
) -> Done {
    let verdict = match work {
        Work::Exec(command, stderr) => exec::exec(&delivery, &command, &stderr, &stop.now).await,
        Work::Print(stdout, patience) => print::print(&delivery, &stdout, stop, patience).await,
    };
    let put_back = matches!(verdict, Verdict::Back(_));
    if put_back {
        // The end has come: else it would be taken, and given back, once more.
        reins.drain();
    }
    let (outcome, failure, no_room) = match verdict {
        Verdict::Settled(outcome) => (outcome, None, None),
        Verdict::Back(failure) => (Outcome::snooze(Duration::ZERO), failure, None),
        Verdict::NoRoom(error) => (Outcome::snooze(NO_ROOM), None, Some(error)),
    };
    // What is decided needs no place: the next message does not wait until the server has heard of this one.
    let place = no_room.is_some().then_some(place);
    let settled = tokio::select! {
        biased;
        settled = delivery.outcome(outcome) => settled,
        // A server that refuses to settle it must not hold up the end: it will be delivered again.
        () = stop.overdue() => Err(SettleError::Stopped),
    };
    if no_room.is_some() {
        // Its place stays taken: the next message would fare no better.
        tokio::select! {
            () = tokio::time::sleep(NO_ROOM) => {}
            () = stop.drain.cancelled() => {}
        }
    }
    drop(place);
    Done { settled, put_back, no_room, failure }
}

/// Looks at a finished message; what is returned ends the verb.
fn note(done: Result<Done, JoinError>, served: &mut Served, context: &Context) -> Option<Failure> {
    let Done { settled, put_back, no_room, failure } = match done {
        Ok(done) => done,
        Err(error) => return Some(Failure::Failed(format!("working on a message: {error}"))),
    };
    let done = u64::from(settled.is_ok());
    served.unsettled += 1 - done;
    served.put_back += if put_back { done } else { 0 };
    if let Some(error) = no_room {
        if served.postponed == 0 {
            context.say(&format!(
                "warning: there is no room for another program ({error}): messages wait a second, uncounted, and are \
                 tried again; {}",
                exec::remedy(&error)
            ));
        }
        served.postponed += 1;
    }
    failure
}
