//! `valkit send QUEUE`

use std::{io::BufRead, path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use valkey_connection::{Command, Connection};
use valkey_envelope::{Envelope, Lane, QueueName};
use valkey_sender::{Certainty, Durability, Receipt, Sender};

use crate::{context::Context, exit::Exit, failure::Failure, input::Input, output::Format};

const EXAMPLES: &str = "\
The payload is JSON, and is wrapped into an envelope with an id and the time. With --raw the bytes are pushed as they \
are, as a plain LPUSH would.

The queue's limit (`valkit queue limit`) holds: what finds no room is not sent (VALKEY_ON_FULL: error, block or shed). To ask \
for room takes the right to call scripts; VALKEY_BOUNDED=false does without, and, like --raw, may push past the limit.

Examples:
  echo '{\"login\":\"ada\"}' | valkit send user-registrations --kind registration
  valkit send user-registrations --file users.ndjson --ndjson --priority low
  valkit send user-registrations --file reminder.json --delay 2h --ttl 1d --header tenant=7
  valkit send user-registrations --file order.json --durability replicated:1
  valkit send user-registrations --raw --file envelope.json

Exit code 3: some messages were sent, others not; -o ndjson has a line for each. Exit code 7: the server cannot promise the
durability, and nothing was sent; or it has not confirmed it in time, and the message may be in the queue.";

/// Messages sent in one round trip.
const BATCH: usize = 256;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// What to send; `-` or nothing is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Every line is a message of its own
    #[arg(long)]
    ndjson: bool,
    /// Push the bytes as they are, without an envelope
    #[arg(long, conflicts_with_all = ["delay", "ttl", "id", "kind", "header", "durability"])]
    raw: bool,
    /// The lane: high, normal or low
    #[arg(long, value_name = "LANE", default_value = "normal")]
    priority: Lane,
    /// Deliver it only after this time
    #[arg(long, value_name = "DURATION", value_parser = valkey_config::parse_duration)]
    delay: Option<Duration>,
    /// Do not deliver it after this time
    #[arg(long, value_name = "DURATION", value_parser = valkey_config::parse_duration)]
    ttl: Option<Duration>,
    /// The id, instead of a fresh one
    #[arg(long, conflicts_with = "ndjson")]
    id: Option<String>,
    /// The kind, by which receivers choose a handler
    #[arg(long)]
    kind: Option<String>,
    /// How safe it is to be: fast (in the server's memory), durable (on its disk) or replicated:N (with N replicas, too)
    #[arg(long, value_name = "MODE")]
    durability: Option<Durability>,
    /// A header; may be given several times
    #[arg(long, value_name = "K=V", value_parser = header)]
    header: Vec<(String, String)>,
}

/// A message to be, and the line it came from if lines count.
type Read = (Option<u64>, Vec<u8>);

/// What became of one message.
#[derive(Serialize)]
struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    status: &'static str,
    /// Whether it is there, as safe as was asked for: `confirmed`, `unknown` or `rejected`.
    certainty: &'static str,
    /// How safe it is confirmed to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What became of all.
#[derive(Serialize, Default)]
struct Summary {
    queue: String,
    sent: u64,
    scheduled: u64,
    duplicate: u64,
    shed: u64,
    failed: u64,
    /// Of the failed: those that may be in the queue all the same.
    unknown: u64,
    durability: String,
    messages: Vec<Sent>,
    #[serde(skip)]
    first_failure: Option<Failure>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let connection = Connection::connect(&settings.connection).await?;
    let mut builder = Sender::builder(connection.clone(), arguments.queue.clone()).settings(&settings.sender);
    // Each run is a new sender. One that does not ask for room learns of a limit with its first push, which may be its last.
    if !settings.bounded_is_set {
        builder = builder.bounded();
    }
    let mut sender = builder.build();
    if let Some(durability) = arguments.durability {
        sender = sender.with_durability(durability);
    }
    let durability = if arguments.raw { Durability::Fast } else { sender.durability() };
    if !arguments.raw {
        sender.check_durability().await?;
    }
    let (queue, durability) = (arguments.queue.to_string(), durability.to_string());
    let mut summary = Summary { queue, durability, ..Summary::default() };
    let input = Input::new(arguments.file.clone());
    if input.is_terminal() {
        context.hint("type the payload, then Ctrl-D; --file FILE reads it from a file");
    }
    let mut reader = input.open()?;
    let mut line = 0;
    loop {
        let batch = read(&arguments, &input, &mut *reader, &mut line)?;
        if batch.is_empty() {
            break;
        }
        if arguments.raw {
            push(&arguments, &connection, batch, &mut summary, context).await?;
        } else {
            send(&arguments, &sender, batch, &mut summary, context).await?;
        }
        if !arguments.ndjson {
            break;
        }
    }
    summary.finish(context)
}

