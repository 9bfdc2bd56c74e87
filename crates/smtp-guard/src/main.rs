//! `smtp-guard`: one node of shared limits in front of a mail server.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use smtp_guard::{Guard, GuardSettings, Shutdown};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Shared limits in front of a mail server: a connection gate and a Postfix policy service.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The settings file (TOML); without it, defaults and variables.
    #[arg(long, value_name = "FILE", env = "SMTP_GUARD_CONFIG")]
    config: Option<PathBuf>,
    /// Check the settings, reach Valkey, say what would run, and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let vars = std::env::vars_os().filter(|(name, _)| *name != OsString::from("SMTP_GUARD_CONFIG"));
    let (settings, notices) = match GuardSettings::load(cli.config, vars) {
        Ok(loaded) => loaded,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&settings.identity.log))
        .with_writer(io::stderr)
        .init();
    for notice in notices {
        warn!("{notice}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: starting the runtime: {error}");
            return ExitCode::from(1);
        }
    };
    runtime.block_on(async {
        let guard = match Guard::bind(settings).await {
            Ok(guard) => guard,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error}");
                return ExitCode::from(1);
            }
        };
        let shutdown = Shutdown::new();
        let wish = shutdown.clone();
        tokio::spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            for step in [Shutdown::drain, Shutdown::now] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                step(&wish);
            }
        });
        info!(node = %guard.node(), gate = ?guard.gate_addresses(), "listening");
        guard.run(shutdown).await;
        ExitCode::SUCCESS
    })
}
