//! Every test of the workspace, with what was skipped said at the end.

mod heard;
mod leftovers;
mod tally;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::faults::Afterwards;
use crate::setup::{self, Valkey};
use crate::{run, server};

pub(crate) use heard::{Heard, Verdict};
pub(crate) use leftovers::remove as remove_leftovers;
pub(crate) use tally::Tally;

/// After so long without a word the last one is repeated, so that a log shows where a run hangs.
pub(crate) const SILENCE: Duration = Duration::from_mins(5);

/// How long the output may stay open once cargo has ended.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Run only the tests of this crate
    #[arg(short, long, value_name = "CRATE")]
    package: Vec<String>,
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
    /// Passed on to the test programs
    #[arg(last = true)]
    rest: Vec<String>,
}

impl Args {
    /// Whether every test is run, so that all that is promised can be judged.
    fn is_all(&self) -> bool {
        self.filter.is_none() && self.package.is_empty() && self.rest.is_empty()
    }
}

/// Runs the tests and fails if one fails. Where all were run, the table of faults follows.
pub(crate) fn run(args: &Args) -> Result<()> {
    let valkey = valkey(args.yes)?;
    let afterwards = if args.is_all() { Some(Afterwards::prepare()?) } else { None };
    let mut cargo = command(args, &valkey);
    if let Some(afterwards) = &afterwards {
        afterwards.environment(&mut cargo);
    }
    let (succeeded, tally) = heard_of(&valkey, cargo, std::io::stdout())?;
    let unbroken = match &afterwards {
        Some(afterwards) => {
            let (table, unbroken) = afterwards.table(&tally.heard)?;
            print!("\n{table}");
            unbroken
        }
        None => true,
    };
    print!("\n{}", tally.summary());
    if !succeeded {
        bail!("tests failed");
    }
    if !unbroken {
        bail!("a promise was broken: see the table of faults");
    }
    if tally.passed + tally.failed == 0 {
        bail!("no test ran: no name contains `{}`", args.filter.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// The Valkey that tests run on.
pub(crate) fn valkey(yes: bool) -> Result<Valkey> {
    let valkey = setup::valkey(yes)?.with_newest();
    run::step(format_args!("Valkey: {valkey}"));
    setup::clock::get();
    if let Valkey::Url(url) = &valkey
        && !server::reachable(url)
    {
        bail!("nothing answers at the host and port of VALKIT_TEST_URL");
    }
    Ok(valkey)
}

/// Runs a command of tests, and tidies up behind them.
fn heard_of(valkey: &Valkey, cargo: Command, to: impl Write + Send + 'static) -> Result<(bool, Tally)> {
    run::step(run::shown(&cargo));
    let outcome = stream(cargo, to);
    if matches!(valkey, Valkey::Image { .. }) {
        leftovers::remove();
    }
    outcome
}

/// Runs every test of these crates, or of all, on this server.
pub(crate) fn on_engine(
    packages: &[String],
    valkey: &Valkey,
    to: impl Write + Send + 'static,
) -> Result<(bool, Tally)> {
    let args = Args { package: packages.to_vec(), ..Args::default() };
    heard_of(valkey, command(&args, valkey), to)
}

fn command(args: &Args, valkey: &Valkey) -> Command {
    let mut cargo = run::cargo();
    cargo.args(["test", "--locked", "--no-fail-fast"]);
    if args.package.is_empty() {
        cargo.arg("--workspace");
    }
    for package in &args.package {
        cargo.args(["--package", package]);
    }
    cargo.args(setup::kerberos::features(&args.package));
    setup::kerberos::offer_to(&mut cargo);
    cargo.args(&args.filter);
    if !args.rest.is_empty() {
        cargo.arg("--").args(&args.rest);
    }
    valkey.offer_to(&mut cargo);
    cargo
}

/// Runs the command, passing on its output as it comes, and counts what it reports.
///
/// Both of its outputs go into one pipe, or lines of the tests would change places with the headings of cargo.
fn stream(mut command: Command, to: impl Write + Send + 'static) -> Result<(bool, Tally)> {
    let (output, input) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn()
        .with_context(|| format!("cannot start `{}`", run::shown(&command)))?;
    // It holds our copies of the pipe's input, and the output ends only when all are closed.
    drop(command);

    let watch = Arc::new(Mutex::new(Watch::new()));
    let reader = std::thread::spawn({
        let watch = Arc::clone(&watch);
        move || pass_on(output, to, &watch)
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        lock(&watch).mind_silence();
        std::thread::sleep(Duration::from_millis(100));
    };
    let ended = Instant::now();
    while !reader.is_finished() {
        if ended.elapsed() > LINGER {
            run::step("a process that a test left behind still holds the output");
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let tally = lock(&watch).tally.clone();
    Ok((status.success(), tally))
}

/// Copies bytes as they come; whole lines are also counted.
fn pass_on(mut from: impl Read, mut to: impl Write, watch: &Mutex<Watch>) {
    let mut chunk = [0; 8192];
    let mut line = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        let _ = to.write_all(&chunk[..length]).and_then(|()| to.flush());
        for &byte in &chunk[..length] {
            if byte == b'\n' {
                lock(watch).line(&String::from_utf8_lossy(&line));
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        lock(watch).line(&String::from_utf8_lossy(&line));
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What has been heard so far, and when last.
#[derive(Debug)]
struct Watch {
    tally: Tally,
    last_line: String,
    heard: Instant,
}

impl Watch {
    fn new() -> Self {
        Self { tally: Tally::default(), last_line: String::new(), heard: Instant::now() }
    }

    fn line(&mut self, line: &str) {
        self.tally.line(line);
        line.clone_into(&mut self.last_line);
        self.heard = Instant::now();
    }

    fn mind_silence(&mut self) {
        if self.heard.elapsed() >= SILENCE {
            run::step(format_args!(
                "silent for {} min; last heard: {}",
                SILENCE.as_secs() / 60,
                self.last_line
            ));
            self.heard = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OUTPUT: &str = "test one ... ok\ntest broken ... FAILED\n";

    #[test]
    fn output_is_passed_on_and_counted_although_lines_are_cut() {
        let watch = Mutex::new(Watch::new());
        let mut passed_on = Vec::new();
        pass_on(OUTPUT.as_bytes().chain(&b"test last ... FAILED"[..]), &mut passed_on, &watch);
        assert_eq!(passed_on, format!("{OUTPUT}test last ... FAILED").into_bytes());
        assert_eq!(lock(&watch).tally.failures, ["broken", "last"]);
    }

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn the_exit_status_is_that_of_the_command() {
        for (script, expected) in [("exit 0", true), ("exit 101", false)] {
            assert_eq!(stream(shell(script), std::io::sink()).unwrap().0, expected, "{script}");
        }
    }

    #[test]
    fn both_outputs_are_heard() {
        let (_, tally) =
            stream(shell("echo 'test a ... FAILED'; echo 'SKIPPED b: no Docker' >&2"), std::io::sink())
                .unwrap();
        assert_eq!(
            (&tally.failures[..], &tally.skipped[..]),
            (&["a".to_owned()][..], &["b: no Docker".to_owned()][..])
        );
    }
}
