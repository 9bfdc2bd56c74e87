//! The demo, on a Valkey of its own.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::server::Server;
use crate::{run, setup, workspace};

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
    run::step("building valkit");
    run::run(run::cargo().args(["build", "--locked", "--package", "valkit"]))?;
    run::step(format_args!("starting Valkey: {valkey}"));
    // From here on Ctrl-C ends the demo, which then clears up on a server that still runs; its end is our end.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted))?;

    let server = Server::start(&valkey)?;
    let program = workspace::target().join("debug").join("valkit");
    let mut demo = Command::new(program);
    demo.args(["demo", "--url", server.url()]).args(&args.rest).current_dir(workspace::root());
    let status = run::status(&mut demo)?;
    if args.rest.iter().any(|argument| argument == "--keep") && !interrupted.load(Ordering::Relaxed) {
        run::step(format_args!("Valkey stays up at {} until Enter or Ctrl-C", server.url()));
        wait_for_enter(&interrupted);
    }
    drop(server);
    // Ended by a signal there is no code; that is not a success.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Without a terminal there is nobody to wait for: the input ends at once.
fn wait_for_enter(interrupted: &AtomicBool) {
    let reader = std::thread::spawn(|| drop(std::io::stdin().read_line(&mut String::new())));
    while !reader.is_finished() && !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
}