/// The next messages, each with its line if lines count.
fn read(
    arguments: &Arguments,
    input: &Input,
    reader: &mut (dyn BufRead + Send),
    line: &mut u64,
) -> Result<Vec<Read>, Failure> {
    let wrong = |error| Failure::io(format!("reading {}", input.name()), error);
    if !arguments.ndjson {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map_err(wrong)?;
        return Ok(vec![(None, all)]);
    }
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        let mut bytes = Vec::new();
        if reader.read_until(b'\n', &mut bytes).map_err(wrong)? == 0 {
            break;
        }
        *line += 1;
        bytes.pop_if(|last| *last == b'\n');
        bytes.pop_if(|last| *last == b'\r');
        if !bytes.is_empty() {
            batch.push((Some(*line), bytes));
        }
    }
    Ok(batch)
}

async fn send(
    arguments: &Arguments,
    sender: &Sender,
    batch: Vec<Read>,
    summary: &mut Summary,
    context: &Context,
) -> Result<(), Failure> {
    let (mut lines, mut envelopes) = (Vec::new(), Vec::new());
    for (line, bytes) in batch {
        match envelope(arguments, &bytes) {
            Ok(envelope) => {
                lines.push(line);
                envelopes.push(envelope);
            }
            Err(failure) => summary.note(line, None, Certainty::Rejected, Err(failure), context)?,
        }
    }
    let ids: Vec<String> = envelopes.iter().map(|envelope| envelope.id().to_string()).collect();
    let receipts = sender.send_all(envelopes).await;
    for ((line, id), receipt) in lines.into_iter().zip(ids).zip(receipts) {
        let certainty = Certainty::of(&receipt);
        summary.note(line, Some(id), certainty, receipt.map_err(Failure::from), context)?;
    }
    Ok(())
}

fn envelope(arguments: &Arguments, bytes: &[u8]) -> Result<Envelope, Failure> {
    let payload: Box<RawValue> = serde_json::from_slice(bytes).map_err(|error| {
        Failure::usage(
            format!("the payload is no JSON: {error}"),
            "--raw pushes bytes as they are, without an envelope",
        )
    })?;
    let mut envelope =
        Envelope::from_json(payload).with_queue(&arguments.queue).with_priority(arguments.priority);
    if let Some(id) = &arguments.id {
        envelope = envelope.with_id(id.as_str());
    }
    if let Some(kind) = &arguments.kind {
        envelope = envelope.with_kind(kind);
    }
    for (name, value) in &arguments.header {
        envelope = envelope.with_header(name, value);
    }
    if let Some(ttl) = arguments.ttl {
        envelope = envelope.with_ttl(ttl);
    }
    if let Some(delay) = arguments.delay {
        let due = Timestamp::now()
            .checked_add(delay)
            .map_err(|error| Failure::usage(format!("--delay: {error}"), "a shorter delay"))?;
        envelope = envelope.with_not_before(due);
    }
    Ok(envelope)
}

