//! `valkit bench limit`: how fast a limit is asked, beside the usual script, a limiter in process and a bare round trip.

mod admission;
mod light;
mod load;
mod memory;
mod nodes;
mod rows;
mod scripts;
mod summary;
mod way;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use valkey_connection::Connection;
use valkey_ratelimit::{Limiter, Quota};

pub(crate) use self::nodes::{NodeArguments, run as node};
use self::{
    rows::{Row, Site},
    summary::Summary,
};
use crate::{context::Context, exit::Exit, failure::Failure};

pub(crate) const EXAMPLES: &str = "\
The plain script is the usual sliding log, one call a check. Every row is measured in every round, one after the other; a \
ratio is taken within a round, and its median counts, with the least and the most beside it. All requests are admitted, but \
for those to the denied key. Server CPU is that of its main thread, by its own counters.

It works on keys of its own, valkit-bench:*, and removes them. Not for a server that is in use: it takes all it can get.

Examples:
  valkit bench limit --url valkey://127.0.0.1:6379
  valkit bench limit --quick -o json";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long a row takes in each round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    row_time: u64,
    /// Rounds; odd, so that there is a middle one
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Only rows whose name contains this, and nothing else but the light load
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// A smoke test of a few seconds; its figures say little
    #[arg(long)]
    quick: bool,
    /// Exit code 1 if a bar is missed
    #[arg(long)]
    strict: bool,
}

/// How much of everything.
struct Size {
    rounds: usize,
    row: Duration,
    samples: usize,
    window: Duration,
    limit: u64,
    nodes: usize,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let extent = Size::of(arguments);
    let connection = context.connect().await?;
    let run = uuid::Uuid::now_v7().simple().to_string();
    let prefix = format!("valkit-bench:{run}:");
    let site = Site { limiter: limiter(&connection), connection, prefix };
    let mut rows = Row::all();
    if let Some(text) = &arguments.only {
        rows.retain(|row| row.name().contains(text.as_str()));
    }

    let bar = ProgressBar::new((extent.rounds * (rows.len() + 1)) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut summary = Summary::new(&site, extent.row, extent.rounds).await?;
    for _ in 0..extent.rounds {
        for row in &rows {
            bar.set_message(row.name());
            summary.add(*row, &row.measure(&site, extent.row).await?);
            bar.inc(1);
        }
        bar.set_message("light load");
        summary.add_light(light::measure(&site, extent.samples).await?);
        bar.inc(1);
    }
    if arguments.only.is_none() {
        bar.set_message("memory");
        summary.memory = memory::measure(&site, extent.window).await?;
        bar.set_message("admission");
        let quota = Quota::new(extent.limit, extent.window / 2);
        let quota = quota.map_err(|error| Failure::Failed(error.to_string()))?;
        summary.admission = admission::measure(&site, quota, 512).await?;
        for nodes in 1..=extent.nodes {
            bar.set_message(format!("{nodes} processes"));
            summary.nodes.push(nodes::measure(&site, context, nodes, extent.row).await?);
        }
    }
    bar.finish_and_clear();

    let report = summary.report();
    context.output.object(&report, || report.text(&context.output))?;
    Ok(if arguments.strict && !report.bars_hold() { Exit::Failed } else { Exit::Ok })
}

/// No check is to be late: what is measured is how long it takes.
fn limiter(connection: &Connection) -> Limiter {
    Limiter::new(connection.clone()).with_deadline(Duration::from_secs(10))
}

// === impl Size ===

impl Size {
    fn of(arguments: &Arguments) -> Self {
        if arguments.quick {
            let ms = Duration::from_millis;
            return Self { rounds: 1, row: ms(50), samples: 100, window: ms(400), limit: 1_000, nodes: 2 };
        }
        Self {
            rounds: arguments.rounds.max(1),
            row: Duration::from_millis(arguments.row_time),
            samples: 1_000,
            window: Duration::from_secs(2),
            limit: 5_000,
            nodes: 4,
        }
    }
}
