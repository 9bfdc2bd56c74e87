//! Logs on stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::LogFormat;

/// Nothing can be logged that way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// What is asked for is no filter.
    #[error(
        "`{filter}` is no filter for logs ({reason}): a level, such as info, or as in `info,valkey_receiver=debug`"
    )]
    Filter {
        /// What is asked for.
        filter: String,
        /// Why it is none.
        reason: ParseError,
    },
    /// Another part of the program was first.
    #[error("this process logs already")]
    Taken,
}

/// Begins to log what `RUST_LOG` says, or else `usual`. Once in a process.
///
/// # Errors
/// [`LogError`]: no filter, or this process logs already.
pub fn start(usual: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| usual.to_owned());
    // What the client library says of a connection, ours says in words an operator knows.
    let filter = EnvFilter::try_new(format!("fred=off,{filter}"))
        .map_err(|reason| LogError::Filter { filter, reason })?;
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    let started = match format {
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => logs.finish().try_init(),
    };
    started.map_err(|_| LogError::Taken)
}
