//! `freeipa-consumer`: registrations of a queue become FreeIPA accounts.
//!
//! Exit codes: 0 ended as wished, or all is well; 1 failed, or `--check` found something wrong; 2 the command line or the settings
//! make no sense; 3 ended by force; 5 Valkey cannot be reached (with `--check` only: without it the consumer waits); 6 Valkey refuses
//! this user.

mod exit;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use freeipa_consumer::check::Checkup;
use freeipa_consumer::state::StateError;
use freeipa_consumer::{Consumer, Settings, Shutdown};
use tokio::runtime::Builder;
use tracing::{info, warn};
use valkey_config::Notice;
use valkit_service::{Exit, logs, signals};

/// The variable that names the settings file; it is none of the settings.
const CONFIG: &str = "FREEIPA_CONSUMER_CONFIG";

/// What `--help` says beyond the options.
const MORE: &str = "\
Settings come from the file, then from variables that begin with FREEIPA_CONSUMER_, then from VALKEY_URL (or \
VALKEY_PASSWORD_FILE). The file's tables:
  [consumer]       flow, retention, logs, where /metrics, /healthz and /readyz are served
  [registration]   what a message may say: groups, names of fields, how accounts are called
  [freeipa]        the servers, their CA, the service account
  [report]         how applicants are told: Telegram, a queue, in which words
  [receiver]       the queue, retries, how many at a time
  [connection]     how Valkey is reached: TLS, users, Sentinels, a cluster
docs/configuration.md names every setting, docs/freeipa.md the rights that the service account needs.

