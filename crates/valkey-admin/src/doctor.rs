//! What is wrong, why it matters, and what to do about it.
//!
//! Facts are gathered first ([`facts`]), each for itself, so that a user who may not ask for one of them still gets
//! the rest; the judgements ([`server`], [`writes`], [`rights`], [`queue`]) are pure functions over them.

mod durability;
mod facts;
mod needs;
mod queue;
mod rights;
mod server;
mod version;
mod writes;

use std::collections::BTreeSet;

use serde::Serialize;
use valkey_connection::Command;
use valkey_envelope::QueueName;

use crate::{admin::Admin, catalog::Catalog, error::Error, scripts};

/// How much a finding matters. Ordered: the worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Messages can be lost, are stuck, or are refused, as things stand.
    Critical,
    /// It will hurt some day, or something is piling up.
    Warning,
    /// A check that could not be made.
    Unchecked,
    /// Good to know.
    Note,
}

/// One thing the doctor has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The server or queue it is about.
    pub about: String,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// All the doctor has to say, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Servers looked at.
    pub servers: Vec<String>,
    /// Queues looked at.
    pub queues: BTreeSet<QueueName>,
}

// === impl Admin ===

impl Admin {
    /// Examines every primary, and the queues given, or all that are found if none is. Reads only.
    ///
    /// What the user may not read becomes a finding of its own, [`Severity::Unchecked`].
    ///
    /// # Errors
    /// [`Error::Connection`] only if the servers cannot be asked at all.
    pub async fn doctor(&self, queues: &[QueueName]) -> Result<Diagnosis, Error> {
        let mut diagnosis = Diagnosis::default();
        let nodes = self.connection.primaries().await?;
        let mut servers = Vec::with_capacity(nodes.len());
        for node in &nodes {
            servers.push(facts::gather(&self.connection, node).await?);
        }
        let catalog = match self.queues(|_| ()).await {
            Ok(catalog) => catalog,
            Err(error) => {
                diagnosis.findings.push(Finding::unchecked(
                    "queues",
                    "which queues there are, and whether consumers left messages behind unregistered",
                    &error,
                ));
                Catalog::default()
            }
        };
        diagnosis.queues =
            if queues.is_empty() { catalog.queues.clone() } else { queues.iter().cloned().collect() };
        for (node, facts) in nodes.iter().zip(servers) {
            let rights =
                rights::gather(&self.connection, node, diagnosis.queues.iter(), !queues.is_empty()).await;
            // What is refused is promised to nobody.
            let refuses = writes::refuses(&writes::judge(&facts)) || rights.refuses_sends();
            diagnosis.findings.extend(server::judge(&facts));
            diagnosis.findings.extend(rights::judge(&rights));
            if !refuses {
                let sync = self.connection.sync_facts(node).await?;
                diagnosis.findings.push(durability::judge(&facts.server, &sync));
            }
            diagnosis.servers.push(facts.server);
        }
        diagnosis.findings.extend(queue::judge_catalog(&catalog));
        for queue in &diagnosis.queues {
            match self.queue_facts(queue, &catalog).await {
                Ok(facts) => diagnosis.findings.extend(queue::judge(&facts)),
                Err(error) => {
                    diagnosis.findings.push(Finding::unchecked(
                        &format!("queue {queue}"),
                        "how the queue stands",
                        &error,
                    ));
                }
            }
        }
        diagnosis.findings.sort_by_key(|finding| finding.severity);
        Ok(diagnosis)
    }

    async fn queue_facts(&self, queue: &QueueName, catalog: &Catalog) -> Result<queue::Facts, Error> {
        let keys = queue.keys();
        let mut stats = self.stats(queue).await?;
        let hashes = catalog.in_flight.get(queue).into_iter().flatten();
        stats.add_strays(self.strays_of(queue, hashes.map(String::as_str)).await?);
        let hour_ago = stats.at_ms.saturating_sub(60 * 60 * 1000);
        let recent = Command::new("ZCOUNT").key(keys.dead()).arg(hour_ago).arg("+inf");
        // A squatter on the key is among the stats already.
        let died_last_hour = match self.connection.execute(recent).await {
            Ok(reply) => scripts::count(reply)?,
            Err(_) => 0,
        };
        Ok(queue::Facts { stats, died_last_hour })
    }
}

// === impl Diagnosis ===

impl Diagnosis {
    /// The worst that was found, if anything was.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).min()
    }
}

// === impl Finding ===

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        about: &str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity, about: about.to_owned(), what: what.into(), why: why.into(), remedy: remedy.into() }
    }

    fn unchecked(about: &str, what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::new(
            Severity::Unchecked,
            about,
            format!("could not find out {what}"),
            error.to_string(),
            "run the doctor as a user who may, or ignore this if another tool watches it",
        )
    }
}

impl Severity {
    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Unchecked => "unchecked",
            Self::Note => "note",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
