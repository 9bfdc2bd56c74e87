//! `smtp-guard`: one node of shared limits in front of a mail server.
//!
//! Exit codes: 0 ended as wished, or all is well; 1 failed; 2 the command line or the settings make no sense; 5 Valkey cannot
//! be reached; 6 it refuses this user (5 and 6 with `--check` only: without it a node runs while Valkey is away); 3 ended by
//! force.

mod check;
mod descriptors;
mod exit;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smtp_guard::settings::SettingsFile;
use smtp_guard::{Guard, GuardSettings, Shutdown};
use tokio::runtime::Builder;
use tracing::{info, warn};
use valkit_service::{Exit, logs, signals};

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
    let vars = std::env::vars_os().filter(|(name, _)| name != CONFIG).collect::<Vec<_>>();
    let file = cli.config.map(|file| SettingsFile::new(file, vars.clone()));
    let (mut settings, notices) = match &file {
        Some(file) => file.load(),
        None => GuardSettings::load(None, vars),
    }
    .map_err(|error| (Exit::Usage, error.to_string()))?;
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
        fit_to_open_files(&mut settings);
        runtime.block_on(serve(settings, file))
    };
    // A look-up of a name that never ends must not outlive the node.
    runtime.shutdown_background();
    exit
}

async fn serve(settings: GuardSettings, file: Option<SettingsFile>) -> Result<Exit, (Exit, String)> {
    let shutdown = Shutdown::new();
    signals::listen(shutdown.clone(), "places that were held are free after the lease")
        .map_err(|error| (Exit::Failed, format!("listening for signals: {error}")))?;
    let mut guard = Guard::bind(settings).await.map_err(|error| (exit::of(&error), error.to_string()))?;
    if let Some(file) = file {
        guard = guard.watching(file);
    }
    let gate = listed(guard.gate_addresses());
    let policy = listed(guard.policy_addresses());
    let http = listed(guard.http_address());
    info!(node = %guard.node(), gate, policy, http, "listening");
    guard.run(shutdown).await.map_err(|error| (exit::of(&error), error.to_string()))?;
    info!("ended");
    Ok(Exit::Ok)
}

/// Addresses as they are written in the settings; nothing if there are none.
fn listed(addresses: impl IntoIterator<Item = impl ToString>) -> Option<String> {
    let addresses: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
    (!addresses.is_empty()).then(|| addresses.join(", "))
}

/// Asks the system for as many descriptors as there may be connections, and takes no more of these than it gives: who is told that
/// the node is full comes again, and who meets a node without descriptors finds nobody.
fn fit_to_open_files(settings: &mut GuardSettings) {
    let is_gate = !settings.gate.listen.is_empty();
    let policy = if settings.policy.listen.is_empty() { 0 } else { settings.policy.max_connections.get() };
    let gate = if is_gate { settings.gate.max_local_connections.get() } else { 0 };
    let needed = descriptors::needed(gate, policy);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let current = limit.maximum.map_or(needed, |most| needed.min(most));
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum });
    }
    let Some(given) = getrlimit(Resource::Nofile).current.filter(|given| *given < needed) else { return };
    let (local, asked) = descriptors::fit(gate, policy, given);
    if is_gate && local.get() < gate {
        settings.gate.max_local_connections = local;
        warn!(
            max_local_connections = local,
            wished = gate,
            open_files = given,
            needed,
            "the limit of open files is too low for gate.max_local_connections, which is lowered: raise the limit (ulimit -Hn, \
             LimitNOFILE), or lower that setting"
        );
    }
    if asked.get() < policy {
        settings.policy.max_connections = asked;
        warn!(
            max_connections = asked,
            wished = policy,
            open_files = given,
            "the limit of open files is too low for policy.max_connections, which is lowered"
        );
    }
}

/// Logs on stderr.
fn start_logging(settings: &GuardSettings) -> Result<(), (Exit, String)> {
    let identity = &settings.identity;
    logs::start(&identity.log, identity.log_format)
        .map_err(|error| (Exit::Usage, format!("guard.log: {error}")))
}
