//! `valkit dead show Q ID`

use valkey_envelope::{Envelope, QueueName};

use super::Letter;
use crate::{context::Context, exit::Exit, failure::Failure, text};

const EXAMPLES: &str = "\
Examples:
  valkit dead show user-registrations 12-3-0195c0ffee00700080000000000000ff
  valkit dead show user-registrations ID --raw > message.bin";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// The dead id, as `dead ls` shows it
    id: String,
    /// Only the message, its bytes as they were pushed
    #[arg(long)]
    raw: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    let letter = match admin.dead_letter(&arguments.queue, &arguments.id).await {
        Err(error @ valkey_admin::Error::NoDeadLetter { .. }) => {
            Failure::unless_there(&admin, &arguments.queue).await?;
            return Err(error.into());
        }
        letter => letter?,
    };
    if arguments.raw {
        if letter.length.is_none() {
            return Err(Failure::Failed(format!(
                "the stored form of dead letter {} cannot be read",
                letter.id
            )));
        }
        context.output.bytes(&letter.bytes)?;
        return Ok(Exit::Ok);
    }
    let bytes = letter.bytes.clone();
    let letter = Letter::new(letter);
    context.output.object(&letter, || {
        let mut pairs =
            vec![("id", letter.id.clone()), ("died", letter.died_at.clone()), ("reason", letter.reason())];
        if let Some(meta) = &letter.meta {
            let lane = meta.lane.map(|lane| lane.to_string());
            let claimed = meta.claimed_ms.map(text::instant);
            let optional = [
                ("error", &meta.error),
                ("lane", &lane),
                ("claimed", &claimed),
                ("consumer", &meta.consumer),
            ];
            pairs.push(("failed attempts", meta.attempts.to_string()));
            pairs.push(("crashes", meta.crashes.to_string()));
            pairs.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        }
        pairs.push(("size", letter.length.map_or_else(|| "unknown".into(), text::bytes)));
        let mut out = context.output.pairs(&pairs);
        out.push('\n');
        match Envelope::decode(&bytes) {
            Ok(_) => out.push_str(&safe(&text::pretty(&String::from_utf8_lossy(&bytes)))),
            Err(error) => {
                out.push_str("no envelope: ");
                out.push_str(&text::printable(&error.to_string()));
                out.push('\n');
                out.push_str(&text::preview(&bytes, 2_000));
            }
        }
        out.push('\n');
        out
    })?;
    Ok(Exit::Ok)
}

/// Several lines, each harmless.
fn safe(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(text::printable).collect();
    lines.join("\n")
}
