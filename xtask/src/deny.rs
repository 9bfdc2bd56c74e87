//! Licences, bans, sources and advisories of the whole dependency tree, by cargo-deny and `deny.toml`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{run, workspace};

/// The version `deny.toml` is written for; its format changes between versions.
const VERSION: &str = "0.20.2";

/// How long the advisory database may take to arrive.
const FETCH_LIMIT: Duration = Duration::from_mins(2);

/// Checks what can be checked here.
pub(crate) fn run() -> Result<()> {
    let tool = tool()?;
    run::step("cargo deny check bans licenses sources");
    // The crates are here once the workspace is built; without this a half-reachable network is asked again.
    run::run(run::cargo().args(["fetch", "--locked", "--quiet"]))?;
    run::run(deny(&tool).args(["--offline", "check", "bans", "licenses", "sources"]))?;

    match run::output_within(deny(&tool).args(["fetch", "db"]), FETCH_LIMIT) {
        Ok(_) => {
            run::step("cargo deny check advisories");
            run::run(deny(&tool).args(["check", "--disable-fetch", "advisories"]))
        }
        Err(error) => {
            let reason = error.to_string();
            run::step(format_args!(
                "advisories: SKIPPED, their database cannot be had: {}",
                last_line(&reason)
            ));
            Ok(())
        }
    }
}

fn deny(tool: &PathBuf) -> Command {
    let mut command = Command::new(tool);
    command.current_dir(workspace::root());
    if run::on_ci() {
        command.env("CARGO_TERM_COLOR", "never");
    }
    command
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(text).trim()
}

/// The program, built from source the first time: no registry of binaries is needed.
///
/// Its own target directory keeps our lock and feature choices out of it; the dev profile without optimisation builds
/// in a quarter of the time and checks this workspace in a second.
pub(crate) fn tool() -> Result<PathBuf> {
    let root = workspace::target().join("tools");
    let program = root.join("bin").join("cargo-deny");
    let installed = Command::new(&program).arg("--version").output();
    if installed
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {VERSION}"))
    {
        return Ok(program);
    }
    run::step(format_args!("building cargo-deny {VERSION} from source (once, about a minute)"));
    let scratch = workspace::target().join("tools-build");
    let mut install = run::cargo();
    install
        .args([
            "install",
            "--locked",
            "--quiet",
            "--force",
            "--profile",
            "dev",
            "--version",
            VERSION,
            "--root",
        ])
        .arg(&root)
        .arg("--target-dir")
        .arg(&scratch)
        .arg("cargo-deny")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    run::run(&mut install).context("cargo-deny could not be built; the registry must be reachable once")?;
    // Hundreds of megabytes that nobody needs again.
    let _ = std::fs::remove_dir_all(scratch);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn the_reason_is_the_last_thing_said() {
        assert_eq!(last_line("cloning\nfatal: no such host\n\n"), "fatal: no such host");
        assert_eq!(last_line(""), "");
    }
}
