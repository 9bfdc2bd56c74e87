//! `valkit queue peek Q`

use serde::Serialize;
use valkey_admin::{PeekQuery, Peeked, Place};
use valkey_envelope::{Lane, QueueName};

use super::{parts, places, refuse_dead};
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    table::Column,
    text::{self, Message},
};

const EXAMPLES: &str = "\
Shows the messages that would be taken next, without taking them. Bytes that are no text appear as base64 in JSON.

Examples:
  valkit queue peek user-registrations
  valkit queue peek user-registrations --in delayed --count 50
  valkit queue peek user-registrations --bytes 1048576 -o ndjson | jq .envelope.payload";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// Which part; `ready` is everything that can be taken now
    #[arg(long = "in", value_name = "PART", default_value = "ready",
        value_parser = parts(["ready", "public", "high", "low", "woken", "redo", "delayed", "in-flight"]))]
    part: String,
    /// How many
    #[arg(long, short = 'n', default_value_t = 10)]
    count: u64,
    /// Leave out the first ones
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// Bytes of each message to fetch
    #[arg(long, default_value_t = 4096)]
    bytes: u64,
}

#[derive(Serialize)]
struct Row {
    place: Place,
    position: u64,
    length: u64,
    whole: bool,
    id: Option<String>,
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<Lane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crashes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    #[serde(flatten)]
    message: Message,
    #[serde(skip)]
    preview: String,
}

const COLUMNS: [Column<Row>; 6] = [
    Column::left("PART", |row| row.place.to_string()),
    Column::right("POS", |row| row.position.to_string()),
    Column::left("ID", |row| row.id.clone().unwrap_or_else(|| "-".into())),
    Column::right("SIZE", |row| text::bytes(row.length)),
    Column::left("STATE", state),
    Column::left("MESSAGE", |row| row.preview.clone()),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    refuse_dead(std::slice::from_ref(&arguments.part), &arguments.queue, "ls")?;
    let admin = context.admin().await?;
    let mut rows = Vec::new();
    let (mut skip, mut total) = (arguments.skip, 0);
    for place in places(std::slice::from_ref(&arguments.part)) {
        let before = total;
        loop {
            let left = arguments.count.saturating_sub(rows.len() as u64);
            // A place is asked also when nothing more is wanted: its size belongs to the total.
            let query = PeekQuery { place, skip, count: left.max(1), max_bytes: arguments.bytes };
            let page = admin.peek(&arguments.queue, &query).await?;
            total = before + page.total;
            let got = page.items.len() as u64;
            rows.extend(page.items.into_iter().take(left as usize).map(|item| Row::new(&item)));
            match page.next {
                Some(next) if left > got => skip = next,
                _ => {
                    skip = skip.saturating_sub(page.total);
                    break;
                }
            }
        }
    }
    if total == 0 {
        Failure::unless_there(&admin, &arguments.queue).await?;
    }
    context.output.list(&COLUMNS, &rows)?;
    let shown = arguments.skip.saturating_add(rows.len() as u64);
    if total == 0 {
        context.hint(&format!("nothing is {} in queue {}", arguments.part, arguments.queue));
    } else if shown < total {
        context.hint(&format!("{} more: --skip {shown}", total - shown));
    }
    Ok(Exit::Ok)
}

impl Row {
    fn new(item: &Peeked) -> Self {
        let envelope = item.envelope().and_then(Result::ok);
        let shown = envelope.as_ref().map_or(&item.bytes[..], |envelope| envelope.payload().get().as_bytes());
        Self {
            place: item.place,
            position: item.position,
            length: item.length,
            whole: item.is_whole(),
            id: envelope.as_ref().map(|envelope| envelope.id().to_string()),
            kind: envelope.as_ref().and_then(|envelope| envelope.kind().map(str::to_owned)),
            lane: item.lane,
            attempts: item.attempts,
            crashes: item.crashes,
            due_ms: item.due_ms,
            claimed_ms: item.claimed_ms,
            consumer: item.consumer.clone(),
            message: text::message(&item.bytes, item.is_whole()),
            preview: text::preview(shown, 60),
        }
    }
}

fn state(row: &Row) -> String {
    let mut state = Vec::new();
    if let Some(due) = row.due_ms {
        state.push(format!("due {}", text::instant(due)));
    }
    if let Some(claimed) = row.claimed_ms {
        state.push(format!("claimed {}", text::instant(claimed)));
    }
    if let Some(attempts) = row.attempts.filter(|attempts| *attempts > 0) {
        state.push(format!("failed {attempts}x"));
    }
    if let Some(crashes) = row.crashes.filter(|crashes| *crashes > 0) {
        state.push(format!("crashed {crashes}x"));
    }
    state.join(", ")
}
