//! The demo, on a Valkey of its own.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::server::Server;
use crate::valkit::{Profile, Valkit};
use crate::{run, setup};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
    /// Passed on to `valkit demo`; with `--keep` its Valkey stays up, too, until Enter is pressed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the demo; its exit code is ours.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let valkey = setup::valkey(args.yes)?;
    let valkit = Valkit::build(Profile::Dev)?;
    run::step(format_args!("starting Valkey: {valkey}"));
    let server = Server::start(&valkey, &["--appendonly", "no"])?;
    let status = valkit.run(&["demo"], server.url(), &args.rest)?;
    if args.rest.iter().any(|argument| argument == "--keep") && !valkit.interrupted() {
        run::step(format_args!("Valkey stays up at {} until Enter or Ctrl-C", server.url()));
        wait_for_enter(&valkit);
    }
    drop(server);
    // Ended by a signal there is no code; that is not a success.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Without a terminal there is nobody to wait for: the input ends at once.
fn wait_for_enter(valkit: &Valkit) {
    let reader = std::thread::spawn(|| drop(std::io::stdin().read_line(&mut String::new())));
    while !reader.is_finished() && !valkit.interrupted() {
        std::thread::sleep(Duration::from_millis(50));
    }
}
