//! Our program: building it, and running it against a server.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use crate::{run, workspace};

/// What the program is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// To be ready soon.
    Dev,
    /// To be fast.
    Release,
}

/// The program, built.
#[derive(Debug)]
pub(crate) struct Valkit {
    path: PathBuf,
}

impl Valkit {
    /// Builds it.
    ///
    /// From then on Ctrl-C does not end us, only what we run: it then clears up on a server that is still there, and
    /// its end is our end.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        run::step("building valkit");
        let mut build = run::cargo();
        build.args(["build", "--locked", "--package", "valkit"]);
        let dir = match profile {
            Profile::Dev => "debug",
            Profile::Release => {
                build.arg("--release");
                "release"
            }
        };
        run::run(&mut build)?;
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))?;
        Ok(Self { path: workspace::target().join(dir).join("valkit") })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Runs a verb against the server.
    pub(crate) fn run(&self, verb: &[&str], url: &str, rest: &[String]) -> Result<ExitStatus> {
        self.run_with(verb, url, rest, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn run_with(
        &self,
        verb: &[&str],
        url: &str,
        rest: &[String],
        environment: &[(&str, &str)],
    ) -> Result<ExitStatus> {
        let mut command = Command::new(&self.path);
        command.args(verb).args(["--url", url]).args(rest).current_dir(workspace::root());
        command.envs(environment.iter().copied());
        run::status(&mut command)
    }
}
