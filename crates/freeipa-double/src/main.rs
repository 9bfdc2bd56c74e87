//! `freeipa-double`: the doubles as a program, for whatever is no Rust test.
//!
//! Exit codes: 0 ended as wished; 1 could not start; 2 the command line makes no sense.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use freeipa_double::{
    AccountSpec, Config, Control, FreeIpaDouble, GroupSpec, Rights, TelegramConfig, TelegramDouble, Version,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// What `--help` says beyond the options.
const MORE: &str = "\
It says on stdout, in one line of JSON, where everything is:
  {\"freeipa\":{\"address\":…,\"url\":…,\"fqdn\":…,\"realm\":…},\"telegram\":{\"url\":…},\"control\":{\"url\":…}}

A server for a program under test:
  freeipa-double --ca-out ca.pem --service-login svc --service-password-file password --group tg-users \\
    --control 127.0.0.1:9000 --telegram 127.0.0.1:9001 --telegram-token-file token

Clients have to come by the server's own name (--fqdn), with its root (--ca-out) and a Referer that begins with
https://FQDN/ipa, as with the real one; curl does so with
  curl --cacert ca.pem --connect-to ipa.example.test:443:127.0.0.1:PORT -H 'Referer: https://ipa.example.test/ipa' …

What goes wrong is said to the control port; GET / there says how:
  curl -d '{\"on\":\"user_add\",\"kind\":\"commit_then_drop\"}' http://127.0.0.1:9000/freeipa/faults
  curl -d '{\"do\":\"ldap_down\",\"down\":true}' http://127.0.0.1:9000/freeipa/do
  curl http://127.0.0.1:9000/freeipa/directory

It keeps everything in memory, and ends on SIGTERM or SIGINT.";

/// FreeIPA and the Telegram Bot API as tests need them, faults included.
#[derive(Debug, Parser)]
#[command(version, about, after_long_help = MORE)]
struct Cli {
    /// Where FreeIPA listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where Telegram listens; without it there is none
    #[arg(long, value_name = "ADDRESS")]
    telegram: Option<SocketAddr>,
    /// Where the doubles are steered from; whoever reaches it may do everything
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// The name of the FreeIPA server; its domain makes the realm
    #[arg(long, value_name = "NAME", default_value = "ipa.example.test")]
    fqdn: String,
    /// Which FreeIPA it is: 4.12.4 or 4.13.1
    #[arg(long, value_name = "VERSION", default_value = "4.12.4")]
    ipa_version: Version,
    /// Writes the root of the certificate to this file
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// An account that is there from the beginning
    #[arg(long, value_name = "LOGIN", requires = "service_password_file")]
    service_login: Option<String>,
    /// The file with its password
    #[arg(long, value_name = "FILE", requires = "service_login")]
    service_password_file: Option<PathBuf>,
    /// What it may do
    #[arg(long, value_enum, default_value_t = Role::Registrar)]
    service_rights: Role,
    /// A group whose members the account manages; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// The file with the bot's token; without it the token is a well-known one
    #[arg(long, value_name = "FILE", requires = "telegram")]
    telegram_token_file: Option<PathBuf>,
    /// Refuses messages that come too fast, as Telegram does
    #[arg(long, requires = "telegram")]
    telegram_paced: bool,
}

/// What the account may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Nothing that an ordinary user may not
    None,
    /// Add users, and set their passwords
    Registrar,
    /// Also modify, remove and unlock them
    UserAdministrator,
    /// Add stage users, and not even see them
    StageProvisioning,
    /// Everything with stage users, and add users
    StageRegistrar,
    /// Everything
    Admin,
}

impl From<Role> for Rights {
    fn from(role: Role) -> Self {
        match role {
            Role::None => Self::none(),
            Role::Registrar => Self::registrar(),
            Role::UserAdministrator => Self::user_administrator(),
            Role::StageProvisioning => Self::stage_provisioning(),
            Role::StageRegistrar => Self::stage_administrator().and(&Self::registrar()),
            Role::Admin => Self::admin(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "freeipa-double: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), String> {
    // Before anything is announced: whoever reads it may end us at once.
    let handler = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut term, mut int) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);

    let freeipa = FreeIpaDouble::start(config(&cli)?).await.map_err(|error| error.to_string())?;
    if let Some(path) = &cli.ca_out {
        std::fs::write(path, freeipa.ca_pem())
            .map_err(|error| format!("cannot write the root to {}: {error}", path.display()))?;
    }
    let telegram = match cli.telegram {
        None => None,
        Some(address) => Some(start_telegram(&cli, address).await?),
    };
    let control = match cli.control {
        None => None,
        Some(address) => Some(
            Control::start(address, Some(freeipa.clone()), telegram.clone())
                .await
                .map_err(|error| error.to_string())?,
        ),
    };
    announce(&freeipa, telegram.as_ref(), control.as_ref())?;

    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    if let Some(control) = control {
        control.stop().await;
    }
    if let Some(telegram) = telegram {
        telegram.stop().await;
    }
    freeipa.stop().await;
    Ok(())
}

fn config(cli: &Cli) -> Result<Config, String> {
    let mut config = Config::new().listen(cli.listen).fqdn(&cli.fqdn).version(cli.ipa_version);
    if let (Some(login), Some(path)) = (&cli.service_login, &cli.service_password_file) {
        let rights = cli.service_rights.into();
        config = config.account(AccountSpec::new(login, secret(path)?).rights(rights));
    }
    for name in &cli.groups {
        let group = GroupSpec::new(name);
        config = config.group(match &cli.service_login {
            Some(login) => group.manager(login),
            None => group,
        });
    }
    Ok(config)
}

async fn start_telegram(cli: &Cli, address: SocketAddr) -> Result<TelegramDouble, String> {
    let mut config = TelegramConfig::new().listen(address);
    if let Some(path) = &cli.telegram_token_file {
        config = config.token(secret(path)?);
    }
    if cli.telegram_paced {
        config = config.paced();
    }
    TelegramDouble::start(config).await.map_err(|error| error.to_string())
}

/// The first line of a file.
fn secret(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{} is empty; its first line has to be the secret", path.display())),
    }
}

/// Says where everything is, in one line.
fn announce(
    freeipa: &FreeIpaDouble,
    telegram: Option<&TelegramDouble>,
    control: Option<&Control>,
) -> Result<(), String> {
    let mut places = json!({
        "freeipa": {
            "address": freeipa.address(), "url": freeipa.url(), "fqdn": freeipa.fqdn(), "realm": freeipa.realm(),
        },
    });
    if let Some(telegram) = telegram {
        places["telegram"] = json!({"url": telegram.url()});
    }
    if let Some(control) = control {
        places["control"] = json!({"url": format!("http://{}", control.address())});
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "{places}")
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot write to stdout: {error}"))
}
