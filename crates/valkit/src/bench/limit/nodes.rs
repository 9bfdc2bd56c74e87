//! Several processes that share one limit.

use std::{process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin},
    process::{Child, ChildStdout, Command},
};
use valkey_connection::Connection;
use valkey_ratelimit::Quota;

use super::{
    limiter,
    load::Load,
    rows::{Site, subjects},
    way::{Counting, Way},
};
use crate::{context::Context, exit::Exit, failure::Failure};

/// What one process does; the bench starts it.
#[derive(clap::Args)]
pub(crate) struct NodeArguments {
    #[arg(long)]
    prefix: String,
    #[arg(long)]
    quota: Quota,
    #[arg(long)]
    subjects: usize,
    #[arg(long)]
    tasks: usize,
    #[arg(long)]
    milliseconds: u64,
    /// Go on until somebody is
    #[arg(long)]
    until_refused: bool,
}

/// What it says in the end.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    checks: u64,
    admitted: u64,
    seconds: f64,
}

/// What so many processes made of one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nodes {
    pub(crate) processes: usize,
    /// Over a thousand subjects, all admitted.
    pub(crate) checks_a_second: f64,
    /// Of one subject's limit, which all asked for as fast as they could.
    pub(crate) limit: u64,
    pub(crate) admitted: u64,
    pub(crate) asked: u64,
}

/// What is asked of each process.
const TASKS: usize = 64;

/// How long a process may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// First as fast as can be, then one limit that is too small for all of them, until each was refused. Its window outlasts the
/// measurement, so whatever is admitted is within one.
pub(crate) async fn measure(
    site: &Site,
    context: &Context,
    nodes: usize,
    time: Duration,
) -> Result<Nodes, Failure> {
    let quota = |text: &str| text.parse::<Quota>().map_err(|error| Failure::Failed(error.to_string()));
    let prefix = format!("{}nodes:{nodes}:", site.prefix);
    let fast =
        Asked { prefix: &prefix, quota: quota("100000/1s")?, subjects: 1_000, time, until_refused: false };
    let (rate, ..) = fast.by(nodes, context).await?;
    let prefix = format!("{}exact:{nodes}:", site.prefix);
    let small = Asked { prefix: &prefix, quota: quota("10000/1h")?, subjects: 1, time, until_refused: true };
    let (_, requests, admitted) = small.by(nodes, context).await?;
    let way = Way::Ours(Counting::SlidingWindow);
    let asker = way.asker(&site.connection, &site.limiter, &prefix, small.quota, subjects(1))?;
    site.clear(&asker, 1).await?;
    Ok(Nodes {
        processes: nodes,
        checks_a_second: rate,
        limit: small.quota.limit(),
        admitted,
        asked: requests,
    })
}

/// One process: says that it is ready, waits for a line, asks, says what became of it.
pub(crate) async fn run(arguments: NodeArguments, context: &Context) -> Result<Exit, Failure> {
    let NodeArguments { prefix, quota, subjects: count, tasks, milliseconds, until_refused } = arguments;
    let connection = Connection::connect(&context.settings()?.connection).await?;
    let way = Way::Ours(Counting::SlidingWindow);
    let asker = way.asker(&connection, &limiter(&connection), &prefix, quota, subjects(count))?;
    context.output.text("ready\n")?;
    let mut line = String::new();
    let read = BufReader::new(stdin()).read_line(&mut line).await;
    read.map_err(|error| Failure::io("waiting for the others", error))?;
    let load = Load { tasks, subjects: count, time: Duration::from_millis(milliseconds), timed: u64::MAX };
    let mut said = Said { checks: 0, admitted: 0, seconds: 0.0 };
    loop {
        let done = load.run(&asker).await?;
        said.checks += done.checks;
        said.admitted += done.admitted;
        said.seconds += done.time.as_secs_f64();
        if !until_refused || said.admitted < said.checks {
            break;
        }
    }
    let said = serde_json::to_string(&said).map_err(|error| Failure::Failed(error.to_string()))?;
    context.output.text(&format!("{said}\n"))?;
    Ok(Exit::Ok)
}

/// What all processes are asked to do.
struct Asked<'a> {
    prefix: &'a str,
    quota: Quota,
    subjects: usize,
    time: Duration,
    until_refused: bool,
}

/// A process that runs; dropped, it is killed.
struct Node {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

// === impl Asked ===

impl Asked<'_> {
    /// Checks a second, checks and admitted, all processes together. They begin at once.
    async fn by(&self, nodes: usize, context: &Context) -> Result<(f64, u64, u64), Failure> {
        let mut running = Vec::new();
        for _ in 0..nodes {
            running.push(self.start(context)?);
        }
        for node in &mut running {
            node.line().await?;
        }
        for node in &mut running {
            node.go().await?;
        }
        let (mut rate, mut checks, mut admitted) = (0.0, 0, 0);
        for mut node in running {
            let line = node.line().await?;
            let said: Said =
                serde_json::from_str(&line).map_err(|error| Failure::Failed(format!("{line}: {error}")))?;
            rate += said.checks as f64 / said.seconds;
            checks += said.checks;
            admitted += said.admitted;
            let _ = tokio::time::timeout(PATIENCE, node.child.wait()).await;
        }
        Ok((rate, checks, admitted))
    }

    fn start(&self, context: &Context) -> Result<Node, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::io("finding this program", error))?;
        let mut child = Command::new(&program)
            .args(["bench", "limit-node", "--prefix", self.prefix])
            .args(["--quota", &self.quota.to_string()])
            .args(["--subjects", &self.subjects.to_string()])
            .args(["--tasks", &TASKS.to_string()])
            .args(["--milliseconds", &self.time.as_millis().to_string()])
            .args(self.until_refused.then_some("--until-refused"))
            .envs(context.child_environment())
            .args(context.child_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::io(format!("starting {}", program.display()), error))?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::Failed("a node has no stdout".into()))?;
        Ok(Node { child, lines: BufReader::new(stdout).lines() })
    }
}

// === impl Node ===

impl Node {
    async fn line(&mut self) -> Result<String, Failure> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        match line {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Err(error)) => Err(Failure::io("reading from a node", error)),
            Ok(Ok(None)) => Err(Failure::Failed("a node ended by itself".into())),
            Err(_) => Err(Failure::Failed(format!("a node said nothing for {PATIENCE:?}"))),
        }
    }

    async fn go(&mut self) -> Result<(), Failure> {
        let written = match &mut self.child.stdin {
            Some(stdin) => stdin.write_all(b"\n").await,
            None => Ok(()),
        };
        written.map_err(|error| Failure::io("writing to a node", error))
    }
}
