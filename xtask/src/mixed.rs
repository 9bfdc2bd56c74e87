//! Two versions of `valkit` at work on one queue: the present one, and one built from an older revision.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::server::Server;
use crate::valkit::{Profile, Valkit};
use crate::{run, setup, workspace};

const QUEUE: &str = "mixed";
/// Of the receivers: as short as it may be with a second of slack for a busy machine.
const LEASE: &str = "2s";
/// How long everything may take once the last message is sent.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The older version: a git revision
    #[arg(long, value_name = "REV")]
    with: String,
    /// Messages, half of them sent by each version
    #[arg(long, default_value_t = 20_000)]
    messages: u32,
    /// Receivers of each version that are killed on the way
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
}

/// One of the two.
#[derive(Debug)]
struct Version {
    name: &'static str,
    program: PathBuf,
}

/// A receiver, which prints what it has handled.
struct Reader {
    child: Child,
    version: &'static str,
}

/// How often each message was handled, and by whom.
#[derive(Default)]
struct Books {
    handled: BTreeMap<u32, u32>,
    by: BTreeMap<&'static str, u64>,
    /// Handled after a crash of its consumer.
    reclaimed: BTreeMap<&'static str, u64>,
}

type Line = (&'static str, String);

/// Builds the older version, and lets both work.
pub(crate) fn run(args: &Args) -> Result<()> {
    let valkey = setup::valkey(args.yes)?;
    let old = Version { name: "old", program: build_old(&args.with)? };
    let present = Valkit::build(Profile::Dev)?;
    // A copy: whoever builds meanwhile must not change what runs here.
    let copy = folder().join("valkit-new");
    std::fs::copy(present.path(), &copy).context("cannot copy the present valkit")?;
    let new = Version { name: "new", program: copy };
    run::step(format_args!("starting Valkey: {valkey}"));
    let server = Server::start(&valkey, &["--appendonly", "no"])?;
    work(args, &[old, new], server.url())
}

fn folder() -> PathBuf {
    workspace::target().join("mixed")
}

/// The program of a revision. Its source is unpacked below target/, and all revisions share one more target folder.
fn build_old(revision: &str) -> Result<PathBuf> {
    let mut resolve = Command::new("git");
    resolve.args(["rev-parse", "--verify", "--short=12"]).arg(format!("{revision}^{{commit}}"));
    let commit = run::output(resolve.current_dir(workspace::root()))?.trim().to_owned();
    let program = folder().join(format!("valkit-{commit}"));
    if program.is_file() {
        run::step(format_args!("valkit of {commit} is there"));
        return Ok(program);
    }
    let source = folder().join(&commit);
    std::fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    let archive = folder().join(format!("{commit}.tar"));
    let mut pack = Command::new("git");
    pack.args(["archive", "--format", "tar", "--output"]).arg(&archive).arg(&commit);
    run::run(pack.current_dir(workspace::root()))?;
    run::run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source))?;
    run::step(format_args!("building valkit of {commit}"));
    let target = folder().join("target");
    let mut build = run::cargo();
    build.args(["build", "--locked", "--package", "valkit"]).current_dir(&source);
    run::run(build.env("CARGO_TARGET_DIR", &target))?;
    std::fs::copy(target.join("debug/valkit"), &program).context("cannot copy the older valkit")?;
    Ok(program)
}

fn work(args: &Args, versions: &[Version; 2], url: &str) -> Result<()> {
    let started = Instant::now();
    let (tell, told) = channel();
    let mut readers = Vec::new();
    for version in versions {
        for _ in 0..2 {
            readers.push(Reader::start(version, url, &tell)?);
        }
    }
    let senders: Vec<_> = versions
        .iter()
        .zip([0, 1])
        .map(|(version, odd)| {
            let (program, url, count) = (version.program.clone(), url.to_owned(), args.messages);
            std::thread::spawn(move || {
                let numbers: Vec<u32> = (1..=count).filter(|n| n % 2 == odd).collect();
                send(&program, &url, &numbers)
            })
        })
        .collect();
    let mut books = Books::default();
    let mut kills = 0;
    while kills < 2 * args.kills {
        books.read_for(&told, Duration::from_millis(300))?;
        // The versions in turn, so that each takes over from the other.
        let at = kills as usize * 2 % readers.len() + kills as usize / 2 % 2;
        let dead = &mut readers[at];
        dead.child.kill().context("cannot kill a receiver")?;
        dead.child.wait()?;
        let version = versions.iter().find(|version| version.name == dead.version);
        *dead = Reader::start(version.context("a version has its name")?, url, &tell)?;
        kills += 1;
    }
    for sender in senders {
        sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
    }
    let deadline = Instant::now() + PATIENCE;
    while books.handled.len() < args.messages as usize && Instant::now() < deadline {
        books.read_for(&told, Duration::from_millis(200))?;
    }
    // What a killed one held twice over comes within a lease.
    books.read_for(&told, Duration::from_secs(4))?;
    for reader in &mut readers {
        reader.stop()?;
    }
    drop(tell);
    books.read_for(&told, Duration::from_secs(1))?;
    let left = left(&versions[1].program, url)?;
    let lost = (1..=args.messages).filter(|number| !books.handled.contains_key(number)).count();
    let twice: u32 = books.handled.values().map(|times| times - 1).sum();
    println!(
        "messages {}, kills {kills}, lost {lost}, twice {twice}, handled {:?}, taken over from dead ones {:?}, left {left}, {:.1?}",
        args.messages,
        books.by,
        books.reclaimed,
        started.elapsed()
    );
    ensure!(lost == 0, "{lost} messages were lost");
    ensure!(left == 0, "{left} messages are left in the queue or among its dead letters");
    for version in versions {
        ensure!(books.by.contains_key(version.name), "the {} version handled nothing", version.name);
    }
    Ok(())
}

