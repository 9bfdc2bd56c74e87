//! Measurements, in release mode.

use anyhow::Result;
use clap::ValueEnum;

use crate::run;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure
    subject: Subject,
    /// Passed on to `valkit bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    /// Sending and receiving, beside the raw limits of the same client
    Queue,
}

/// Measures.
pub(crate) fn run(args: &Args) -> Result<()> {
    let subject = match args.subject {
        Subject::Queue => "queue",
    };
    run::run(
        run::cargo()
            .args(["run", "--release", "--locked", "--package", "valkit", "--", "bench", subject])
            .args(&args.rest),
    )
}