async fn push(
    arguments: &Arguments,
    connection: &Connection,
    batch: Vec<Read>,
    summary: &mut Summary,
    context: &Context,
) -> Result<(), Failure> {
    let keys = arguments.queue.keys();
    let (lines, elements): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let command = Command::new("LPUSH").key(keys.lane(arguments.priority)).args(elements);
    let result = connection.execute(command).await;
    for line in lines {
        let certainty = match &result {
            Ok(_) => Certainty::Confirmed,
            Err(error) if error.outcome_unknown() => Certainty::Unknown,
            Err(_) => Certainty::Rejected,
        };
        let one = match &result {
            Ok(_) => Ok(Receipt::Sent { id: "".into(), durability: Durability::Fast }),
            Err(error) => Err(error.clone().into()),
        };
        summary.note(line, None, certainty, one, context)?;
    }
    Ok(())
}

/// `K=V`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

// === impl Summary ===

impl Summary {
    fn note(
        &mut self,
        line: Option<u64>,
        id: Option<String>,
        certainty: Certainty,
        result: Result<Receipt, Failure>,
        context: &Context,
    ) -> Result<(), Failure> {
        let (status, count) = match &result {
            Ok(Receipt::Duplicate { .. }) => ("duplicate", &mut self.duplicate),
            Ok(Receipt::Scheduled { .. }) => ("scheduled", &mut self.scheduled),
            Ok(Receipt::Shed { .. }) => ("shed", &mut self.shed),
            Ok(_) => ("sent", &mut self.sent),
            Err(_) => ("failed", &mut self.failed),
        };
        *count += 1;
        self.unknown += u64::from(certainty == Certainty::Unknown);
        let sent = Sent {
            line,
            id,
            status,
            certainty: certainty.as_str(),
            durability: result
                .as_ref()
                .ok()
                .and_then(Receipt::durability)
                .map(|durability| durability.to_string()),
            error: result.as_ref().err().map(ToString::to_string),
        };
        match context.output.format {
            Format::Ndjson => context.output.line(&sent)?,
            Format::Json => self.messages.push(sent),
            Format::Table => {
                if let (Some(line), Some(error)) = (line, &sent.error) {
                    context.say(&format!("line {line}: {error}"));
                }
                // For people only a single message is worth its id.
                if self.messages.is_empty() {
                    self.messages.push(sent);
                }
            }
        }
        if let Err(failure) = result {
            self.first_failure.get_or_insert(failure);
        }
        Ok(())
    }

    fn finish(mut self, context: &Context) -> Result<Exit, Failure> {
        let done = self.sent + self.scheduled + self.duplicate;
        let first = self.first_failure.take();
        match context.output.format {
            Format::Table if done + self.shed > 0 => context.output.text(&self.render())?,
            Format::Json => context.output.object(&self, String::new)?,
            _ => {}
        }
        match (first, done) {
            (None, _) if self.shed == 0 => Ok(Exit::Ok),
            (None, 0) => Ok(Exit::Failed),
            (Some(failure), 0) => Err(failure),
            _ => Err(Failure::Partial(format!(
                "{} of {} messages were not sent",
                self.failed + self.shed,
                done + self.failed + self.shed
            ))),
        }
    }

    fn render(&self) -> String {
        let counts = [
            ("sent", self.sent),
            ("scheduled", self.scheduled),
            ("duplicate", self.duplicate),
            ("shed", self.shed),
            ("failed", self.failed),
        ];
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        if let Some(only) = self.messages.first().filter(|_| total == 1) {
            let line = format!("{} {}", only.status, only.id.as_deref().unwrap_or(""));
            return format!("{}{}\n", line.trim_end(), self.confirmed_as());
        }
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        let parts: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
        // Of several, some may have failed.
        let confirmed = self.confirmed_as().replacen(", ", "; what was sent is ", 1);
        format!("{}{confirmed}\n", parts.join(", "))
    }

    /// For people, who take `fast` for granted.
    fn confirmed_as(&self) -> String {
        if self.durability == Durability::Fast.to_string() {
            return String::new();
        }
        format!(", confirmed as {}", self.durability)
    }
}
