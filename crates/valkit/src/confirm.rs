//! The question before something is gone.

use std::io::{self, BufRead, Write};

use clap::Args;

use crate::{context::is_interactive, failure::Failure};

/// The guards of every verb that removes or moves.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Guard {
    /// Count what would be touched and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

// === impl Guard ===

impl Guard {
    /// Lets somebody at a terminal type the queue's name; elsewhere only `--yes` will do.
    pub(crate) fn confirm(self, what: &str, queue: &str) -> Result<(), Failure> {
        self.confirm_by(what, "the name of the queue", queue)
    }

    /// The same with something else to type.
    pub(crate) fn confirm_by(self, what: &str, by: &str, text: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let refused = |what: String| Failure::Refused {
            what,
            hint: "--dry-run shows what would be done, --yes does it without asking".into(),
        };
        if !is_interactive() {
            return Err(refused(format!("{what}: not done without --yes")));
        }
        let mut err = io::stderr().lock();
        let asked = write!(err, "{what}.\nType {by} to go on: ").and_then(|()| err.flush());
        asked.map_err(|error| Failure::io("asking", error))?;
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Failure::io("reading the answer", error))?;
        if answer.trim() == text {
            return Ok(());
        }
        Err(refused("that is not what was asked for: nothing was done".to_owned()))
    }
}
