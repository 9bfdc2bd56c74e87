//! On what it was measured.

use serde::Serialize;
use valkey_connection::{Command, Connection};

use crate::failure::Failure;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) server: String,
    pub(crate) persistence: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
}

// === impl Machine ===

impl Machine {
    pub(crate) async fn of(connection: &Connection) -> Result<Self, Failure> {
        let info = connection.execute(Command::new("INFO").arg("server")).await?.into_string()?;
        let line = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let server = line("valkey_version:")
            .map(|version| format!("Valkey {version}"))
            .or_else(|| line("redis_version:").map(|version| format!("Redis {version}")));
        Ok(Self {
            server: server.unwrap_or_else(|| "a server of unknown version".to_owned()),
            persistence: persistence(connection).await?,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, persistence, cores, processor } = self;
        write!(
            f,
            "{server}, persistence {persistence}; clients on {cores} cores of {processor}, which a local server shares"
        )
    }
}

async fn persistence(connection: &Connection) -> Result<String, Failure> {
    let mut values = Vec::new();
    for name in ["appendonly", "appendfsync"] {
        let pairs = connection.execute(Command::new("CONFIG").arg("GET").arg(name)).await?.into_pairs()?;
        values.push(pairs.into_iter().next().map_or(Ok(String::new()), |(_, value)| value.into_string())?);
    }
    Ok(if values[0] == "yes" { format!("AOF {}", values[1]) } else { "none".to_owned() })
}

/// As Linux names it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}
