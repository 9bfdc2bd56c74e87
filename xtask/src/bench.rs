//! Measurements, in release mode, on a Valkey of their own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::server::Server;
use crate::setup::Valkey;
use crate::valkit::{Profile, Valkit};
use crate::{run, setup};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure
    subject: Subject,
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
    /// How the server keeps its append-only file; limits and a sweep run once, without one, if nothing is said; durability has its own
    #[arg(long, value_enum, value_delimiter = ',')]
    aof: Vec<Aof>,
    /// Passed on to `valkit bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    /// Sending and receiving, beside the raw limits of the same client
    Queue,
    /// Asking limits, beside the usual script and a limiter in process
    Limit,
    /// What becomes of the rates when producers, consumers, messages or distances grow; TLS too
    Sweep,
    /// What sends cost that are answered only once they are on disk, or at one or two replicas
    Durability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Aof {
    /// Not at all
    None,
    /// Synced once a second
    Everysec,
    /// Synced before each answer
    Always,
}

/// A kind of send, with the servers that can promise it.
struct Safety {
    name: &'static str,
    aof: Aof,
    replicas: usize,
}

const SAFETIES: [Safety; 4] = [
    Safety { name: "fast", aof: Aof::Everysec, replicas: 0 },
    Safety { name: "durable", aof: Aof::Always, replicas: 0 },
    Safety { name: "replicated:1", aof: Aof::Everysec, replicas: 1 },
    Safety { name: "replicated:2", aof: Aof::Everysec, replicas: 2 },
];

impl Aof {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::None => &["--appendonly", "no"],
            Self::Everysec => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Self::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        }
    }
}

impl Subject {
    const fn verb(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Limit => "limit",
            Self::Sweep | Self::Durability => "sweep",
        }
    }

    const fn ways(self) -> &'static [Aof] {
        match self {
            Self::Queue => &[Aof::None, Aof::Everysec],
            Self::Limit | Self::Sweep | Self::Durability => &[Aof::None],
        }
    }
}

/// Measures, once for each way of keeping the file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let valkey = setup::valkey(args.yes)?;
    let valkit = Valkit::build(Profile::Release)?;
    if matches!(args.subject, Subject::Durability) {
        return durability(&valkey, &valkit, &args.rest);
    }
    let verb = args.subject.verb();
    let ways = if args.aof.is_empty() { args.subject.ways() } else { &args.aof };
    // A server given by URL keeps its own ways.
    let given = matches!(valkey, Valkey::Url(_));
    for aof in if given { &ways[..1] } else { ways } {
        run::step(format_args!("starting Valkey: {valkey}, {}", aof.options().join(" ")));
        let server = Server::start(&valkey, aof.options())?;
        let mut rest = args.rest.clone();
        let encrypted = match args.subject {
            Subject::Sweep if !given => Some(Encrypted::start(&valkey, aof.options())?),
            _ => None,
        };
        let mut environment = Vec::new();
        if let Some(Encrypted { url, authority, .. }) = &encrypted {
            rest.extend(["--tls-url".to_owned(), url.clone()]);
            environment.push(("VALKEY_TLS_CA_FILE", authority.as_str()));
        }
        let status = valkit.run_with(&["bench", verb], server.url(), &rest, &environment)?;
        if !status.success() {
            bail!("`valkit bench {verb}` failed: {status}");
        }
    }
    Ok(())
}

/// Measures each kind of send, by growing numbers of producers, on servers that can promise it.
fn durability(valkey: &Valkey, valkit: &Valkit, rest: &[String]) -> Result<()> {
    if matches!(valkey, Valkey::Url(_)) {
        bail!(
            "each durability wants servers of its own: unset VALKIT_TEST_URL, or measure one there: \
             valkit bench sweep producers --durability durable"
        );
    }
    for Safety { name, aof, replicas } in SAFETIES {
        run::step(format_args!(
            "starting Valkey: {valkey}, {}, {replicas} replicas",
            aof.options().join(" ")
        ));
        let primary = Server::start(valkey, aof.options())?;
        let _replicas: Vec<Server> =
            (0..replicas).map(|_| primary.replica(valkey, aof.options())).collect::<Result<_>>()?;
        let mut arguments = ["producers", "--durability", name].map(str::to_owned).to_vec();
        arguments.extend_from_slice(rest);
        let status = valkit.run(&["bench", "sweep"], primary.url(), &arguments)?;
        if !status.success() {
            bail!("`valkit bench sweep` failed: {status}");
        }
    }
    Ok(())
}

/// A second server, behind TLS; it ends with the pipe to it.
#[derive(Debug)]
struct Encrypted {
    url: String,
    authority: String,
    child: Child,
}

impl Encrypted {
    fn start(valkey: &Valkey, options: &[&str]) -> Result<Self> {
        run::step("starting the same with TLS");
        let mut cargo = run::cargo();
        cargo.args([
            "run",
            "--locked",
            "--quiet",
            "--package",
            "valkey-testkit",
            "--example",
            "tls_server",
            "--",
        ]);
        valkey.offer_to(&mut cargo);
        cargo.args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = cargo.spawn().with_context(|| format!("cannot start `{}`", run::shown(&cargo)))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is a pipe")?).read_line(&mut line)?;
        let Some((url, authority)) = line.trim().split_once(' ') else {
            let _ = child.kill();
            bail!("the server with TLS did not start");
        };
        Ok(Self { url: url.to_owned(), authority: authority.to_owned(), child })
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
