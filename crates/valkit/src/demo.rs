//! `valkit demo`: three consumers, three kinds of producers, one SIGKILL, and books that must balance.

mod books;
mod consumer;
mod crew;
mod display;
mod load;

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time::MissedTickBehavior};
use valkey_admin::{Admin, DeadLetter, DeadQuery, QueueStats};
use valkey_connection::Connection;
use valkey_envelope::{Envelope, QueueName};

pub(crate) use self::consumer::{ConsumerArguments, run as consume};
use self::{
    books::{Books, Verdict},
    crew::Crew,
    display::Display,
    load::Fate,
};
use crate::{context::Context, exit::Exit, failure::Failure, stop::Stop, text};

const EXAMPLES: &str = "\
Three consumer processes work on a queue of its own. Registrations arrive as the two Go forms (plain LPUSH) and through \
our sender; some fail always, some twice, some are expired. In the middle one consumer is killed with SIGKILL. In the \
end every message sent was acked or is a dead letter, or the exit code is 1.

Examples:
  valkit demo --url valkey://localhost:6379
  valkit demo --messages 10000 --keep";

/// Long enough not to be lost to a busy machine, short enough to watch its end.
pub(crate) const LEASE: Duration = Duration::from_millis(2_500);

/// After this long, and a hundredth of a second a message, something is wrong.
const DEADLINE: Duration = Duration::from_mins(1);

/// How often the queue is looked at.
const TICK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// How many registrations
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(60..=1_000_000))]
    messages: u32,
    /// How many consumer processes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=32))]
    consumers: u32,
    /// Leave the queue and its dead letters for a look
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let stop = Stop::listen()?;
    let settings = context.settings()?;
    let connection = Connection::connect(&settings.connection).await?;
    let admin = Admin::new(connection.clone());
    let queue: QueueName = format!("demo-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
        .parse()
        .map_err(|error| Failure::Failed(format!("naming the queue: {error}")))?;
    context.say(&format!(
        "queue {queue}: {} registrations for {} consumers, one of which will not survive",
        arguments.messages, arguments.consumers
    ));

    let played = tokio::select! {
        biased;
        () = stop.drain.cancelled() => Err(Failure::Failed("interrupted".into())),
        played = play(&arguments, context, &connection, &admin, &queue) => played,
    };
    // Also what went wrong leaves nothing behind.
    if !arguments.keep {
        admin.erase(&queue).await?;
    }
    let verdict = played?;
    report(&verdict, &queue, &arguments, context)?;
    Ok(if verdict.balances() { Exit::Ok } else { Exit::Failed })
}

/// From the first send to the last settle.
async fn play(
    arguments: &Arguments,
    context: &Context,
    connection: &Connection,
    admin: &Admin,
    queue: &QueueName,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let deadline = DEADLINE + Duration::from_millis(10) * arguments.messages;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let mut crew = Crew::hire(arguments.consumers, queue, context, &reports)?;
    drop(reports);
    let mut books = Books::default();
    let mut display = Display::new(u64::from(arguments.messages));

    let mut sending = tokio::spawn(load::send(connection.clone(), queue.clone(), arguments.messages));
    let mut sent = false;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let settled = loop {
        tokio::select! {
            result = &mut sending, if !sent => {
                let messages = result.map_err(|error| Failure::Failed(format!("sending: {error}")))??;
                books.send(messages);
                sent = true;
            }
            Some(report) = reported.recv() => books.note(report),
            _ = tick.tick() => {
                let stats = admin.stats(queue).await?;
                display.show(&stats, &books, started.elapsed());
                crew.check()?;
                if sent && !crew.struck() && books.acked() * 2 >= u64::from(arguments.messages) && stats.in_flight > 0 {
                    let (number, pid) = crew.strike().await?;
                    books.killed(stats.in_flight);
                    display.say(&format!("SIGKILL for consumer {number} (pid {pid}); its lease ends within {LEASE:?}"));
                }
                if sent && crew.struck() && is_quiet(&stats) && books.is_settled(stats.dead) {
                    break true;
                }
                if started.elapsed() > deadline {
                    break false;
                }
            }
        }
    };
    // What is still in the pipes belongs into the books.
    crew.dismiss().await;
    while let Some(report) = reported.recv().await {
        books.note(report);
    }
    let stats = admin.stats(queue).await?;
    display.show(&stats, &books, started.elapsed());
    display.finish();
    let dead = dead_letters(admin, queue).await?;
    Ok(books.close(&dead, left(&stats), settled, started.elapsed()))
}

fn is_quiet(stats: &QueueStats) -> bool {
    left(stats) == 0
}

/// Messages that are neither acked nor dead.
fn left(stats: &QueueStats) -> u64 {
    stats.ready.total() + stats.delayed + stats.in_flight
}

async fn dead_letters(admin: &Admin, queue: &QueueName) -> Result<Vec<DeadLetter>, Failure> {
    let query = DeadQuery { count: usize::MAX, preview_bytes: 64 * 1024, ..DeadQuery::default() };
    Ok(admin.dead_letters(queue, &query).await?.letters)
}

fn report(
    verdict: &Verdict,
    queue: &QueueName,
    arguments: &Arguments,
    context: &Context,
) -> Result<(), Failure> {
    context.output.object(verdict, || {
        let lines = verdict.lines();
        let lines = lines.iter().map(|(name, count, note)| format!("{name:>12}  {count:>7}  {note}"));
        let table: Vec<String> = lines.map(|line| format!("{}\n", line.trim_end())).collect();
        let end = format!("{}\n\ntook {}", verdict.judgement(), text::duration(verdict.took));
        format!("\n{}\n{}\n{end}\n", context.output.bold("the books"), table.concat())
    })?;
    let url = context.url()?;
    let look = format!("valkit --url {url} dead ls {queue}");
    if arguments.keep {
        context.hint(&format!("the dead ones can be looked at: {look}"));
        context.hint(&format!("and replayed: valkit --url {url} dead replay {queue} --reason max_attempts"));
    } else {
        context.hint(&format!("the queue is gone; with --keep the dead ones can be looked at: {look}"));
    }
    Ok(())
}

/// What a registration says it wants to become of it.
fn fate_of(envelope: &Envelope) -> Option<Fate> {
    envelope.payload_as::<load::Registration>().ok().map(|registration| registration.fate)
}
