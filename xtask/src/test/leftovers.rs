//! Containers that tests left behind.
//!
//! A container of a test ends with its test process, however that dies, because its standard input ends then. This is
//! for the case that it does not: an engine that was restarted, or that does not pass the end on.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::run;

/// The testkit's label: `<boot id>/<pid namespace>/<pid>@<start time>` of the test process.
const OWNER: &str = "valkey-testkit.owner";

/// How long a container may take to notice that its test is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes containers whose test process is gone; those of runs beside ours stay.
pub(crate) fn remove() {
    let started = Instant::now();
    let orphans = loop {
        match orphans() {
            Ok(orphans) if !orphans.is_empty() && started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(250));
            }
            Ok(orphans) => break orphans,
            Err(error) => return run::step(format_args!("cannot look for left-over containers: {error:#}")),
        }
    };
    if orphans.is_empty() {
        return;
    }
    run::step(format_args!("removing {} containers that tests left behind", orphans.len()));
    if let Err(error) =
        run::output(Command::new("docker").args(["rm", "--force", "--volumes"]).args(&orphans))
    {
        run::step(format_args!("could not: {error:#}"));
    }
}

fn orphans() -> Result<Vec<String>> {
    let format = format!("{{{{.ID}}}} {{{{.Label \"{OWNER}\"}}}}");
    let list = run::output(
        Command::new("docker")
            .args(["ps", "--all", "--filter"])
            .arg(format!("label={OWNER}"))
            .args(["--format", &format]),
    )?;
    let here = here();
    Ok(list
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, owner)| is_gone(owner, &here, |pid| Path::new("/proc").join(pid).is_dir()))
        .map(|(id, _)| id.to_owned())
        .collect())
}

/// This boot of this machine and the namespace its process numbers count in, as the testkit writes them.
fn here() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string());
    format!("{}/{}", boot.trim(), namespace.unwrap_or_default())
}

/// Whether the owner surely is no more; who cannot be judged from here counts as alive.
fn is_gone(owner: &str, here: &str, runs: impl Fn(&str) -> bool) -> bool {
    let Some((place, process)) = owner.trim().rsplit_once('/') else { return false };
    let Some((pid, _)) = process.split_once('@') else { return false };
    place == here && pid.parse::<u32>().is_ok() && !runs(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_known_to_be_dead_is_gone() {
        let runs = |pid: &str| pid == "7";
        assert!(is_gone("boot/pid:[1]/8@99", "boot/pid:[1]", runs));
        for alive in [
            "boot/pid:[1]/7@99",
            "other/pid:[1]/8@99",
            "boot/pid:[2]/8@99",
            "",
            "garbage",
            "boot/pid:[1]/x@1",
        ] {
            assert!(!is_gone(alive, "boot/pid:[1]", runs), "{alive}");
        }
    }

    #[test]
    fn this_process_is_alive() {
        let me = format!("{}/{}@1", here(), std::process::id());
        assert!(!is_gone(&me, &here(), |pid| Path::new("/proc").join(pid).is_dir()));
    }
}
