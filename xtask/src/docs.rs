//! The documents: rustdoc, links, shown commands, Rust blocks, the configuration table.

use anyhow::Result;

use crate::run;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Write the generated documents anew instead of comparing them
    #[arg(long)]
    write: bool,
}

/// Checks all of it.
pub(crate) fn run(_args: &Args) -> Result<()> {
    run::run(
        run::cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
    )
}
