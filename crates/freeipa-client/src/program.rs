//! Runs a program for what it prints, for so long and no longer.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a program that gets a token may take: it asks a KDC, or two.
pub(crate) const LONGEST: Duration = Duration::from_secs(20);

/// More than the largest ticket.
const MOST_BYTES: u64 = 64 << 10;

/// What came of a program.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) printed: Result<Vec<u8>, Failed>,
}

/// Why there is nothing of a program.
pub(crate) enum Failed {
    /// It took longer than [`LONGEST`].
    Late,
    /// Something else, in words.
    Otherwise(String),
}

/// Runs it with no input, and ends it after [`LONGEST`]. Blocks until then.
pub(crate) fn run(command: &mut Command) -> Result<Ended, Failed> {
    run_for(LONGEST, command)
}

fn run_for(longest: Duration, command: &mut Command) -> Result<Ended, Failed> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failed::Otherwise(format!("it cannot be started: {error}")))?;
    let deadline = Instant::now() + longest;
    let printed = printed(&mut child, deadline);
    let status = ended(&mut child, deadline)?;
    Ok(Ended { status, printed })
}

/// What the program prints, until it closes its output.
fn printed(child: &mut Child, deadline: Instant) -> Result<Vec<u8>, Failed> {
    let output = child.stdout.take().ok_or_else(|| Failed::Otherwise("it has no output".to_owned()))?;
    let (sender, receiver) = mpsc::channel();
    // By itself: a descendant of the program may keep the pipe open for as long as it likes.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(MOST_BYTES).read_to_end(&mut bytes);
        // Nobody may be waiting any more.
        let _ = sender.send(read.map(|_| bytes));
    });
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(read) => read.map_err(|error| Failed::Otherwise(format!("its output cannot be read: {error}"))),
        Err(_) => Err(Failed::Late),
    }
}

/// How the program ended; it does, be it that it has to.
fn ended(child: &mut Child, deadline: Instant) -> Result<ExitStatus, Failed> {
    let unknown = |error: std::io::Error| Failed::Otherwise(format!("it cannot be waited for: {error}"));
    loop {
        if let Some(status) = child.try_wait().map_err(unknown)? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // It may have ended in between.
            let _ = child.kill();
            child.wait().map_err(unknown)?;
            return Err(Failed::Late);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_that_takes_too_long_is_ended() {
        let mut hangs = Command::new("sleep");
        let begun = Instant::now();
        let ended = run_for(Duration::from_millis(50), hangs.arg("60"));
        assert!(matches!(ended, Err(Failed::Late)));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_descendant_that_keeps_the_output_open_is_not_waited_for() {
        let mut leaves = Command::new("sh");
        let begun = Instant::now();
        let ended = run_for(Duration::from_secs(1), leaves.args(["-c", "sleep 5 & echo x"]));
        assert!(ended.is_ok_and(|ended| matches!(ended.printed, Err(Failed::Late))));
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
}
