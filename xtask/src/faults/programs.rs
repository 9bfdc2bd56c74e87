//! Builds the test programs and runs chosen tests of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::places::{Kind, Program};
use crate::metadata::Package;
use crate::run;
use crate::test::{Heard, SILENCE};

/// A program, built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    /// Where its crate is, which is where cargo runs it.
    pub(crate) home: PathBuf,
}

/// One message of `cargo test --message-format=json`.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<crate::metadata::Target>,
    executable: Option<PathBuf>,
}

/// Builds the programs, or with none all of the workspace; the answer has every test program that was built.
///
/// It is always the whole workspace's build, whichever targets: another choice of crates has other features.
pub(crate) fn build(programs: &BTreeSet<&Program>, packages: &[Package]) -> Result<BTreeMap<Program, Built>> {
    let mut cargo = run::cargo();
    cargo.args(["test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    // As `cargo xtask test` builds them.
    cargo.args(crate::setup::kerberos::features(&[]));
    for program in programs {
        match program.kind {
            Kind::Lib => cargo.arg("--lib"),
            Kind::Bin => cargo.arg("--bins"),
            Kind::Test => cargo.args(["--test", &program.name]),
        };
    }
    run::step(run::shown(&cargo));
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", run::shown(&cargo)))?;
    if !output.status.success() {
        anyhow::bail!("the tests do not build");
    }
    Ok(built(&String::from_utf8_lossy(&output.stdout), packages))
}

fn built(messages: &str, packages: &[Package]) -> BTreeMap<Program, Built> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages
        .filter_map(|message| {
            let (path, target) = (message.executable?, message.target?);
            let package = packages.iter().find(|package| package.manifest_path == message.manifest_path)?;
            let kind = match target.kind.first()?.as_str() {
                "lib" => Kind::Lib,
                // A program that tests start is built beside its own tests, which have a hash in their name.
                "bin" if path.parent().is_some_and(|parent| parent.ends_with("deps")) => Kind::Bin,
                "test" => Kind::Test,
                _ => return None,
            };
            let program = Program { package: package.name.clone(), kind, name: target.name };
            let home = package.manifest_path.parent()?.to_owned();
            Some((program, Built { path, home }))
        })
        .collect()
}

/// What is told while a program runs.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The test of this name has ended, after so long.
    Ended(&'a str, Duration),
    /// A long test says how far it is.
    Progress(&'a str),
    /// Nothing was heard for so long.
    Silence(Duration),
    /// For a display that moves.
    Tick,
}

/// How tests are run.
pub(crate) struct Runner<'a> {
    /// Sets what the tests find in their environment.
    pub(crate) environment: &'a dyn Fn(&mut Command),
    /// How many tests of a program run at the same time; at least two, or the tests do not run on threads of their
    /// own, which figures are named after.
    pub(crate) threads: usize,
    /// Where all that the programs say is kept.
    pub(crate) logs: PathBuf,
}

impl Runner<'_> {
    fn command(&self, program: &Program, built: &Built) -> Command {
        let mut command = Command::new(&built.path);
        command
            .current_dir(&built.home)
            .env("CARGO_MANIFEST_DIR", &built.home)
            .env("CARGO_PKG_NAME", &program.package)
            .stdin(Stdio::null());
        (self.environment)(&mut command);
        command
    }

    /// The names of all tests of the program.
    pub(crate) fn names(&self, program: &Program, built: &Built) -> Result<Vec<String>> {
        let list = run::output(self.command(program, built).args(["--list", "--format", "terse"]))?;
        Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs the tests of exactly these names, and adds what is heard of them.
    pub(crate) fn run(
        &self,
        program: &Program,
        built: &Built,
        names: &BTreeSet<String>,
        heard: &mut Heard,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf> {
        let log = self.logs.join(format!("{}-{}.log", program.package, program.name));
        let mut file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command(program, built);
        command.args(["--exact", "--show-output", "--test-threads", &self.threads.to_string()]).args(names);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", built.path.display()))?;
        let (lines, line) = mpsc::channel();
        listen(child.stdout.take(), lines.clone());
        listen(child.stderr.take(), lines);

        heard.program(&built.path);
        let mut clock = Clock::new(names, self.threads);
        let mut last = Instant::now();
        let status = loop {
            match line.recv_timeout(Duration::from_millis(200)) {
                Ok(text) => {
                    last = Instant::now();
                    writeln!(file, "{text}")?;
                    if let Some(progress) = text.strip_prefix("PROGRESS ") {
                        tell(Event::Progress(progress));
                    } else if let Some(name) = heard.line(&text) {
                        tell(Event::Ended(&name, clock.ended(&name)));
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // A process that a test left behind may hold the output for ever.
                    if let Some(status) = child.try_wait()? {
                        break status;
                    }
                    if last.elapsed() >= SILENCE {
                        tell(Event::Silence(SILENCE));
                        last = Instant::now();
                    }
                    tell(Event::Tick);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break child.wait()?,
            }
        };
        writeln!(file, "{status}")?;
        Ok(log)
    }
}

/// Sends lines as they come, until the output ends.
fn listen(from: Option<impl Read + Send + 'static>, lines: mpsc::Sender<String>) {
    let Some(from) = from else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

/// How long each test took: the harness starts them in the order of their names, the next when one has ended.
#[derive(Debug)]
struct Clock {
    running: BTreeMap<String, Instant>,
    waiting: VecDeque<String>,
}

impl Clock {
    fn new(names: &BTreeSet<String>, threads: usize) -> Self {
        let mut waiting: VecDeque<String> = names.iter().cloned().collect();
        let now = Instant::now();
        let running = waiting.drain(..threads.min(waiting.len())).map(|name| (name, now)).collect();
        Self { running, waiting }
    }

    fn ended(&mut self, name: &str) -> Duration {
        let now = Instant::now();
        let started = self.running.remove(name);
        if let Some(next) = self.waiting.pop_front() {
            self.running.insert(next, now);
        }
        started.map(|started| now - started).unwrap_or_default()
    }
}

/// The last of a log's failures, for those who do not want to open it; without backtraces.
pub(crate) fn failures(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let text = text.find("\nfailures:\n").map_or(&*text, |at| &text[at..]);
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        inside = line.starts_with("stack backtrace:") || (inside && line.starts_with(' '));
        !inside
    });
    tail(&kept.collect::<Vec<_>>().join("\n"))
}

fn tail(text: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::faults::figures::Directory;
    use crate::test::Verdict;

    #[test]
    fn failures_are_shown_without_backtraces() {
        let scratch = Directory::new().unwrap();
        let log = scratch.path().join("a.log");
        let text = "test a ... FAILED\n\nfailures:\n\n---- a ----\nit broke\nstack backtrace:\n   0: begin\n             at /x\n\
                    note: run with more\n\nfailures:\n    a\n";
        std::fs::write(&log, text).unwrap();
        assert_eq!(
            failures(&log),
            "failures:\n\n---- a ----\nit broke\nnote: run with more\n\nfailures:\n    a"
        );
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"kind":["test"],"name":"kill","src_path":"/w/a/tests/kill.rs"},"executable":"/t/debug/deps/kill-1"}
{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"kind":["lib"],"name":"a","src_path":"/w/a/src/lib.rs"},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"kind":["bin"],"name":"a","src_path":"/w/a/src/main.rs"},"executable":"/t/debug/a"}
{"reason":"compiler-artifact","manifest_path":"/elsewhere/Cargo.toml","target":{"kind":["test"],"name":"x","src_path":"/x"},"executable":"/t/debug/deps/x-1"}
{"reason":"build-finished","success":true}
"#;
        let package =
            Package { name: "a".into(), manifest_path: "/w/a/Cargo.toml".into(), ..Package::default() };
        let built = built(messages, &[package]);
        assert_eq!(built.len(), 1);
        let (program, built) = built.first_key_value().unwrap();
        assert_eq!(
            (program.to_string().as_str(), built.path.to_str().unwrap()),
            ("a kill", "/t/debug/deps/kill-1")
        );
        assert_eq!(built.home, Path::new("/w/a"));
    }

    #[test]
    fn the_next_test_starts_when_one_has_ended() {
        let mut clock = Clock::new(&names(&["a", "b", "c"]), 2);
        assert_eq!(clock.running.keys().collect::<Vec<_>>(), ["a", "b"]);
        clock.ended("b");
        assert_eq!(clock.running.keys().collect::<Vec<_>>(), ["a", "c"]);
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.ended("a") >= Duration::from_millis(5));
        assert_eq!(clock.ended("nobody"), Duration::ZERO);
    }

    /// What [`a_program_is_asked_for_its_tests_and_runs_those_that_are_named`] runs; by itself it does nothing.
    #[test]
    fn a_part_for_another_test() {
        let Ok(part) = std::env::var("VALKIT_XTASK_PART") else { return };
        writeln!(std::io::stderr(), "PROGRESS {part} of {}", std::env::var("CARGO_PKG_NAME").unwrap())
            .unwrap();
        panic!("it broke");
    }

    #[test]
    fn a_program_is_asked_for_its_tests_and_runs_those_that_are_named() {
        const PASSES: &str = "faults::programs::tests::the_next_test_starts_when_one_has_ended";
        const FAILS: &str = "faults::programs::tests::a_part_for_another_test";
        // A harness like any other: our own.
        let path = std::env::current_exe().unwrap();
        let built = Built { path, home: std::env::current_dir().unwrap() };
        let program = Program { package: "p".into(), kind: Kind::Lib, name: "xtask".into() };
        let scratch = Directory::new().unwrap();
        let part = |command: &mut Command| {
            command.env("VALKIT_XTASK_PART", "half");
        };
        let runner = Runner { environment: &part, threads: 2, logs: scratch.path().to_owned() };
        let all = runner.names(&program, &built).unwrap();
        assert!([PASSES, FAILS].iter().all(|name| all.iter().any(|known| known == name)), "{all:?}");

        let (mut heard, mut events) = (Heard::default(), Vec::new());
        let log = runner
            .run(&program, &built, &names(&[PASSES, FAILS]), &mut heard, &mut |event| match event {
                Event::Ended(name, _) => events.push(name.to_owned()),
                Event::Progress(text) => events.push(text.to_owned()),
                Event::Silence(_) | Event::Tick => {}
            })
            .unwrap();
        events.sort();
        assert_eq!(events, [FAILS, PASSES, "half of p"]);
        assert_eq!(
            heard.of(&built.path),
            [(FAILS.to_owned(), Verdict::Failed), (PASSES.to_owned(), Verdict::Passed)]
        );
        assert!(failures(&log).contains("it broke"), "{}", failures(&log));
    }
}
