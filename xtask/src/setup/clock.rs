//! libfaketime, which tells one process a time of day of our choice: a few tests want clients whose clocks are wrong.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run;

/// Gets it where that can be done without asking: it is a package of the distribution's own archive, a few kilobytes.
/// Without it those tests say that they are skipped.
pub(crate) fn get() {
    if is_here() {
        return;
    }
    run::step("getting libfaketime with apt, for tests of clients whose clocks are wrong");
    if let Err(error) = install() {
        run::step(format_args!(
            "no libfaketime ({error:#}): these tests will say SKIPPED; on Debian as root, `apt-get install faketime` helps"
        ));
    }
}

fn is_here() -> bool {
    ["/usr/lib", "/usr/lib64", "/usr/local/lib"].into_iter().any(|directory| {
        let holds = |directory: &Path| directory.join("faketime/libfaketime.so.1").exists();
        let directory = Path::new(directory);
        let below = std::fs::read_dir(directory).into_iter().flatten().flatten();
        holds(directory) || below.into_iter().any(|entry| holds(&entry.path()))
    })
}

fn install() -> Result<()> {
    if run::which("apt-get").is_none() {
        bail!("not a Debian");
    }
    let get = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run::run(apt.stdin(Stdio::null()).stdout(Stdio::null()))
    };
    let package = ["install", "-y", "--no-install-recommends", "faketime"];
    // A fresh machine has no package lists yet.
    get(&package).or_else(|_| get(&["update"]).and_then(|()| get(&package)))
}
