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
    /// How the server keeps its append-only file; a sweep runs once, without one, if nothing is said
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
    /// What becomes of the rates when producers, consumers, messages or distances grow; TLS too
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Aof {
    /// Not at all
    None,
    /// Synced once a second
    Everysec,
}

impl Aof {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::None => &["--appendonly", "no"],
            Self::Everysec => &["--appendonly", "yes", "--appendfsync", "everysec"],
        }
    }
}

impl Subject {
    const fn verb(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Sweep => "sweep",
        }
    }

    const fn ways(self) -> &'static [Aof] {
        match self {
            Self::Queue => &[Aof::None, Aof::Everysec],
            Self::Sweep => &[Aof::None],
        }
    }
}

/// Measures, once for each way of keeping the file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let valkey = setup::valkey(args.yes)?;
    let valkit = Valkit::build(Profile::Release)?;
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