A small one:
  [freeipa]
  servers = [\"ipa1.example.org\", \"ipa2.example.org\"]
  ca_file = \"/etc/ipa/ca.crt\"
  login = \"svc-registrar\"
  password_file = \"/run/credentials/ipa-password\"
  [registration]
  default_groups = [\"tg-users\"]
  [report]
  telegram_token_file = \"/run/credentials/telegram-token\"
  [connection]
  address = \"valkey://127.0.0.1:6379\"

Beyond serving and --check: `freeipa-consumer unreported` lists the applicants who could not be told.

Exit codes:
  0 ended as wished, or all is well       3 ended by force, what was in hand is delivered again
  1 failed, or a check found a fault      5 Valkey cannot be reached (--check)
  2 usage or settings                     6 Valkey refuses this user

Without --check a consumer starts, and waits, while Valkey, FreeIPA or Telegram is away: /readyz says for what.";

/// Takes registrations off a queue, makes FreeIPA accounts of them, each once, and tells the applicants.
///
/// The first SIGTERM or SIGINT lets the steps end that are under way, the second ends at once.
#[derive(Debug, Parser)]
#[command(version, about, after_long_help = MORE)]
struct Cli {
    /// The settings file (TOML); without it, defaults and variables
    #[arg(long, value_name = "FILE", env = CONFIG, global = true)]
    config: Option<PathBuf>,
    /// Look at everything that is depended on, name each fault with what helps, and end
    #[arg(long)]
    check: bool,
    /// With --check: log in also if the password was refused in the last ten minutes, for it is right now
    #[arg(long, requires = "check")]
    retry_login: bool,
    /// How --check and the verbs say it
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the applicants who do not know what became of their registrations, and will not be told
    ///
    /// Those who have blocked the bot, or never met it, and those to whom it failed to the end. It walks all keys of Valkey, which never
    /// blocks it, and shows nothing about a person but the login.
    Unreported {
        /// How many at most, the oldest first
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

fn main() -> ExitCode {
    // First of all: this may be the process that gets one ticket.
    #[cfg(feature = "keytab")]
    if let Some(exit) = freeipa_client::Keytab::answer_if_helper() {
        return exit;
    }
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
    let (settings, notices) = Settings::load(cli.config, vars).map_err(|error| {
        if cli.check && cli.output == Output::Json {
            let reasons = error.problems().iter().map(ToString::to_string);
            say(&Checkup::unusable(reasons).with_notices(error.notices()), cli.output);
        }
        (Exit::Usage, error.to_string())
    })?;
    if cli.check && cli.verb.is_some() {
        return Err((Exit::Usage, "--check is one thing, and a verb another".to_owned()));
    }
    start_logging(&settings, cli.check || cli.verb.is_some())?;
    // Who checks reads them among the findings.
    for notice in &notices {
        warn!("{notice}");
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| (Exit::Failed, format!("starting the runtime: {error}")))?;
    let exit = match cli.verb {
        Some(Verb::Unreported { limit }) => runtime.block_on(unreported(&settings, limit, cli.output)),
        None if cli.check => runtime.block_on(check(&settings, &notices, cli.retry_login, cli.output)),
        None => runtime.block_on(serve(settings)),
    };
    // A look-up of a name that never ends must not outlive the consumer.
    runtime.shutdown_background();
    exit
}

async fn check(
    settings: &Settings,
    notices: &[Notice],
    retry_login: bool,
    output: Output,
) -> Result<Exit, (Exit, String)> {
    let checked = if retry_login {
        Consumer::check_login_anew(settings).await
    } else {
        Consumer::check(settings).await
    };
    let checkup = checked.map_err(|error| {
        if output == Output::Json {
            say(&Checkup::unusable([error.to_string()]).with_notices(notices), output);
        }
        (exit::of(&error), error.to_string())
    })?;
    let checkup = checkup.with_notices(notices);
    say(&checkup, output);
    Ok(exit::of_checkup(&checkup))
}

fn say(checkup: &Checkup, output: Output) {
    let text = match (output, checkup.summary()) {
        (Output::Table, Some(summary)) => format!("{}{summary}\n", checkup.table()),
        (Output::Table, None) => checkup.table(),
        // Texts and words always have a JSON form.
        (Output::Json, _) => format!("{}\n", serde_json::to_string_pretty(checkup).unwrap_or_default()),
    };
    let _ = write!(io::stdout(), "{text}");
}

async fn unreported(settings: &Settings, limit: usize, output: Output) -> Result<Exit, (Exit, String)> {
    let found = freeipa_consumer::unreported::find(settings, limit).await.map_err(|error| match &error {
        StateError::Store(store) => (Exit::of_store(store), error.to_string()),
        _ => (Exit::Failed, error.to_string()),
    })?;
    let text = match output {
        Output::Table => found.table(),
        // Texts, words and times always have a JSON form.
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&found).unwrap_or_default()),
    };
    let _ = write!(io::stdout(), "{text}");
    Ok(Exit::Ok)
}

async fn serve(settings: Settings) -> Result<Exit, (Exit, String)> {
    let shutdown = Shutdown::new();
    signals::listen(shutdown.clone(), "what was in hand is delivered again after the lease")
        .map_err(|error| (Exit::Failed, format!("listening for signals: {error}")))?;
    let failed = |error: freeipa_consumer::ConsumerError| (exit::of(&error), error.to_string());
    let consumer = Consumer::bind(settings).await.map_err(failed)?;
    let queues: Vec<String> = consumer.queues().iter().map(ToString::to_string).collect();
    let http = consumer.http_address().map(|address| address.to_string());
    info!(queues = queues.join(", "), http, "started");
    let report = consumer.run(shutdown).await.map_err(failed)?;
    info!("ended: {report}");
    Ok(Exit::Ok)
}

/// Logs on stderr. Who asks or checks wants to read the findings, and not how they came about.
fn start_logging(settings: &Settings, is_question: bool) -> Result<(), (Exit, String)> {
    let usual = if is_question { "off".to_owned() } else { settings.consumer.log.clone() };
    logs::start(&usual, settings.consumer.log_format)
        .map_err(|error| (Exit::Usage, format!("consumer.log: {error}")))
}
