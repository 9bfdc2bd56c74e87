//! `valkit dead VERB`

mod ls;
mod purge;
mod replay;
mod show;

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use valkey_admin::{Admin, DeadFilter, DeadLetter, DeadQuery, DeadSelection, Tally};
use valkey_envelope::{DeadMeta, QueueName};

use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    text::{self, Message, counted},
};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List dead letters, the youngest first
    Ls(ls::Arguments),
    /// Show one dead letter: why it died, and the message
    Show(show::Arguments),
    /// Put dead letters back into a queue
    Replay(replay::Arguments),
    /// Remove dead letters for good
    Purge(purge::Arguments),
}

pub(crate) async fn run(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Ls(arguments) => ls::run(arguments, context).await,
        Verb::Show(arguments) => show::run(arguments, context).await,
        Verb::Replay(arguments) => replay::run(arguments, context).await,
        Verb::Purge(arguments) => purge::run(arguments, context).await,
    }
}

/// Which dead letters, by what they say of themselves.
#[derive(Args, Clone)]
pub(crate) struct Filter {
    /// Only those that died for this reason: rejected, `max_attempts`, expired, crashed, undecodable, codec, unroutable, panicked, ...
    #[arg(long)]
    reason: Option<String>,
    /// Only those that died since then: 2026-11-21T10:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<u64>,
    /// Only those that died until then
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<u64>,
}

/// Which dead letters a verb applies to: it must be said.
#[derive(Args, Clone)]
pub(crate) struct Which {
    /// Dead ids, as `dead ls` shows them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "reason", "since", "until"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

// === impl Filter ===

impl Filter {
    fn is_empty(&self) -> bool {
        self.reason.is_none() && self.since.is_none() && self.until.is_none()
    }

    fn into_filter(self) -> DeadFilter {
        DeadFilter { reason: self.reason.map(Into::into), since_ms: self.since, until_ms: self.until }
    }
}

// === impl Which ===

impl Which {
    fn selection(self) -> Result<DeadSelection, Failure> {
        match (self.ids.is_empty(), self.all, self.filter.is_empty()) {
            (true, true, _) => Ok(DeadSelection::All),
            (false, _, true) => Ok(DeadSelection::Ids(self.ids)),
            (true, false, false) => Ok(DeadSelection::Matching(self.filter.into_filter())),
            (true, false, true) => Err(Failure::usage(
                "which dead letters?",
                "name their ids, or say --all, --reason REASON, --since TIME or --until TIME",
            )),
            (false, _, false) => Err(Failure::usage(
                "either ids or a filter, not both",
                "leave out the ids, or --reason, --since and --until",
            )),
        }
    }
}

/// Letters whose reasons are counted where none was found.
const COUNTED: usize = 1_000;

/// Says why nothing was found: no such queue, no dead letters, or which others there are.
async fn explain_nothing(admin: &Admin, queue: &QueueName, context: &Context) -> Result<(), Failure> {
    let stats = admin.stats(queue).await?;
    if !stats.exists {
        return Err(Failure::no_queue(queue));
    }
    if stats.dead == 0 {
        context.hint(&format!("queue {queue} has no dead letters"));
        return Ok(());
    }
    let query = DeadQuery {
        filter: DeadFilter::default(),
        count: COUNTED,
        after: None,
        oldest_first: false,
        preview_bytes: 0,
    };
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for letter in admin.dead_letters(queue, &query).await?.letters {
        *reasons.entry(Letter::new(letter).reason()).or_default() += 1;
    }
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    context.hint(&format!(
        "queue {queue} has {}, but none like that; the reasons of the last ones: {}",
        counted(stats.dead, "dead letter"),
        text::printable(&reasons.join(", "))
    ));
    Ok(())
}

/// A dead letter in JSON.
#[derive(Serialize)]
struct Letter {
    id: String,
    died_at: String,
    died_ms: u64,
    length: Option<u64>,
    whole: bool,
    #[serde(skip)]
    meta: Option<DeadMeta>,
    /// The same, for people and programs: on the wire a lane is one character.
    #[serde(flatten)]
    about: Option<serde_json::Map<String, serde_json::Value>>,
    message_id: Option<String>,
    #[serde(flatten)]
    content: Message,
    #[serde(skip)]
    preview: String,
}

impl Letter {
    fn new(letter: DeadLetter) -> Self {
        let whole = letter.length == Some(letter.bytes.len() as u64);
        let envelope = if whole { valkey_envelope::Envelope::decode(&letter.bytes).ok() } else { None };
        let shown =
            envelope.as_ref().map_or(&letter.bytes[..], |envelope| envelope.payload().get().as_bytes());
        Self {
            id: letter.id,
            died_at: text::instant(letter.died_ms),
            died_ms: letter.died_ms,
            length: letter.length,
            whole,
            about: letter.meta.as_ref().and_then(about),
            meta: letter.meta,
            message_id: envelope.as_ref().map(|envelope| envelope.id().to_string()),
            content: text::message(&letter.bytes, whole),
            preview: text::preview(shown, 48),
        }
    }

