//! `smtp-guard`: one node of shared limits in front of a mail server.
//!
//! Exit codes: 0 ended as wished, or all is well; 1 failed; 2 the command line or the settings make no sense; 5 Valkey cannot
//! be reached; 6 it refuses this user (5 and 6 with `--check` only: without it a node runs while Valkey is away); 3 ended by
//! force.

mod check;
mod exit;
mod signals;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smtp_guard::settings::LogFormat;
use smtp_guard::{Guard, GuardSettings, Shutdown};
use tokio::runtime::Builder;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;

/// The variable that names the settings file; it is none of the settings.
const CONFIG: &str = "SMTP_GUARD_CONFIG";

/// What `--help` says beyond the options.
const MORE: &str = "\
Settings come from the file, then from variables that begin with SMTP_GUARD_, then from VALKEY_URL (or VALKEY_URL_FILE), \
VALKEY_KEY_PREFIX and NODE_ID. The file's tables:
  [resources]           the limits on connections, and where Valkey is: as existing nodes have them
  [guard]               this node: its name, how it stops, what it logs
  [gate]                where SMTP clients connect, and the mail server behind
  [policy]              where Postfix asks; the limits are tables [policy.limits.NAME]
  [http]                where /metrics, /healthz and /readyz are served
  [connection]          how Valkey is reached: TLS, users, Sentinels, a cluster
docs/configuration.md names every setting.

A small one:
  [resources]
  valkey_url = \"valkey://127.0.0.1:6379\"
  max_connections_per_ip = 50
  max_requests_per_window = 100     # connections of one address in rate_limit_window (1m)
  [gate]
  listen = \"0.0.0.0:2525\"
  backend = \"127.0.0.1:10025\"       # it has to expect the PROXY protocol, or backend_proxy = false
  [http]
  listen = \"127.0.0.1:8080\"

Exit codes:
  0 ended as wished, or all is well    3 ended by force, not all connections were over
  1 failed                             5 Valkey cannot be reached (--check)
  2 usage or settings                  6 Valkey refuses this user (--check)

Without --check a node starts, and runs, while Valkey is away.";

/// Shared limits in front of a mail server: a connection gate and a Postfix policy service.
///
/// The first SIGTERM or SIGINT lets running connections end, the second ends at once.
#[derive(Debug, Parser)]
#[command(version, about, after_long_help = MORE)]
struct Cli {
    /// The settings file (TOML); without it, defaults and variables
    #[arg(long, value_name = "FILE", env = CONFIG)]
    config: Option<PathBuf>,
    /// Check the settings, reach Valkey, say what would run, and end
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; they go to stdout and are no failure.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    run(cli)
        .unwrap_or_else(|(exit, why)| {
            let _ = writeln!(io::stderr(), "error: {why}");
            exit
        })
        .into()
}

fn run(cli: Cli) -> Result<Exit, (Exit, String)> {
    let vars = std::env::vars_os().filter(|(name, _)| name != CONFIG);
    let (settings, notices) =
        GuardSettings::load(cli.config, vars).map_err(|error| (Exit::Usage, error.to_string()))?;
    start_logging(&settings)?;
    for notice in notices {
        warn!("{notice}");
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| (Exit::Failed, format!("starting the runtime: {error}")))?;
    let exit = if cli.check {
        runtime.block_on(check::run(settings))
    } else {
        raise_open_files(&settings);
        runtime.block_on(serve(settings))
    };
    // A look-up of a name that never ends must not outlive the node.
    runtime.shutdown_background();
    exit
}

async fn serve(settings: GuardSettings) -> Result<Exit, (Exit, String)> {
    let shutdown = Shutdown::new();
    signals::listen(shutdown.clone())
        .map_err(|error| (Exit::Failed, format!("listening for signals: {error}")))?;
    let guard = Guard::bind(settings).await.map_err(|error| (Exit::of(&error), error.to_string()))?;
    let gate = listed(guard.gate_addresses());
    let policy = listed(guard.policy_addresses());
    let http = listed(guard.http_address());
    info!(node = %guard.node(), gate, policy, http, "listening");
    guard.run(shutdown).await.map_err(|error| (Exit::of(&error), error.to_string()))?;
    info!("ended");
    Ok(Exit::Ok)
}

/// Addresses as they are written in the settings; nothing if there are none.
fn listed(addresses: impl IntoIterator<Item = impl ToString>) -> Option<String> {
    let addresses: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
    (!addresses.is_empty()).then(|| addresses.join(", "))
}

/// Each connection that is passed on takes two descriptors: as many as there may be are asked for.
fn raise_open_files(settings: &GuardSettings) {
    const OTHERS: u64 = 256;
    let needed = settings.gate.max_local_connections.get() as u64 * 2 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed.min(most)), maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    if most < needed && !settings.gate.listen.is_empty() {
        warn!(
            most,
            needed,
            "the limit of open files is lower than max_local_connections needs: raise it (ulimit -Hn), or lower that setting"
        );
    }
}

/// Logs on stderr.
fn start_logging(settings: &GuardSettings) -> Result<(), (Exit, String)> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| settings.identity.log.clone());
    let filter = EnvFilter::try_new(format!("fred=off,{filter}"))
        .map_err(|error| (Exit::Usage, format!("guard.log: `{filter}` is no filter: {error}")))?;
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    match settings.identity.log_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        _ => logs.init(),
    }
    Ok(())
}
