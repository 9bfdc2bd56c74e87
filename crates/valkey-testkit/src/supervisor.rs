//! One server process under `supervisor.sh`: the same shell script in a container and on this machine, so that
//! kill, stop, pause and restart mean the same on both, and the address never changes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::TestkitError;

/// Loading a large append-only file on a busy machine takes a while; a server that is not up by then is stuck.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// A graceful stop writes and syncs; a signal is delivered at once.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(30);
const LOG_LINES: usize = 400;

/// Begins what the script itself says.
const MESSAGE: &str = "@testkit ";

pub(crate) const SCRIPT: &str = include_str!("supervisor.sh");

pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;
pub(crate) type Output = Pin<Box<dyn Stream<Item = Result<Bytes, TestkitError>> + Send>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Continue,
    Kill,
    Stop,
    Terminate,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Terminate => "TERM",
        }
    }
}

/// What the script has told so far.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Verbs that were answered.
    done: u64,
    /// Between its start and its exit.
    running: bool,
    /// Has said since its last start that it accepts connections.
    ready: bool,
    /// How the last run ended.
    exit: Option<String>,
    /// The script itself is gone, and the server with it.
    ended: bool,
}

pub(crate) struct Supervisor {
    control: tokio::sync::Mutex<Control>,
    told: watch::Receiver<Told>,
    log: Arc<Mutex<VecDeque<String>>>,
    /// Written only by whoever holds `control`.
    paused: AtomicBool,
}

struct Control {
    input: Input,
    sent: u64,
}

impl Supervisor {
    /// Takes over the script's two ends. Must be called on the testkit's runtime.
    pub(crate) fn new(input: Input, output: Output) -> Self {
        let (tell, told) = watch::channel(Told::default());
        let log = Arc::new(Mutex::new(VecDeque::new()));
        tokio::spawn(listen(output, tell, Arc::clone(&log)));
        let control = tokio::sync::Mutex::new(Control { input, sent: 0 });
        Self { control, told, log, paused: AtomicBool::new(false) }
    }

    /// Starts the server and waits until it accepts connections.
    pub(crate) async fn start(&self) -> Result<(), TestkitError> {
        let mut control = self.control.lock().await;
        control.send("start", &self.told).await?;
        let sent = control.sent;
        let what = "the server to accept connections";
        let told =
            self.wait(START_TIMEOUT, what, |told| told.ready || (!told.running && told.done == sent)).await?;
        if told.ready {
            return Ok(());
        }
        let reason =
            told.exit.map_or_else(|| "its supervisor is gone".to_owned(), |code| format!("exit code {code}"));
        Err(TestkitError::Start { reason, log: self.log() })
    }

    /// Ends the server by `signal` and waits until it is gone. Does nothing for one that does not run.
    pub(crate) async fn end(&self, signal: Signal) -> Result<(), TestkitError> {
        let mut control = self.control.lock().await;
        if !self.told.borrow().running {
            return Ok(());
        }
        if self.is_paused() && signal != Signal::Kill {
            // A stopped process acts on TERM only after it was continued.
            control.signal(Signal::Continue, &self.told).await?;
        }
        control.signal(signal, &self.told).await?;
        self.paused.store(false, Ordering::Release);
        self.wait(SIGNAL_TIMEOUT, "the server to end", |told| !told.running).await?;
        Ok(())
    }

