//! `valkit completions SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, context::Context, exit::Exit, failure::Failure};

const EXAMPLES: &str = "\
Examples:
  valkit completions bash > /etc/bash_completion.d/valkit
  valkit completions zsh > ~/.zfunc/_valkit
  valkit completions fish > ~/.config/fish/completions/valkit.fish";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    // Written to memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "valkit", &mut script);
    context.output.bytes(&script)?;
    Ok(Exit::Ok)
}
