//! `valkit dead ls Q`

use valkey_admin::{DeadCursor, DeadQuery};
use valkey_envelope::QueueName;

use super::{Filter, Letter, explain_nothing};
use crate::{context::Context, exit::Exit, failure::Failure, output::Format, table::Column, text};

const EXAMPLES: &str = "\
Examples:
  valkit dead ls user-registrations
  valkit dead ls user-registrations --reason max_attempts --since 2h
  valkit dead ls user-registrations --all -o ndjson | jq -r .error | sort | uniq -c";

/// Letters fetched at a time.
const PAGE: usize = 200;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    #[command(flatten)]
    filter: Filter,
    /// How many
    #[arg(long, short = 'n', default_value_t = 50, conflicts_with = "all")]
    count: usize,
    /// All of them
    #[arg(long)]
    all: bool,
    /// The ones that died first in front
    #[arg(long)]
    oldest: bool,
    /// Bytes of each message to fetch
    #[arg(long, default_value_t = 4096)]
    bytes: u64,
}

const COLUMNS: [Column<Letter>; 6] = [
    Column::left("ID", |letter| letter.id.clone()),
    Column::left("DIED", |letter| letter.died_at.clone()),
    Column::left("REASON", Letter::reason),
    Column::right("SIZE", |letter| letter.length.map_or_else(|| "-".into(), text::bytes)),
    Column::left("ERROR", |letter| {
        let error = letter.meta.as_ref().and_then(|meta| meta.error.as_deref()).unwrap_or("-");
        text::preview(error.as_bytes(), 40)
    }),
    Column::left("MESSAGE", |letter| letter.preview.clone()),
];

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    let queue = &arguments.queue;
    let wanted = if arguments.all { usize::MAX } else { arguments.count };
    let filter = arguments.filter.into_filter();
    let (mut rows, mut after): (Vec<Letter>, Option<DeadCursor>) = (Vec::new(), None);
    let mut found = 0;
    while found < wanted {
        let query = DeadQuery {
            filter: filter.clone(),
            count: (wanted - found).min(PAGE),
            after,
            oldest_first: arguments.oldest,
            preview_bytes: arguments.bytes,
        };
        let page = admin.dead_letters(queue, &query).await?;
        found += page.letters.len();
        let letters = page.letters.into_iter().map(Letter::new);
        if context.output.format == Format::Ndjson {
            // Of many, none is kept.
            for letter in letters {
                context.output.line(&letter)?;
            }
        } else {
            rows.extend(letters);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if found == 0 {
        explain_nothing(&admin, queue, context).await?;
    }
    if context.output.format != Format::Ndjson {
        context.output.list(&COLUMNS, &rows)?;
    }
    if after.is_some() {
        context.hint("there may be more: --count N or --all");
    }
    Ok(Exit::Ok)
}