    /// Freezes (`true`) or thaws the server: its sockets stay open, the kernel keeps accepting and buffering.
    pub(crate) async fn pause(&self, pause: bool) -> Result<(), TestkitError> {
        let mut control = self.control.lock().await;
        if !self.told.borrow().running {
            let what = if pause { "cannot pause it" } else { "cannot resume it" };
            return Err(TestkitError::State { what, state: "not running" });
        }
        control.signal(if pause { Signal::Stop } else { Signal::Continue }, &self.told).await?;
        self.paused.store(pause, Ordering::Release);
        Ok(())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.told.borrow().running
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// The last lines of the server's log, over all its runs.
    pub(crate) fn log(&self) -> String {
        let lines = self.log.lock().expect("no holder of the log panics");
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    async fn wait(
        &self,
        limit: Duration,
        what: &str,
        until: impl FnMut(&Told) -> bool,
    ) -> Result<Told, TestkitError> {
        wait(&self.told, limit, what, until).await
    }
}

impl Control {
    async fn signal(&mut self, signal: Signal, told: &watch::Receiver<Told>) -> Result<(), TestkitError> {
        self.send(&format!("signal {}", signal.name()), told).await
    }

    /// Sends one verb and waits until the script has carried it out.
    async fn send(&mut self, verb: &str, told: &watch::Receiver<Told>) -> Result<(), TestkitError> {
        self.input
            .write_all(format!("{verb}\n").as_bytes())
            .await
            .map_err(TestkitError::io("talking to the server's supervisor"))?;
        self.input.flush().await.map_err(TestkitError::io("talking to the server's supervisor"))?;
        self.sent += 1;
        let sent = self.sent;
        wait(told, SIGNAL_TIMEOUT, "the server's supervisor", |told| told.done >= sent).await.map(drop)
    }
}

async fn wait(
    told: &watch::Receiver<Told>,
    limit: Duration,
    what: &str,
    mut until: impl FnMut(&Told) -> bool,
) -> Result<Told, TestkitError> {
    let mut changes = told.clone();
    let found = async { changes.wait_for(|told| told.ended || until(told)).await.map(|told| told.clone()) };
    match tokio::time::timeout(limit, found).await {
        Ok(Ok(told)) => Ok(told),
        // The reader says so before it goes; without it, the testkit's runtime is being torn down.
        Ok(Err(_)) => Ok(Told { ended: true, ..Told::default() }),
        Err(_) => {
            let last = format!("{:?}", told.borrow());
            Err(TestkitError::Timeout { what: what.to_owned(), waited: limit, last })
        }
    }
}

/// Reads what the script says until it is gone.
async fn listen(mut output: Output, tell: watch::Sender<Told>, log: Arc<Mutex<VecDeque<String>>>) {
    let mut pending = BytesMut::new();
    while let Some(Ok(chunk)) = output.next().await {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end + 1);
            hear(String::from_utf8_lossy(&line).trim_end(), &tell, &log);
        }
    }
    tell.send_modify(|told| {
        told.ended = true;
        told.running = false;
        told.ready = false;
    });
}

fn hear(line: &str, tell: &watch::Sender<Told>, log: &Mutex<VecDeque<String>>) {
    let (line, message) =
        line.split_once(MESSAGE).map_or((line, None), |(line, message)| (line, Some(message)));
    // A sentinel says nothing of connections.
    if line.contains("Ready to accept connections") || line.contains("+monitor ") {
        tell.send_modify(|told| told.ready = told.running);
    }
    if !line.is_empty() {
        let mut log = log.lock().expect("no holder of the log panics");
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(line.to_owned());
    }
    let Some(message) = message else { return };
    tracing::trace!(message, "supervisor");
    tell.send_modify(|told| match message.split_once(' ').unwrap_or((message, "")) {
        ("started", _) => *told = Told { running: true, ready: false, exit: None, ..told.clone() },
        ("exit", code) => {
            *told = Told { running: false, ready: false, exit: Some(code.to_owned()), ..told.clone() }
        }
        _ => told.done += 1,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told and logged after these lines.
    fn heard(lines: &[&str]) -> (Told, Vec<String>) {
        let (tell, told) = watch::channel(Told::default());
        let log = Mutex::new(VecDeque::new());
        for line in lines {
            hear(line, &tell, &log);
        }
        (told.borrow().clone(), log.into_inner().expect("nobody panicked").into())
    }

    #[test]
    fn a_run_is_followed_from_start_to_exit() {
        let mut lines =
            vec!["@testkit started", "@testkit done start", "1:M * Ready to accept connections tcp"];
        let (told, log) = heard(&lines);
        assert!(told.running && told.ready && told.done == 1);
        assert_eq!(log, ["1:M * Ready to accept connections tcp"]);
        lines.extend(["@testkit done signal", "@testkit exit 137"]);
        let (told, _) = heard(&lines);
        assert!(!told.running && !told.ready && told.done == 2);
        assert_eq!(told.exit.as_deref(), Some("137"));
    }

    #[test]
    fn a_message_in_the_middle_of_a_line_is_heard() {
        let (told, log) =
            heard(&["@testkit started", "9:signal-handler (17) @testkit done signal", "Received SIGTERM"]);
        assert_eq!(told.done, 1);
        assert_eq!(log, ["9:signal-handler (17) ", "Received SIGTERM"]);
    }

    #[test]
    fn the_log_keeps_its_last_lines() {
        let lines: Vec<String> = (0..LOG_LINES + 5).map(|number| number.to_string()).collect();
        let (_, log) = heard(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((log.len(), log[0].as_str()), (LOG_LINES, "5"));
    }
}
