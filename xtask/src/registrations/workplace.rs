//! Where a run is: its files, and copies of the programs it is made of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{run, workspace};

/// Where a run keeps its files.
#[derive(Debug)]
pub(crate) struct Workplace {
    pub(crate) dir: PathBuf,
}

impl Workplace {
    pub(crate) fn new() -> Result<Self> {
        let dir = workspace::target().join("registrations").join(std::process::id().to_string());
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Leaves everything but the programs, which are large, and where they are built anyway.
    pub(crate) fn keep(&self, why: &str) {
        for program in PROGRAMS {
            // What is left of them is only clutter; not all may be there yet.
            let _ = std::fs::remove_file(self.dir.join(program));
        }
        run::step(format_args!("{why}: logs and files are in {}", self.dir.display()));
    }

    pub(crate) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// What a run is made of; copies, since a build in the meantime would put others in their place.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) consumer: PathBuf,
    pub(crate) double: PathBuf,
    pub(crate) valkit: PathBuf,
}

/// The programs, by their packages' names.
const PROGRAMS: [&str; 3] = ["freeipa-consumer", "freeipa-double", "valkit"];

impl Programs {
    pub(crate) fn build(dir: &Path) -> Result<Self> {
        run::step(format_args!("building {}", PROGRAMS.join(", ")));
        let mut build = run::cargo();
        build.args(["build", "--locked", "--bins"]);
        for program in PROGRAMS {
            build.args(["--package", program]);
        }
        run::run(&mut build)?;
        let copied = |program: &str| {
            let (from, to) = (workspace::target().join("debug").join(program), dir.join(program));
            std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            Ok::<PathBuf, anyhow::Error>(to)
        };
        let [consumer, double, valkit] = PROGRAMS.map(copied);
        Ok(Self { consumer: consumer?, double: double?, valkit: valkit? })
    }
}
