//! `valkit bench`: how fast queues and limits are, beside what the same client and server can do at most.

mod counters;
mod lab;
mod latency;
mod limit;
mod load;
mod machine;
mod plot;
mod relay;
mod rows;
mod summary;
mod sweep;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::{
    lab::{Lab, MESSAGE_BYTES},
    rows::Row,
    summary::Summary,
};
use crate::{context::Context, exit::Exit, failure::Failure};

const EXAMPLES: &str = "\
Every row is measured in every round, one after the other, and its median counts: what disturbs the machine disturbs all \
rows alike, so the ratios hold where the absolute figures do not. Messages are 256 bytes. Receiving includes decoding, an \
empty handler and the settle. Round trips and CPU are the server's own counters.

It works on queues of its own, bench-*, and removes them. Not for a server that is in use: it takes all it can get.

Examples:
  valkit bench queue --url valkey://127.0.0.1:6379
  valkit bench queue --quick -o json";

/// What can be measured.
#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Sending and receiving, beside the raw limits of the same client
    #[command(after_help = EXAMPLES)]
    Queue(Arguments),
    /// Asking limits, beside the usual script and a limiter in process
    #[command(after_help = limit::EXAMPLES)]
    Limit(limit::Arguments),
    /// What becomes of the rates when producers, consumers, messages or distances grow
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::Arguments),
    #[command(hide = true)]
    LimitNode(limit::NodeArguments),
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages a row and round; slow rows take fewer
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: usize,
    /// Rounds; odd, so that there is a middle one
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Messages of one round trip, at most 512
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,
    /// A smoke test of a few seconds; its figures say little
    #[arg(long)]
    quick: bool,
    /// Exit code 1 if a bar is missed
    #[arg(long)]
    strict: bool,
}

pub(crate) async fn run(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Queue(arguments) => queue(&arguments, context).await,
        Verb::Limit(arguments) => limit::run(&arguments, context).await,
        Verb::LimitNode(arguments) => limit::node(arguments, context).await,
        Verb::Sweep(arguments) => sweep::run(arguments, context).await,
    }
}

async fn queue(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let (messages, rounds) =
        if arguments.quick { (5_000, 1) } else { (arguments.messages.max(1_000), arguments.rounds.max(1)) };
    let lab = Lab::new(context.connect().await?, usize::from(arguments.batch), MESSAGE_BYTES)?;

    let bar = ProgressBar::new((rounds * (Row::ALL.len() + 1)) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut summary = Summary::new(&lab, messages, rounds).await?;
    for _ in 0..rounds {
        for row in Row::ALL {
            bar.set_message(row.name());
            summary.add(row, row.measure(&lab, messages).await?);
            bar.inc(1);
        }
        bar.set_message("idle delivery");
        let samples = if arguments.quick { 50 } else { 300 };
        summary.add_latencies(latency::bare(&lab, samples).await?, latency::ours(&lab, samples).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();

    let report = summary.report();
    context.output.object(&report, || report.text(&context.output))?;
    Ok(if arguments.strict && !report.bars_hold() { Exit::Failed } else { Exit::Ok })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_nothing_is_nothing() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
        assert!(median(std::iter::empty()).is_nan());
    }
}
