//! What the server counted.

use valkey_connection::{Command, Connection};

use crate::failure::Failure;

/// Counters of the server at one moment, or the difference of two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// CPU of the main thread, in microseconds.
    pub(crate) cpu_us: f64,
    /// Reads from sockets: what came in one piece cost one.
    pub(crate) reads: f64,
    pub(crate) memory: f64,
    /// Script calls by hash, and the time in them.
    pub(crate) script_calls: f64,
    pub(crate) script_us: f64,
}

impl Counters {
    pub(crate) async fn read(connection: &Connection) -> Result<Self, Failure> {
        let info = connection.execute(Command::new("INFO").arg("everything")).await?.into_string()?;
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(f64::NAN)
        };
        let scripts = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
            let value = line.and_then(|line| line.split(',').find_map(|pair| pair.strip_prefix(name)));
            value.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0)
        };
        Ok(Self {
            cpu_us: (field("used_cpu_sys_main_thread") + field("used_cpu_user_main_thread")) * 1e6,
            reads: field("total_reads_processed"),
            memory: field("used_memory"),
            script_calls: scripts("calls="),
            script_us: scripts("usec="),
        })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_us: self.cpu_us - before.cpu_us,
            reads: self.reads - before.reads,
            memory: self.memory - before.memory,
            script_calls: self.script_calls - before.script_calls,
            script_us: self.script_us - before.script_us,
        }
    }
}
