//! Measurements, in release mode, on a Valkey of their own.

use anyhow::{Result, bail};
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
    /// How the server keeps its append-only file
    #[arg(long, value_enum, default_values_t = [Aof::None, Aof::Everysec], value_delimiter = ',')]
    aof: Vec<Aof>,
    /// Passed on to `valkit bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    /// Sending and receiving, beside the raw limits of the same client
    Queue,
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

/// Measures, once for each way of keeping the file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let valkey = setup::valkey(args.yes)?;
    let valkit = Valkit::build(Profile::Release)?;
    let subject = match args.subject {
        Subject::Queue => "queue",
    };
    // A server given by URL keeps its own ways.
    let ways = if matches!(valkey, Valkey::Url(_)) { &args.aof[..1] } else { &args.aof[..] };
    for aof in ways {
        run::step(format_args!("starting Valkey: {valkey}, {}", aof.options().join(" ")));
        let server = Server::start(&valkey, aof.options())?;
        let status = valkit.run(&["bench", subject], server.url(), &args.rest)?;
        if !status.success() {
            bail!("`valkit bench {subject}` failed: {status}");
        }
    }
    Ok(())
}