fn send(program: &Path, url: &str, numbers: &[u32]) -> Result<()> {
    for some in numbers.chunks(200) {
        let mut command = Command::new(program);
        command.args(["send", QUEUE, "--ndjson", "--url", url]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let lines: Vec<String> = some.iter().map(u32::to_string).collect();
        child.stdin.take().context("piped")?.write_all((lines.join("\n") + "\n").as_bytes())?;
        let status = child.wait()?;
        if !status.success() {
            bail!("`{}` failed: {status}", run::shown(&command));
        }
    }
    Ok(())
}

/// Messages of the queue wherever they are, the dead included.
fn left(program: &Path, url: &str) -> Result<u64> {
    let mut command = Command::new(program);
    let json = run::output(command.args(["queue", "ls", "-o", "json", "--url", url]))?;
    let queues: Value = serde_json::from_str(&json).context("`valkit queue ls` gave no JSON")?;
    let queue = queues.as_array().and_then(|all| all.iter().find(|queue| queue["queue"] == QUEUE));
    let Some(queue) = queue else { return Ok(0) };
    let places = [&queue["ready"]["total"], &queue["delayed"], &queue["in_flight"], &queue["dead"]];
    places.iter().try_fold(0, |sum, place| {
        Ok(sum + place.as_u64().with_context(|| format!("`valkit queue ls` tells no depths: {queue}"))?)
    })
}

// === impl Reader ===

impl Reader {
    fn start(version: &Version, url: &str, tell: &Sender<Line>) -> Result<Self> {
        let mut command = Command::new(&version.program);
        command.args(["receive", QUEUE, "--lease", LEASE, "--concurrency", "4", "--url", url]);
        command.env("VALKEY_RECEIVER_MAX_CRASHES", "1000").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child =
            command.spawn().with_context(|| format!("cannot start the {} valkit", version.name))?;
        let lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let (name, tell) = (version.name, tell.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if tell.send((name, line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, version: version.name })
    }

    fn stop(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        run::run(Command::new("kill").args(["-TERM", &id]))?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a receiver of the {} version ended badly: {status}", self.version);
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // After an error they would go on for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Books ===

impl Books {
    fn read_for(&mut self, told: &Receiver<Line>, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Ok((version, line)) = told.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.read(version, &line)?;
        }
        Ok(())
    }

    /// A line that its process died over is not a handled message: it comes again.
    fn read(&mut self, version: &'static str, line: &str) -> Result<()> {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return Ok(()) };
        let number = message["payload"].as_u64().and_then(|number| u32::try_from(number).ok());
        *self.handled.entry(number.context("a message that nobody sent")?).or_default() += 1;
        *self.by.entry(version).or_default() += 1;
        if message["crashes"].as_u64().unwrap_or(0) > 0 {
            *self.reclaimed.entry(version).or_default() += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn books_count_whole_lines() {
        let mut books = Books::default();
        books.read("old", r#"{"payload":7,"attempt":1}"#).unwrap();
        books.read("new", r#"{"payload":7,"attempt":1,"crashes":1}"#).unwrap();
        books.read("new", r#"{"payload":8,"att"#).unwrap();
        assert_eq!(books.handled, BTreeMap::from([(7, 2)]));
        assert_eq!((books.by["old"], books.by["new"], books.reclaimed["new"]), (1, 1, 1));
        assert!(books.read("old", r#"{"payload":"x"}"#).is_err());
    }
}
