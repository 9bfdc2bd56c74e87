//! `valkit send QUEUE`

mod source;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use valkey_connection::{Command, Connection};
use valkey_envelope::{Envelope, Lane, QueueName};
use valkey_sender::{Certainty, Durability, Receipt, Sender};

use self::source::{Found, Source};
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    input::Input,
    output::Format,
    stop::Stop,
    text::{counted, printable},
};

/// What one message may have before it is read on: far above what is sensible, yet an end for `/dev/zero`. Which size is
/// allowed is for the sender to say, message by message.
const LARGEST_INPUT: usize = 64 << 20;
/// A Valkey holds no larger value.
const LARGEST_RAW: usize = 512 << 20;

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

Exit code 3: some messages were sent, others not; or nobody knows of some, or of the only one, whether they are in the \
queue, or are as safe there as was asked for (status `unknown`). -o ndjson has a line for each. Every other code above 0: \
nothing was sent; 7 if the server cannot promise the durability. A signal ends it behind what is under way, and the line is \
told behind which the next run begins; a second one does not wait.

A send whose outcome is unknown may be repeated without doubling if both have the same id, and a dedup window: \
VALKEY_DEDUP_WINDOW=1h valkit send QUEUE --id ID";

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
    /// Not in the queue.
    failed: u64,
    /// May be in the queue, or be less safe there than was asked for.
    unknown: u64,
    durability: String,
    messages: Vec<Sent>,
    #[serde(skip)]
    first_failure: Option<Failure>,
    /// What is yet to be said of lines.
    #[serde(skip)]
    untold: Option<Lines>,
}

/// Lines one after the other of which the same is to be said.
struct Lines {
    first: u64,
    last: u64,
    text: String,
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
    let largest =
        if arguments.raw { LARGEST_RAW } else { LARGEST_INPUT.max(settings.sender.max_message_bytes) };
    let source = Source::open(&input, arguments.ndjson, largest)?;
    let ended = all(&arguments, &connection, &sender, source, &mut summary, context).await;
    summary.tell_lines(context);
    if let Err(failure) = ended {
        return Err(match summary.done() + summary.unknown {
            0 => failure,
            begun => Failure::Partial(format!("stopped after {begun} messages: {failure}")),
        });
    }
    summary.finish(context)
}

/// Sends what there is to read, until a signal asks for the end.
async fn all(
    arguments: &Arguments,
    connection: &Connection,
    sender: &Sender,
    mut source: Source,
    summary: &mut Summary,
    context: &Context,
) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    loop {
        let sent = source.line();
        let ended = || match sent {
            0 => Failure::Failed("ended by a signal".to_owned()),
            line => {
                Failure::Failed(format!("ended by a signal after line {line}: the next run begins behind it"))
            }
        };
        // On a thread of its own: a pipe may keep it waiting while the signal comes.
        let reading = tokio::task::spawn_blocking(move || {
            let found = source.next();
            (source, found)
        });
        let batch = tokio::select! {
            biased;
            () = stop.drain.cancelled() => return Err(ended()),
            read = reading => {
                let (back, found) = read.map_err(|error| Failure::Failed(format!("reading: {error}")))?;
                source = back;
                found?
            }
        };
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len();
        let sending = async {
            if arguments.raw {
                push(arguments, connection, batch, summary, context).await
            } else {
                send(arguments, sender, batch, summary, context).await
            }
        };
        tokio::select! {
            done = sending => done?,
            () = stop.now.cancelled() => {
                let last = counted(count, "message");
                return Err(Failure::Partial(format!(
                    "{}; nobody knows which of the last {last} are in the queue", ended()
                )));
            }
        }
        if !arguments.ndjson {
            return Ok(());
        }
    }
}

async fn send(
    arguments: &Arguments,
    sender: &Sender,
    batch: Vec<Found>,
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
        let several =
            !arguments.ndjson && is_json(bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes));
        let hint = if several {
            "--ndjson sends every line as a message of its own"
        } else {
            "--raw pushes bytes as they are, without an envelope"
        };
        Failure::usage(format!("the payload is no JSON: {error}"), hint)
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

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

