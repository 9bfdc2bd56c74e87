//! Whether everything is as it must be, and what to do where it is not.

use std::fmt;
use std::time::Duration;

use freeipa_client::Client;
use serde::Serialize;
use tokio::time::timeout;
use valkey_admin::{Admin, Severity};
use valkey_config::Notice;
use valkey_connection::{Connection, ErrorKind};
use valkey_envelope::QueueName;

use crate::consumer::ConsumerError;
use crate::lockout::Lockout;
use crate::settings::{ReportWay, Settings};
use crate::state::{Records, StateError, Turns};
use crate::status::ReportError;
use crate::{directory, reporting};

/// How long the server that nobody has heard of yet gets to be reached.
const REACH: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Checkup {
    /// All that was looked at, good or not, in the order in which it was.
    pub findings: Vec<Finding>,
    /// Whether Valkey was reached.
    pub store: StoreReach,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What: `valkey`, `records`, `freeipa ipa1.example.org`, `telegram`, ..
    pub about: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen. It names no person but the service account, and no secret.
    pub text: String,
    /// What helps, unless it is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// As it must be.
    Good,
    /// It works, and may not always; or it cannot be known without writing.
    Warning,
    /// It will not work.
    Bad,
}

/// Whether Valkey was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StoreReach {
    /// It was.
    #[default]
    Reached,
    /// It refuses this user.
    Refused,
    /// It was not.
    Unreached,
}

/// Looks at everything. `insists` on a login, even if the password was refused.
pub(crate) async fn run(settings: &Settings, insists: bool) -> Result<Checkup, ConsumerError> {
    let connection = Connection::connect_later(&settings.connection)?;
    let lockout = Lockout::new(connection.clone(), settings.consumer.key_prefix.as_str());
    let client = directory::client(&settings.freeipa, lockout.insisting(insists))?;
    let reporter = reporting::reporter(&settings.report, &connection, &[])?;
    let mut findings = vec![Finding::good("settings", "they hold together; the texts are whole")];
    let store = store(settings, &connection, &mut findings).await;
    findings.extend(directory(&client, settings).await);
    if settings.report.via == ReportWay::Telegram {
        findings.push(match reporter.check().await {
            Ok(text) => Finding::good("telegram", text),
            Err(ReportError::Paused { retry_after }) => Finding::warning(
                "telegram",
                format_args!("it wants no calls for {} s", retry_after.as_secs()),
                "wait",
            ),
            Err(error @ ReportError::Misconfigured { .. }) => Finding::bad(
                "telegram",
                error,
                "correct telegram_token and telegram_url: the token is what the BotFather gives",
            ),
            Err(error) => Finding::bad("telegram", error, "see that it can be reached from here"),
        });
    }
    client.close().await;
    connection.close().await;
    Ok(Checkup { findings, store })
}

/// Looks at Valkey: reached, allowed, and fit for what is kept there.
async fn store(settings: &Settings, connection: &Connection, findings: &mut Vec<Finding>) -> StoreReach {
    let pinged = timeout(REACH, connection.ping()).await;
    let error = match pinged {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error),
        // It goes on trying by itself; somebody who looks wants to know now.
        Err(_) => {
            findings.push(Finding::bad("valkey", "no answer", reach(settings)));
            return StoreReach::Unreached;
        }
    };
    if let Some(error) = error {
        // The pool's own last word says more than that nothing is connected.
        let refused = matches!(error.kind(), ErrorKind::Auth | ErrorKind::Denied);
        let remedy = if refused {
            "correct user and password; `valkit doctor` says what it may not do".to_owned()
        } else {
            reach(settings)
        };
        findings.push(Finding::bad("valkey", &error, remedy));
        return if refused { StoreReach::Refused } else { StoreReach::Unreached };
    }
    findings.push(Finding::good("valkey", "it answers"));
    records(settings, connection, findings).await;
    queues(settings, connection, findings).await;
    StoreReach::Reached
}

/// What helps where nothing answers. Where the address was set is not known here; what it is, is.
fn reach(settings: &Settings) -> String {
    format!("see that it runs, and that connection.address is right: {}", settings.connection.address)
}

/// Whether what is known of registrations can be kept.
async fn records(settings: &Settings, connection: &Connection, findings: &mut Vec<Finding>) {
    let consumer = &settings.consumer;
    let prefix = consumer.key_prefix.as_str();
    let probed = async {
        Records::new(connection.clone(), prefix, consumer.record_retention).probe().await?;
        // Nobody has that number, so nobody is held up.
        let turns = Turns::new(connection.clone(), prefix, Duration::from_secs(1));
        if let Some(turn) = turns.take(i64::MIN).await? {
            turn.renew().await?;
            turn.release().await?;
        }
        Ok::<(), StateError>(())
    };
    findings.push(match probed.await {
        Ok(()) => Finding::good("records", format_args!("they can be kept under {prefix}*")),
        Err(error) => Finding::bad(
            "records",
            error,
            format!("the user needs +@hash +@string +@scripting +pexpire +del +time on the keys ~{prefix}*"),
        ),
    });
}

