//! The container image of our programs.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{run, setup, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to docker/build-image.sh
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds it.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::docker_answers().context("Docker is needed to build an image")?;
    let script = workspace::root().join("docker/build-image.sh");
    run::run(Command::new("sh").arg(script).args(&args.rest).current_dir(workspace::root()))
}