async fn push(
    arguments: &Arguments,
    connection: &Connection,
    batch: Vec<Found>,
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
            Err(error) if error.outcome_unknown() => {
                Err(Failure::Partial(format!("{error}; sending it again may double it")))
            }
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
            Err(_) if certainty == Certainty::Unknown => ("unknown", &mut self.unknown),
            Err(_) => ("failed", &mut self.failed),
        };
        *count += 1;
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
                    self.tell_line(line, without_id(error, sent.id.as_deref()), context);
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

    /// Says it of this line, together with those before it that have the same to say.
    fn tell_line(&mut self, line: u64, text: String, context: &Context) {
        if let Some(lines) = &mut self.untold
            && lines.last + 1 == line
            && lines.text == text
        {
            lines.last = line;
            return;
        }
        self.tell_lines(context);
        self.untold = Some(Lines { first: line, last: line, text });
    }

    fn tell_lines(&mut self, context: &Context) {
        if let Some(Lines { first, last, text }) = self.untold.take() {
            let lines =
                if first == last { format!("line {first}") } else { format!("lines {first} to {last}") };
            context.say(&format!("{lines}: {text}"));
        }
    }

    fn finish(mut self, context: &Context) -> Result<Exit, Failure> {
        let first = self.first_failure.take();
        match context.output.format {
            Format::Table if self.done() + self.shed + self.unknown > 0 => {
                context.output.text(&self.render())?;
            }
            Format::Json => context.output.object(&self, String::new)?,
            _ => {}
        }
        let total = self.done() + self.shed + self.failed + self.unknown;
        match first {
            None if self.shed == 0 => Ok(Exit::Ok),
            None if self.done() == 0 => Ok(Exit::Failed),
            Some(failure) if total == 1 || self.done() + self.unknown == 0 => Err(failure),
            _ => Err(Failure::Partial(self.shortfall(total))),
        }
    }

    /// In the queue, as it was asked for.
    fn done(&self) -> u64 {
        self.sent + self.scheduled + self.duplicate
    }

    /// What is missing, of several messages.
    fn shortfall(&self, total: u64) -> String {
        // A further run would give them other ids, which no dedup window knows.
        const AGAIN: &str = "sending them again may double them";
        match (self.failed + self.shed, self.unknown) {
            (lost, 0) => format!("{lost} of {total} messages were not sent"),
            (0, unknown) => {
                let fast = self.durability == Durability::Fast.to_string();
                let safe = if fast { String::new() } else { format!(", as safe as {}", self.durability) };
                format!(
                    "of {unknown} of {total} messages nobody knows whether they are in the queue{safe}: {AGAIN}"
                )
            }
            (lost, unknown) => {
                format!("{lost} of {total} messages were not sent; of {unknown} nobody knows: {AGAIN}")
            }
        }
    }

    fn render(&self) -> String {
        let counts = [
            ("sent", self.sent),
            ("scheduled", self.scheduled),
            ("duplicate", self.duplicate),
            ("shed", self.shed),
            ("not sent", self.failed),
            ("unknown", self.unknown),
        ];
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        if let Some(only) = self.messages.first().filter(|_| total == 1) {
            let line = format!("{} {}", only.status, printable(only.id.as_deref().unwrap_or("")));
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
        if self.durability == Durability::Fast.to_string() || self.done() == 0 {
            return String::new();
        }
        format!(", confirmed as {}", self.durability)
    }
}

/// What an error says of a message whose line is told beside it: equal for all that failed alike.
fn without_id(error: &str, id: Option<&str>) -> String {
    let Some(named) = id.map(|id| format!("message {id}")) else { return error.to_owned() };
    let not_sent = error.strip_prefix(&named).and_then(|rest| rest.strip_prefix(" was not sent"));
    match not_sent.and_then(|rest| rest.split_once(": ")) {
        Some((_, why)) => format!("not sent: {why}"),
        None => error.replacen(&named, "the message", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(sent: u64, failed: u64, unknown: u64) -> Summary {
        let durability = Durability::Fast.to_string();
        Summary { sent, failed, unknown, durability, ..Summary::default() }
    }

    #[test]
    fn what_nobody_knows_is_not_counted_as_not_sent() {
        let mixed = summary(2816, 2928, 256);
        assert_eq!(mixed.render(), "sent 2816, not sent 2928, unknown 256\n");
        assert_eq!(
            mixed.shortfall(6000),
            "2928 of 6000 messages were not sent; of 256 nobody knows: sending them again may double them"
        );
        let open = summary(1, 0, 2).shortfall(3);
        assert!(open.starts_with("of 2 of 3 messages nobody knows") && !open.contains("not sent"), "{open}");
        assert_eq!(summary(1, 2, 0).shortfall(3), "2 of 3 messages were not sent");
    }

    #[test]
    fn errors_that_differ_in_the_id_alone_are_told_as_one() {
        let full = |id: &str| format!("message {id} was not sent: queue q is full at 5 messages; slow down");
        assert_eq!(without_id(&full("a"), Some("a")), "not sent: queue q is full at 5 messages; slow down");
        assert_eq!(without_id(&full("a"), Some("a")), without_id(&full("b"), Some("b")));
        let unknown = "nobody knows whether message a reached queue q; sending it again may double it";
        assert_eq!(
            without_id(unknown, Some("a")),
            "nobody knows whether the message reached queue q; sending it again may double it"
        );
        assert_eq!(without_id("the payload is no JSON", None), "the payload is no JSON");
    }
}
