//! Logs on stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What is asked for is no filter.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is no filter: {reason}")]
pub struct InvalidFilter {
    filter: String,
    reason: ParseError,
}

/// Begins to log what `RUST_LOG` says, or else `usual`; as one JSON document a line, if that is wished. Once in a process.
///
/// # Errors
/// [`InvalidFilter`].
///
/// # Panics
/// If this process logs already.
pub fn start(usual: &str, as_json: bool) -> Result<(), InvalidFilter> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| usual.to_owned());
    let filter = EnvFilter::try_new(format!("fred=off,{filter}"))
        .map_err(|reason| InvalidFilter { filter, reason })?;
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    if as_json {
        logs.json().flatten_event(true).init();
    } else {
        logs.init();
    }
    Ok(())
}
