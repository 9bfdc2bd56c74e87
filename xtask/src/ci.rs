//! Everything that must hold, cheap checks first, stopping at the first that does not.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{alone, deny, docs, layers, lua, registrations, run, setup, smtp, test, tidy};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("layers", layers::run),
    ("lua", lua::run),
    ("setup", || setup::run(&setup::Args::for_ci())),
    ("deny", deny::run),
    ("clippy", clippy),
    ("alone", alone::run),
    ("docs", || docs::run(&docs::Args::default())),
    ("test", || test::run(&test::Args::default())),
    ("demo", full_demo),
    ("registrations", quick_registrations),
    ("smtp", quick_smtp),
];

/// Runs all steps and prints what each took.
pub(crate) fn run() -> Result<()> {
    let mut done: Vec<(&str, &str, Duration)> = Vec::new();
    let mut outcome = Ok(());
    for (name, step) in STEPS {
        run::step(format_args!("[{name}]"));
        let started = Instant::now();
        let result = step();
        done.push((name, if result.is_ok() { "ok" } else { "FAILED" }, started.elapsed()));
        if let Err(error) = result {
            outcome = Err(error).with_context(|| format!("step `{name}`"));
            break;
        }
    }
    eprint!("\n{}", table(&done));
    outcome
}

fn table(done: &[(&str, &str, Duration)]) -> String {
    let mut table = format!("{:<14} {:<7} {:>8}\n", "step", "result", "seconds");
    for (name, result, took) in done {
        let _ = writeln!(table, "{name:<14} {result:<7} {:>8.1}", took.as_secs_f64());
    }
    let total: Duration = done.iter().map(|(.., took)| *took).sum();
    let _ = writeln!(table, "{:<14} {:<7} {:>8.1}", "total", "", total.as_secs_f64());
    table
}

fn fmt() -> Result<()> {
    run::run(run::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut clippy = run::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked"]);
    clippy.args(setup::kerberos::features(&[]));
    run::run(clippy.args(["--", "-D", "warnings"]))
}

fn full_demo() -> Result<()> {
    if registrations::demo(&registrations::DemoArgs::for_ci())? != ExitCode::SUCCESS {
        bail!("the demo's books do not balance");
    }
    Ok(())
}

fn quick_registrations() -> Result<()> {
    if registrations::run(&registrations::Args::for_ci())? != ExitCode::SUCCESS {
        bail!("the books of the registrations do not balance");
    }
    Ok(())
}

fn quick_smtp() -> Result<()> {
    if smtp::run(&smtp::Args::for_ci())? != ExitCode::SUCCESS {
        bail!("the books of the mail servers do not balance");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_adds_up() {
        let table =
            table(&[("fmt", "ok", Duration::from_millis(1500)), ("test", "FAILED", Duration::from_mins(1))]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[2].contains("test") && lines[2].contains("FAILED"), "{table}");
        assert!(lines[3].starts_with("total") && lines[3].ends_with("61.5"), "{table}");
    }
}
