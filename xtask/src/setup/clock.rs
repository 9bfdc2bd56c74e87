//! libfaketime, which tells one process a time of day of our choice: a few tests want clients whose clocks are wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run;

/// Where it is looked for: exactly where `valkey_testkit::libfaketime` does, since what is anywhere else is of no use to the
/// tests. Written again, because this program builds without any of our crates.
const DIRECTORIES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

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
    DIRECTORIES.map(library).iter().any(|path| path.exists())
}

fn library(directory: &str) -> PathBuf {
    Path::new(directory).join("faketime/libfaketime.so.1")
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::workspace;

    #[test]
    fn it_is_looked_for_where_the_tests_look() {
        let testkit = workspace::read(Path::new("crates/valkey-testkit/src/clock.rs")).unwrap();
        // Every second piece is between quotation marks.
        let quoted = testkit.split('"').skip(1).step_by(2);
        let places: Vec<&str> = quoted.filter(|text| text.starts_with('/')).collect();
        assert_eq!(places, DIRECTORIES);
        assert!(testkit.contains("\"faketime/libfaketime.so.1\""));
    }
}
