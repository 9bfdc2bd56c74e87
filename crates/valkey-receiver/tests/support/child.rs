//! Consumers in processes of their own: this test binary again, told by its environment what to be.
//!
//! The file that uses it has a test `consumer_process`, which returns at once unless [`Part::given`] says otherwise.
//! Parent and child talk in lines.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_envelope::{QueueKeys, QueueName};
use valkey_receiver::{Receiver, ReceiverSettings};

use crate::support::{Bed, soon};

const ROLE: &str = "VALKIT_CONSUMER_ROLE";
const URL: &str = "VALKIT_CONSUMER_URL";
const QUEUE: &str = "VALKIT_CONSUMER_QUEUE";
/// Begins each line meant for the parent: the test harness prints lines of its own.
const MARK: char = '\u{1e}';

/// A child, as its parent sees it.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
}

/// What a child is to be.
pub(crate) struct Part {
    pub(crate) role: String,
    url: String,
    queue: String,
}

/// How many threads run the handlers of a child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    One,
    Two,
}

/// Kills this process without the delay of starting a program first.
pub(crate) struct Assassin(std::process::Child);

// === impl Process ===

impl Process {
    /// Starts a consumer of the bed's queue.
    pub(crate) fn spawn(bed: &Bed, role: &str) -> Self {
        Self::spawn_with(bed, role, &[])
    }

    /// The same, with these variables in its environment.
    pub(crate) fn spawn_with(bed: &Bed, role: &str, variables: &[(&str, String)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "consumer_process", "--nocapture"])
            .env(ROLE, role)
            .env(URL, bed.server.url())
            .env(QUEUE, bed.queue.as_str())
            .env("RUST_BACKTRACE", "0")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let (found, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = printed.next_line().await {
                if let Some((_, said)) = line.split_once(MARK)
                    && found.send(said.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        Self { stdin: child.stdin.take().unwrap(), child, lines }
    }

    /// The next line of the child; `None` when it is gone and everything it said is known.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        soon("a word of the child", self.lines.recv()).await
    }

    /// The same, however long it takes. Cancel safe.
    pub(crate) async fn hear_or_wait(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Takes everything said up to `word`, and gives back what came before it.
    pub(crate) async fn until(&mut self, word: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let Some(line) = self.hear().await else {
                panic!("the child ended before it said {word}: {before:?}")
            };
            if line == word {
                return before;
            }
            before.push(line);
        }
    }

    pub(crate) async fn tell(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// `STOP`, `CONT` or `KILL`.
    pub(crate) async fn signal(&self, name: &str) {
        Self::signal_all(std::slice::from_ref(self), name).await;
    }

    /// The same to several at once.
    pub(crate) async fn signal_all(processes: &[Self], name: &str) {
        let ids = processes.iter().map(|process| process.child.id().expect("it runs").to_string());
        let status = Command::new("kill").arg(format!("-{name}")).args(ids).status().await.unwrap();
        assert!(status.success(), "kill -{name}");
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        soon("the end of the child", self.child.wait()).await.unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

// === impl Part ===

impl Part {
    /// What this process is to be, if it is a child.
    pub(crate) fn given() -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        Some(Self { role: variable(ROLE)?, url: variable(URL)?, queue: variable(QUEUE)? })
    }

    pub(crate) fn play(self, act: impl AsyncFnOnce(Self)) {
        self.play_on(Threads::Two, act);
    }

    pub(crate) fn play_on(self, threads: Threads, act: impl AsyncFnOnce(Self)) {
        // The harness prints the name of the test without a line break.
        println!();
        let mut runtime = match threads {
            Threads::One => tokio::runtime::Builder::new_current_thread(),
            Threads::Two => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(act(self));
    }

    pub(crate) async fn connection(&self) -> Connection {
        Connection::connect(&ConnectionSettings::from_url(&self.url).unwrap()).await.unwrap()
    }

    pub(crate) fn keys(&self) -> QueueKeys {
        self.queue.parse::<QueueName>().unwrap().keys()
    }

    pub(crate) async fn receiver(&self, settings: ReceiverSettings) -> Receiver {
        let connection = self.connection().await;
        let receiver = Receiver::builder(&connection).queue(self.queue.parse().unwrap()).settings(settings);
        receiver.start().await.unwrap()
    }
}

/// Says a line to the parent. It is out when this returns, whatever becomes of this process.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").unwrap();
}

/// Waits for a line of the parent; `None` when the parent is gone.
pub(crate) async fn heed() -> Option<String> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    line.await.unwrap().transpose().unwrap()
}

// === impl Assassin ===

impl Assassin {
    /// A shell that waits for its order. When this process ends otherwise, it ends too, and kills nobody.
    pub(crate) fn hire() -> Self {
        let shell = std::process::Command::new("sh")
            .args(["-c", "read order && kill -9 $0", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(shell)
    }

    /// `SIGKILL` to this process, a fraction of a millisecond from now. This thread does nothing any more.
    pub(crate) fn strike(&mut self) -> ! {
        self.0.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Drop for Assassin {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
