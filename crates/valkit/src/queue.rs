//! `valkit queue VERB`

mod hand_back;
mod limit;
mod ls;
mod pause;
mod peek;
mod purge;
mod show;

use clap::{
    Args, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use valkey_admin::{Place, Tally};
use valkey_envelope::QueueName;

use crate::{context::Context, exit::Exit, failure::Failure, text::counted};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the queues with their depths
    Ls(ls::Arguments),
    /// Show how one queue stands
    Show(show::Arguments),
    /// Look at messages without taking them
    Peek(peek::Arguments),
    /// Stop consumers from taking more
    Pause(Named),
    /// Let consumers go on
    Resume(Named),
    /// Show or change how much may wait and how fast it is handed out
    Limit(limit::Arguments),
    /// Remove waiting messages for good
    Purge(purge::Arguments),
    /// Move everything to the public list, for plain consumers
    HandBack(hand_back::Arguments),
}

/// Just a queue.
#[derive(Args)]
pub(crate) struct Named {
    /// The queue
    queue: QueueName,
}

pub(crate) async fn run(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Ls(arguments) => ls::run(arguments, context).await,
        Verb::Show(arguments) => show::run(arguments, context).await,
        Verb::Peek(arguments) => peek::run(arguments, context).await,
        Verb::Pause(named) => pause::pause(named.queue, context).await,
        Verb::Resume(named) => pause::resume(named.queue, context).await,
        Verb::Limit(arguments) => limit::run(arguments, context).await,
        Verb::Purge(arguments) => purge::run(arguments, context).await,
        Verb::HandBack(arguments) => hand_back::run(arguments, context).await,
    }
}

/// What the parts are called that have a verb of their own.
const DEAD: &str = "dead";

/// A parser of part names that lists them in the help.
fn parts<const N: usize>(names: [&'static str; N]) -> impl TypedValueParser<Value = String> {
    let dead = PossibleValue::new(DEAD).hide(true);
    PossibleValuesParser::new(names.map(PossibleValue::new).into_iter().chain([dead]))
}

/// Shows who asks for dead letters the verb that has to do with them.
fn refuse_dead(parts: &[String], queue: &QueueName, verb: &str) -> Result<(), Failure> {
    if parts.iter().any(|part| part == DEAD) {
        return Err(Failure::usage(
            "dead letters have verbs of their own",
            format!("valkit dead {verb} {queue}"),
        ));
    }
    Ok(())
}

/// The places of part names; `ready` stands for all that can be taken.
fn places(parts: &[String]) -> Vec<Place> {
    let mut places = Vec::new();
    for part in parts {
        let meant = if part == "ready" { Place::READY.to_vec() } else { part.parse().into_iter().collect() };
        for place in meant {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// What a verb did, by place.
#[derive(serde::Serialize)]
struct Done {
    queue: QueueName,
    dry_run: bool,
    places: std::collections::BTreeMap<Place, u64>,
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Done {
    /// Writes it, and turns a stop half-way into the failure it is.
    fn finish(
        queue: QueueName,
        dry_run: bool,
        tally: Tally,
        verb: &str,
        context: &Context,
    ) -> Result<Exit, Failure> {
        let total = tally.done();
        let error = tally.failed.as_ref().map(ToString::to_string);
        let done = Self { queue, dry_run, places: tally.counts, total, error };
        context.output.object(&done, || {
            let would = if dry_run { " (dry run: nothing was changed)" } else { "" };
            let touched = done.places.iter().filter(|(_, count)| **count > 0);
            let mut lines: Vec<String> =
                touched.map(|(place, count)| format!("{count:>10}  {place}\n")).collect();
            lines.push(format!("{total:>10}  {verb}{would}\n"));
            lines.concat()
        })?;
        match done.error {
            None => Ok(Exit::Ok),
            Some(error) => {
                Err(Failure::Partial(format!("stopped after {}: {error}", counted(total, "message"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_stands_for_five_places_and_none_comes_twice() {
        let names = ["redo", "ready", "delayed", "delayed"].map(str::to_owned);
        let expected = [Place::Redo, Place::Woken, Place::High, Place::Public, Place::Low, Place::Delayed];
        assert_eq!(places(&names), expected);
    }
}