/// Whether the queues can be received from.
async fn queues(settings: &Settings, connection: &Connection, findings: &mut Vec<Finding>) {
    let mut queues: Vec<QueueName> = settings.receiver.default_queues.iter().cloned().collect();
    let is_sent_to = settings.report.via == ReportWay::Queue;
    queues.extend(settings.report.status_queue.iter().filter(|_| is_sent_to).cloned());
    let names = queues.iter().map(QueueName::as_str).collect::<Vec<_>>().join(", ");
    let about = format!("queues {names}");
    let diagnosis = match Admin::new(connection.clone()).doctor(&queues).await {
        Ok(diagnosis) => diagnosis,
        Err(error) => {
            findings.push(Finding::warning(&about, error, "see `valkit doctor`"));
            return;
        }
    };
    let before = findings.len();
    for found in diagnosis.findings {
        // Registrations are not sent from here.
        if found.what.contains(" may not send: ") && !is_sent_to {
            continue;
        }
        // Refusals are dead letters too, which go by themselves; to replay or to purge them all would be wrong.
        if found.what.contains(" died within the last hour") {
            continue;
        }
        let text = format!("{}: {}", found.what, found.why);
        match found.severity {
            Severity::Critical => findings.push(Finding::bad(&about, text, found.remedy)),
            Severity::Warning => findings.push(Finding::warning(&about, text, found.remedy)),
            _ => {}
        }
    }
    if findings[before..].iter().all(|finding| !finding.is_bad()) {
        findings.push(Finding::good(&about, "they can be received from"));
    }
}

/// Looks at the directory: reached, believed, logged in, allowed.
pub(crate) async fn directory(client: &Client, settings: &Settings) -> Vec<Finding> {
    let of = |finding: freeipa_client::Finding| Finding {
        about: format!("freeipa {}", finding.server),
        verdict: match finding.verdict {
            freeipa_client::Verdict::Good => Verdict::Good,
            freeipa_client::Verdict::Unknown => Verdict::Warning,
            freeipa_client::Verdict::Bad => Verdict::Bad,
        },
        text: format!("{}: {}", finding.probe, finding.text),
        remedy: finding.remedy,
    };
    client.check(&directory::needs(settings)).await.into_iter().map(of).collect()
}

// === impl Checkup ===

impl Checkup {
    /// Whether nothing is wrong. There may be warnings.
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(Finding::is_bad)
    }

    /// What is known when the consumer cannot even begin: one finding for each reason.
    pub fn unusable(reasons: impl IntoIterator<Item = String>) -> Self {
        let remedy = "correct it: docs/configuration.md has every setting";
        let of = |reason| Finding::bad("settings", reason, remedy);
        Self { findings: reasons.into_iter().map(of).collect(), store: StoreReach::Unreached }
    }

    /// The same, and what the operator should hear of the settings.
    #[must_use]
    pub fn with_notices(mut self, notices: &[Notice]) -> Self {
        let of = |notice: &Notice| Finding::warning("settings", notice, "correct it, or take it away");
        self.findings.splice(0..0, notices.iter().map(of));
        self
    }

    /// In a few words, unless something is wrong, which the findings say.
    pub fn summary(&self) -> Option<String> {
        let warnings: Vec<&Finding> =
            self.findings.iter().filter(|finding| finding.verdict == Verdict::Warning).collect();
        let rights = if warnings.iter().any(|finding| finding.is_about_rights()) {
            ": rights show at the first registration"
        } else {
            ""
        };
        match warnings.len() {
            _ if !self.is_good() => None,
            0 => Some("all is well".to_owned()),
            1 => Some(format!("no fault found; 1 warning{rights}")),
            count => Some(format!("no fault found; {count} warnings{rights}")),
        }
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let wide = self.findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { about, verdict, text: seen, remedy } in &self.findings {
            text += &row(verdict, about, wide, seen);
            if let Some(remedy) = remedy {
                text += &row(&"", "", wide, &format!("-> {remedy}"));
            }
        }
        text
    }
}

fn row(verdict: &dyn fmt::Display, about: &str, wide: usize, text: &str) -> String {
    format!("{verdict:<7}  {about:<wide$}  {text}\n")
}

// === impl Finding ===

impl Finding {
    fn good(about: &str, text: impl fmt::Display) -> Self {
        Self { about: about.to_owned(), verdict: Verdict::Good, text: text.to_string(), remedy: None }
    }

    fn warning(about: &str, text: impl fmt::Display, remedy: impl Into<String>) -> Self {
        let (about, text) = (about.to_owned(), text.to_string());
        Self { about, verdict: Verdict::Warning, text, remedy: Some(remedy.into()) }
    }

    fn bad(about: &str, text: impl fmt::Display, remedy: impl Into<String>) -> Self {
        let (about, text) = (about.to_owned(), text.to_string());
        Self { about, verdict: Verdict::Bad, text, remedy: Some(remedy.into()) }
    }

    /// Whether it is about what the service account may do, which only a call proves.
    fn is_about_rights(&self) -> bool {
        self.about.starts_with("freeipa ") && self.text.starts_with("right: ")
    }

    /// Whether it will not work.
    pub fn is_bad(&self) -> bool {
        self.verdict == Verdict::Bad
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "BAD",
        })
    }
}