    fn reason(&self) -> String {
        self.meta.as_ref().map_or_else(|| "(unreadable)".to_owned(), |meta| meta.reason.to_string())
    }
}

fn about(meta: &DeadMeta) -> Option<serde_json::Map<String, serde_json::Value>> {
    let serde_json::Value::Object(mut about) = serde_json::to_value(meta).ok()? else { return None };
    if let Some(lane) = meta.lane {
        about.insert("lane".to_owned(), lane.as_str().into());
    }
    Some(about)
}

/// What a verb did to dead letters.
#[derive(Serialize)]
struct Done {
    queue: QueueName,
    dry_run: bool,
    total: u64,
    absent: u64,
    unreadable: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Done {
    fn finish(
        queue: QueueName,
        dry_run: bool,
        tally: &Tally,
        verb: &str,
        context: &Context,
    ) -> Result<Exit, Failure> {
        let done = Self {
            queue,
            dry_run,
            total: tally.done(),
            absent: tally.absent,
            unreadable: tally.unreadable,
            error: tally.failed.as_ref().map(ToString::to_string),
        };
        context.output.object(&done, || {
            let would = if dry_run { " (dry run: nothing was changed)" } else { "" };
            format!("{} {verb}{would}\n", done.total)
        })?;
        if let Some(error) = done.error {
            return Err(Failure::Partial(format!("stopped after {}: {error}", done.total)));
        }
        if done.unreadable > 0 {
            context.hint(&format!(
                "{} left: the stored form cannot be read",
                counted(done.unreadable, "dead letter")
            ));
        }
        if done.absent > 0 {
            context.hint(&format!("{} not there (any more)", counted(done.absent, "dead letter")));
        }
        match (done.total, done.absent + done.unreadable) {
            (_, 0) => Ok(Exit::Ok),
            (0, _) if done.unreadable == 0 => Ok(Exit::NotFound),
            (0, _) => Ok(Exit::Failed),
            _ => Ok(Exit::Partial),
        }
    }
}

/// An instant in milliseconds: RFC 3339, or a duration before now.
fn instant(text: &str) -> Result<u64, String> {
    const EXPECTED: &str =
        "expected a time like 2026-11-21T10:00:00Z, or a duration like 2h for two hours ago";
    let timestamp = if let Ok(timestamp) = text.parse::<Timestamp>() {
        timestamp
    } else {
        let ago: Duration = valkey_config::parse_duration(text).map_err(|_| EXPECTED)?;
        Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())?
    };
    u64::try_from(timestamp.as_millisecond()).map_err(|_| "no message died before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(ids: &[&str], all: bool, reason: Option<&str>) -> Which {
        let filter = Filter { reason: reason.map(str::to_owned), since: None, until: None };
        Which { ids: ids.iter().map(|id| (*id).to_owned()).collect(), all, filter }
    }

    #[test]
    fn a_selection_must_be_said_and_be_one() {
        assert!(matches!(which(&[], true, None).selection(), Ok(DeadSelection::All)));
        assert!(matches!(which(&["1"], false, None).selection(), Ok(DeadSelection::Ids(_))));
        assert!(matches!(which(&[], false, Some("x")).selection(), Ok(DeadSelection::Matching(_))));
        for nothing_or_both in [which(&[], false, None), which(&["1"], false, Some("x"))] {
            assert_eq!(nothing_or_both.selection().err().map(|failure| failure.exit()), Some(Exit::Usage));
        }
    }

    #[test]
    fn instants_are_absolute_or_ago() {
        assert_eq!(instant("1970-01-01T00:00:01Z"), Ok(1_000));
        let hour_ago = instant("1h").map(|ms| Timestamp::now().as_millisecond().unsigned_abs() - ms);
        assert!(hour_ago.is_ok_and(|ms| (3_600_000..3_601_000).contains(&ms)));
        assert!(instant("30d").is_ok());
        assert!(instant("yesterday").is_err());
        assert!(instant("1960-01-01T00:00:00Z").is_err());
    }
}
