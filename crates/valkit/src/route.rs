//! `valkit route test`

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use serde_json::value::RawValue;
use valkey_envelope::{Envelope, QueueName};
use valkey_sender::Routes;

use crate::{context::Context, exit::Exit, failure::Failure, input::Input, send::header};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Say to which queue a message would go, and why
    Test(Test),
}

const EXAMPLES: &str = "\
Nothing is sent and no server is asked. Exit code 4: no rule fits and there is no default.

Examples:
  echo '{\"country\":\"de\"}' | valkit route test routes.toml --kind registration
  valkit route test routes.toml --envelope --file message.json";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Test {
    /// The routes, in TOML
    routes: PathBuf,
    /// The payload, or with --envelope the whole message; `-` or nothing is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What is read is a whole envelope
    #[arg(long, conflicts_with_all = ["kind", "header"])]
    envelope: bool,
    /// The kind of the message
    #[arg(long)]
    kind: Option<String>,
    /// A header of the message
    #[arg(long, value_name = "K=V", value_parser = header)]
    header: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Answer {
    queue: Option<QueueName>,
    rule: Option<String>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    rule: String,
    queue: QueueName,
    fits: bool,
    failed: Option<String>,
}

pub(crate) fn run(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    let Verb::Test(asked) = verb;
    let name = asked.routes.display();
    let text = std::fs::read_to_string(&asked.routes)
        .map_err(|error| Failure::io(format!("reading {name}"), error))?;
    let routes = Routes::from_toml(&text).map_err(|error| {
        Failure::usage(
            format!("{name}: {error}"),
            "a route has a queue and conditions on kind, headers and payload",
        )
    })?;
    let explanation = routes.explain(&message(&asked)?);
    let steps = explanation.steps().iter().map(|step| Step {
        rule: step.rule().to_owned(),
        queue: step.queue().clone(),
        fits: step.fits(),
        failed: step.failed().map(str::to_owned),
    });
    let answer = Answer {
        queue: explanation.queue().cloned(),
        rule: explanation.rule().map(str::to_owned),
        steps: steps.collect(),
    };
    context.output.object(&answer, || explanation.to_string())?;
    Ok(if answer.queue.is_some() { Exit::Ok } else { Exit::NotFound })
}

fn message(test: &Test) -> Result<Envelope, Failure> {
    let input = Input::new(test.file.clone());
    let bytes = input.read()?;
    if test.envelope {
        return Envelope::decode(&bytes).map_err(|error| {
            Failure::usage(format!("{}: {error}", input.name()), "without --envelope it is read as a payload")
        });
    }
    let payload: Box<RawValue> = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::usage(format!("{} is no JSON: {error}", input.name()), "routes look into JSON payloads")
    })?;
    let mut envelope = Envelope::from_json(payload);
    if let Some(kind) = &test.kind {
        envelope = envelope.with_kind(kind);
    }
    for (name, value) in &test.header {
        envelope = envelope.with_header(name, value);
    }
    Ok(envelope)
}
