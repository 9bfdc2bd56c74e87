//! `valkit queue show Q`

use std::time::Duration;

use serde::Serialize;
use valkey_admin::{ConsumerStats, Lease, Memory, QueueStats};
use valkey_envelope::QueueName;

use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    table::Column,
    text::{self, counted},
};

const EXAMPLES: &str = "\
Also looks for messages whose consumer is not registered any more, among the first 256,000 keys of the server.

Examples:
  valkit queue show user-registrations
  valkit queue show user-registrations -o json | jq .oldest.ready_ms";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// Leave out the memory, which is estimated from a sample
    #[arg(long)]
    no_memory: bool,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    stats: QueueStats,
    memory: Option<Memory>,
}

const CONSUMERS: [Column<ConsumerStats>; 4] = [
    Column::left("CONSUMER", |consumer| consumer.id.clone()),
    Column::left("LEASE", |consumer| lease(consumer.lease)),
    Column::right("IN FLIGHT", |consumer| consumer.in_flight.to_string()),
    Column::right("OLDEST", |consumer| text::optional(consumer.oldest)),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    let queue = arguments.queue;
    let mut stats = admin.stats(&queue).await?;
    match admin.strays(&queue).await {
        Ok(strays) => {
            stats.add_strays(strays.found);
            if strays.truncated {
                context.hint(&format!(
                    "the server has too many keys to look for messages without a consumer at all of them: valkit doctor {queue}"
                ));
            }
        }
        Err(error) => context.hint(&format!("messages without a consumer were not looked for: {error}")),
    }
    if !stats.exists {
        return Err(Failure::no_queue(&queue));
    }
    let memory = if arguments.no_memory {
        None
    } else {
        match admin.memory(&queue).await {
            Ok(memory) => Some(memory),
            Err(error) => {
                context.hint(&format!("the memory could not be found out: {error}"));
                None
            }
        }
    };
    let shown = Shown { stats, memory };
    context.output.object(&shown, || render(&shown, context))?;
    Ok(Exit::Ok)
}

fn render(shown: &Shown, context: &Context) -> String {
    let Shown { stats, memory } = shown;
    let ready = &stats.ready;
    let parts = [
        ("public", ready.public),
        ("high", ready.high),
        ("low", ready.low),
        ("woken", ready.woken),
        ("redo", ready.redo),
    ];
    let parts: Vec<String> = parts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let mut pairs = vec![
        ("queue", stats.queue.to_string()),
        ("state", if stats.paused { "paused".into() } else { "open".into() }),
        ("ready", format!("{}  ({})", ready.total(), parts.join(", "))),
        ("delayed", delayed(stats)),
        ("in flight", with_age(stats.in_flight, "oldest for", stats.oldest.in_flight)),
        ("dead", with_age(stats.dead, "the last", stats.oldest.newest_dead)),
        ("oldest ready", text::optional(stats.oldest.ready)),
        ("limits", limits(stats)),
    ];
    if let Some(memory) = memory {
        let places: Vec<String> =
            memory.places.iter().map(|(place, bytes)| format!("{place} {}", text::bytes(*bytes))).collect();
        let detail = if places.is_empty() { String::new() } else { format!("  ({})", places.join(", ")) };
        pairs.push(("memory", format!("about {}{detail}", text::bytes(memory.total))));
    }
    if let Some(left) = stats.list_expires_in {
        pairs.push((
            "WARNING",
            format!("the public list expires in {}, with all in it", text::duration(left)),
        ));
    }
    for stray in &stats.strays {
        pairs.push((
            "WARNING",
            format!(
                "{} in flight with {}, which is not registered: valkit queue hand-back {} --only in-flight",
                counted(stray.in_flight, "message"),
                stray.consumer,
                stats.queue
            ),
        ));
    }
    for odd in &stats.odd_limits {
        pairs.push(("WARNING", format!("limit {} is {:?}: {}", odd.field, odd.value, odd.effect)));
    }
    for squatter in &stats.squatters {
        pairs.push((
            "WARNING",
            format!("{} holds a {}, not a {}", squatter.key, squatter.found, squatter.expected),
        ));
    }
    let mut out = context.output.pairs(&pairs);
    if stats.consumers.is_empty() {
        out.push_str("\nno consumer of ours (plain BRPOP consumers cannot be seen)\n");
    } else {
        out.push('\n');
        out.push_str(&context.output.table(&CONSUMERS, &stats.consumers));
        let more = stats.consumer_count.saturating_sub(stats.consumers.len() as u64);
        if more > 0 {
            out.extend(["and ", &more.to_string(), " more\n"]);
        }
    }
    out
}

fn delayed(stats: &QueueStats) -> String {
    match stats.next_due_in {
        None => stats.delayed.to_string(),
        Some(Duration::ZERO) => format!("{}  (the first is due)", stats.delayed),
        Some(due) => format!("{}  (the first in {})", stats.delayed, text::duration(due)),
    }
}

fn with_age(count: u64, word: &str, age: Option<Duration>) -> String {
    match age {
        Some(age) if word == "the last" => format!("{count}  ({word} {} ago)", text::duration(age)),
        Some(age) => format!("{count}  ({word} {})", text::duration(age)),
        None => count.to_string(),
    }
}

fn limits(stats: &QueueStats) -> String {
    let limits = &stats.limits;
    let set = [
        limits.max_length.map(|limit| format!("max length {limit}")),
        limits.rate.map(|rate| format!("rate {}", text::rate(rate))),
        limits.burst.map(|burst| format!("burst {burst}")),
        limits.max_in_flight.map(|limit| format!("max in flight {limit}")),
    ];
    let set: Vec<String> = set.into_iter().flatten().collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

fn lease(lease: Lease) -> String {
    match lease {
        Lease::Expired { ago } => format!("expired {} ago", text::duration(ago)),
        Lease::Fenced => "fenced".to_owned(),
        Lease::Live { left } => format!("{} left", text::duration(left)),
    }
}
