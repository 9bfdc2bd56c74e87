//! The crate as its users see it.
#![allow(clippy::unwrap_used)]

mod documentation;
mod envy_traps;
mod errors;
mod foreign_variables;
mod layers;
mod properties;
mod secrets;
mod urls;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use valkey_config::{Contradiction, CsvList, Secret, ServerUrl, Sources, Validate, settings};

/// The prefix of all variables here.
const PREFIX: &str = "VALKEY_SENDER_";

settings! {
    /// How to reach the server.
    pub struct ConnectionSettings in [connection] {
        /// Where the server is, see [`ServerUrl`](valkey_config::ServerUrl).
        pub url: Option<ServerUrl>,
        /// Password of the user.
        pub password: Option<Secret>,
        /// Database to select.
        #[alias("DB")]
        pub database: u32 = 0,
        /// How long connecting may take.
        pub dial_timeout: Duration = Duration::from_secs(5),
        /// Connections that are kept open.
        pub pool_size: u32 = 10,
        /// Whether to use TLS.
        pub tls_enabled: bool = false,
        /// Key of the client certificate.
        pub tls_key_file: Option<PathBuf>,
        /// Servers to find the cluster through.
        pub seeds: CsvList<ServerUrl>,
    }
}

impl Validate for ConnectionSettings {
    fn validate(&self) -> Vec<Contradiction> {
        if self.tls_key_file.is_some() && !self.tls_enabled {
            return vec![Contradiction::new(
                ["tls_key_file", "tls_enabled"],
                "a key is of no use without TLS",
            )];
        }
        Vec::new()
    }
}

settings! {
    /// How a sender behaves.
    #[derive(PartialEq)]
    pub struct SenderSettings in [sender] {
        /// Queue of messages that name none.
        #[text("queue name")]
        pub default_queue: Name = Name("user-registrations".to_owned()),
        /// Queue that gets a copy of what failed.
        #[optional_text("queue name")]
        pub dead_letter_queue: Option<Name>,
        /// Queues to read.
        pub queues: CsvList<Name>,
        /// Times a send is tried again.
        pub max_retries: u8 = 3,
        /// Factor between two waits.
        pub retry_backoff: f64 = 2.0,
        /// Messages per second | none.
        #[mapped("a limit of the whole process")]
        pub rate_limit_requests: Option<u64>,
        /// Connections kept open without work.
        #[notice("connections are multiplexed and all kept open")]
        pub min_idle_conns: Option<u32>,
        /// Level of the log.
        #[env("LOG")]
        pub log_level: String = "INFO".to_owned(),
        /// Rules that choose a queue.
        #[structured("list of routes")]
        pub routes: Vec<Route>,
    }
}

impl Validate for SenderSettings {
    fn validate(&self) -> Vec<Contradiction> {
        if self.dead_letter_queue.as_ref() == Some(&self.default_queue) {
            return vec![Contradiction::new(["dead_letter_queue", "default_queue"], "they must differ")];
        }
        Vec::new()
    }
}

/// Stands for a type of another crate, which knows nothing of settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Name(String);

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if valid { Ok(Self(text.to_owned())) } else { Err("expected letters, digits and dashes".to_owned()) }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule of a kind that only TOML can hold.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    kind: String,
    queue: String,
}

/// Sources of variables without the prefix, for brevity.
fn variables<'v>(vars: impl IntoIterator<Item = (&'v str, &'v str)>) -> Sources {
    Sources::new(PREFIX).vars(vars.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)))
}

fn connection<'v>(vars: impl IntoIterator<Item = (&'v str, &'v str)>) -> ConnectionSettings {
    variables(vars).load().unwrap()
}

fn sender<'v>(vars: impl IntoIterator<Item = (&'v str, &'v str)>) -> SenderSettings {
    variables(vars).load().unwrap()
}

/// The error of loading both structs.
fn error(sources: &Sources) -> String {
    sources.load::<(ConnectionSettings, SenderSettings)>().unwrap_err().to_string()
}
