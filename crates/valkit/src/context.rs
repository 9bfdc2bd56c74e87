//! What every verb needs: settings, a connection, a place to write to.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
};

use valkey_admin::Admin;
use valkey_config::{Origin, Sources};
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_receiver::ReceiverSettings;
use valkey_sender::SenderSettings;

use crate::{
    cli::Global,
    failure::Failure,
    output::{Format, Output},
    text::printable_lines,
};

/// The settings of all that a verb may use.
pub(crate) struct Settings {
    pub(crate) connection: ConnectionSettings,
    pub(crate) sender: SenderSettings,
    pub(crate) receiver: ReceiverSettings,
    /// Whether `bounded` was set to what it is, by whatever source.
    pub(crate) bounded_is_set: bool,
}

pub(crate) struct Context {
    sources: Sources,
    child_arguments: Vec<OsString>,
    child_environment: Vec<(OsString, OsString)>,
    quiet: bool,
    pub(crate) output: Output,
}

// === impl Context ===

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        start_logging(global.verbose);
        let mut prefix = global.env_prefix.clone();
        if !prefix.is_empty() && !prefix.ends_with('_') {
            prefix.push('_');
        }
        let mut sources = Sources::new(prefix.as_str()).env();
        // Under the short prefix, those of services are somebody else's.
        for longer in ["VALKEY_SENDER_", "VALKEY_RECEIVER_"] {
            if longer.starts_with(&prefix) && longer != prefix {
                sources = sources.except(longer);
            }
        }
        if let Some(file) = &global.config {
            sources = sources.toml_file(file);
        }
        if let Some(url) = &global.url {
            sources = sources.explicit("--url", "connection.address", url);
        }
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut child_arguments: Vec<OsString> = vec!["--env-prefix".into(), prefix.as_str().into()];
        if let Some(file) = &global.config {
            child_arguments.extend(["--config".into(), file.into()]);
        }
        // By the environment, which other users cannot read; `--url` is in the list of processes.
        let url = global.url.as_ref().filter(|url| !url.is_empty());
        let names = ["URL", "ADDRESS", "ADDRESSES"].map(|name| format!("{prefix}{name}"));
        let [first, others @ ..] = names;
        let child_environment = url.map_or_else(Vec::new, |url| {
            let others = others.into_iter().map(|name| (name.into(), OsString::new()));
            [(first.into(), url.into())].into_iter().chain(others).collect()
        });
        Self {
            sources,
            child_arguments,
            child_environment,
            quiet: global.quiet,
            output: Output::new(global.output.unwrap_or(Format::Table), colour),
        }
    }

    /// The settings, all problems told together.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let loaded =
            self.sources.load_with_notices::<(ConnectionSettings, SenderSettings, ReceiverSettings)>()?;
        for notice in &loaded.notices {
            self.hint(&format!("{notice}"));
        }
        let bounded_is_set = !matches!(loaded.origin("sender.bounded"), None | Some(Origin::Default));
        let (connection, sender, receiver) = loaded.settings;
        Ok(Settings { connection, sender, receiver, bounded_is_set })
    }

    /// The server's URL as it may be shown: without a password.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        let addresses = self.settings()?.connection.address;
        Ok(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    /// What makes a child process of this program find the same server.
    pub(crate) fn child_arguments(&self) -> &[OsString] {
        &self.child_arguments
    }

    /// See [`child_arguments`](Self::child_arguments).
    pub(crate) fn child_environment(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.child_environment.iter().map(|(name, value)| (name, value))
    }

    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        Ok(Connection::connect(&self.settings()?.connection).await?)
    }

    /// Whom a replica follows, if it says so.
    pub(crate) async fn primary(&self) -> Option<String> {
        let info = Command::new("INFO").arg("replication");
        let info = self.connect().await.ok()?.execute(info).await.ok()?.into_string().ok()?;
        let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name));
        Some(format!("{}:{}", field("master_host:")?, field("master_port:")?))
    }

    pub(crate) async fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(self.connect().await?))
    }

    /// Whether nobody would hear a hint.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A word on the side: on stderr, and not with `--quiet`.
    pub(crate) fn hint(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "hint: {}", printable_lines(text));
        }
    }

    /// A word on how it went: on stderr, and not with `--quiet`.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", printable_lines(text));
        }
    }

    pub(crate) fn say_failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        // What a server or a message says is not ours, and must not act on the terminal.
        let _ = writeln!(io::stderr(), "error: {}", printable_lines(&failure.to_string()));
        if let Some(hint) = failure.hint() {
            self.hint(&hint);
        }
    }
}

/// Whether somebody sits there: questions may be asked, bars may move.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Logs of the libraries, on stderr: warnings, more with `-v`, or what `RUST_LOG` says.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = std::env::var("RUST_LOG")
        .unwrap_or_else(|_| format!("{level},fred={}", if verbose < 3 { "off" } else { "info" }));
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        )
        .with_target(verbose > 0)
        .init();
}
