//! The whole suite on each server that we say we run on.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::faults::aligned;
use crate::setup::{self, Valkey};
use crate::test::{self, Tally};
use crate::{run, workspace};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only this engine, by how its name or version begins: `8.1`, `redis`
    #[arg(long, value_name = "ENGINE")]
    engine: Vec<String>,
    /// Only the tests of this crate
    #[arg(short, long, value_name = "CRATE")]
    package: Vec<String>,
}

/// What one engine came to.
#[derive(Debug)]
struct Outcome {
    image: String,
    succeeded: bool,
    tally: Tally,
    took: Duration,
}

/// Runs them one after the other, and fails if a test failed on any.
pub(crate) fn run(args: &Args) -> Result<()> {
    let images = chosen(&setup::engines()?, &args.engine)?;
    setup::clock::get();
    let logs = workspace::target().join("engines");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut outcomes = Vec::new();
    for image in images {
        let path = logs.join(format!("{}.log", image.replace(['/', ':'], "-")));
        run::step(format_args!("{image}; all that is said: {}", path.display()));
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let started = Instant::now();
        let (succeeded, tally) =
            test::on_engine(&args.package, &Valkey::image(image.clone()).with_newest(), Headlines::new(log))?;
        outcomes.push(Outcome { image, succeeded, tally, took: started.elapsed() });
    }
    print!("\n{}", table(&outcomes));
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.succeeded).map(|outcome| outcome.image.as_str()).collect();
    if !failed.is_empty() {
        bail!("tests failed on {}", failed.join(", "));
    }
    Ok(())
}

/// The images that are meant; all when none is named.
fn chosen(images: &[String], engines: &[String]) -> Result<Vec<String>> {
    let is_meant = |image: &str, engine: &str| {
        let (name, version) = image.rsplit_once(':').unwrap_or((image, ""));
        let version_begins = version
            .strip_prefix(engine.rsplit(':').next().unwrap_or_default())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match engine.split_once(':') {
            Some((named, _)) => version_begins && (name == named || name.ends_with(&format!("/{named}"))),
            None => version_begins || name.rsplit('/').next() == Some(engine),
        }
    };
    if let Some(unknown) = engines.iter().find(|engine| !images.iter().any(|image| is_meant(image, engine))) {
        bail!("no engine `{unknown}` among {}", images.join(", "));
    }
    let is_chosen = |image: &&String| engines.is_empty() || engines.iter().any(|e| is_meant(image, e));
    Ok(images.iter().filter(is_chosen).cloned().collect())
}

fn table(outcomes: &[Outcome]) -> String {
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|Outcome { image, succeeded, tally, took }| {
            vec![
                image.clone(),
                if *succeeded { "green" } else { "FAILED" }.to_owned(),
                tally.passed.to_string(),
                tally.failed.to_string(),
                tally.skipped.len().to_string(),
                format!("{:.0}", took.as_secs_f64()),
            ]
        })
        .collect();
    let mut text = aligned(&["engine", "result", "passed", "failed", "skipped", "seconds"], &rows, 2);
    for Outcome { image, tally, .. } in outcomes {
        for (word, tests) in [("FAILED ", &tally.failures), ("skipped", &tally.skipped)] {
            for test in tests {
                text += "  ";
                text += &[image.as_str(), word, test.as_str()].join("  ");
                text += "\n";
            }
        }
    }
    text
}

/// Keeps everything in a file, and shows only which suite runs and what failed.
#[derive(Debug)]
struct Headlines {
    file: File,
    line: Vec<u8>,
}

impl Headlines {
    fn new(file: File) -> Self {
        Self { file, line: Vec::new() }
    }
}

impl Write for Headlines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(bytes)?;
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            if is_headline(&line) {
                eprintln!("{line}");
            }
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn is_headline(line: &str) -> bool {
    let suite = line.trim_start().starts_with("Running ") || line.trim_start().starts_with("Doc-tests ");
    suite || (line.starts_with("test ") && line.ends_with(" ... FAILED")) || line.starts_with("error")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const IMAGES: [&str; 3] = ["valkey/valkey:8.0.1", "valkey/valkey:8.1.1", "redis:7.0.15"];

    fn choose(engines: &[&str]) -> Result<Vec<String>> {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        chosen(&owned(&IMAGES), &owned(engines))
    }

    #[test]
    fn engines_are_chosen_by_name_or_version() {
        for (engines, expected) in [
            (&[][..], &IMAGES[..]),
            (&["8.1"], &IMAGES[1..2]),
            (&["8.0.1", "redis"], &[IMAGES[0], IMAGES[2]]),
            (&["valkey"], &IMAGES[..2]),
            (&["redis:7.0"], &IMAGES[2..]),
            (&["valkey:8.0"], &IMAGES[..1]),
        ] {
            assert_eq!(choose(engines).unwrap(), expected, "{engines:?}");
        }
        for unknown in ["9.1", "8.", "redis:8.0", "key"] {
            assert!(choose(&[unknown]).is_err(), "{unknown}");
        }
    }

    #[test]
    fn the_table_shows_each_engine_and_why_tests_were_skipped() {
        let mut tally = Tally::default();
        for line in ["test a ... FAILED", "SKIPPED b: needs 9.0", "test result: FAILED. 7 passed; 1 failed;"]
        {
            tally.line(line);
        }
        let outcome =
            Outcome { image: "redis:7.0.15".into(), succeeded: false, tally, took: Duration::from_secs(9) };
        assert_eq!(
            table(&[outcome]),
            "engine        result  passed  failed  skipped  seconds\n\
             redis:7.0.15  FAILED       7       1        1        9\n  \
             redis:7.0.15  FAILED   a\n  redis:7.0.15  skipped  b: needs 9.0\n"
        );
    }

    #[test]
    fn only_suites_and_failures_are_shown() {
        for shown in ["     Running tests/a.rs (x)", "   Doc-tests a", "test a ... FAILED", "error: no"] {
            assert!(is_headline(shown), "{shown}");
        }
        for kept in ["test a ... ok", "running 3 tests", "test result: FAILED. 1 passed"] {
            assert!(!is_headline(kept), "{kept}");
        }
    }
}
