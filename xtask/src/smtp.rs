//! Real mail through three real mail servers with one limit; then the books.
//!
//! Runs in containers where Docker is, else as processes of this machine.

mod compose;
mod fleet;
mod found;
mod load;
mod local;
mod mail;
mod metrics;
mod scenes;
mod settings;
mod traffic;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use self::fleet::Fleet;
use crate::books::{Books, Output};
use crate::{interrupt, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The form for CI: every scene, with a short load, on programs built without optimisation
    #[arg(long)]
    quick: bool,
    /// Run processes of this machine although Docker is there; needs root
    #[arg(long)]
    local: bool,
    /// Agree to installing Postfix, its balancer and Valkey with apt, where there is no Docker
    #[arg(long)]
    yes: bool,
    /// Only these scenes, by how their names begin
    #[arg(long, value_name = "NAME")]
    scene: Vec<String>,
    /// How the books are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Args {
    /// What the CI run does.
    pub(crate) fn for_ci() -> Self {
        Self { quick: true, local: false, yes: true, scene: Vec::new(), output: Output::Table }
    }
}

type Scene = fn(&mut dyn Fleet, &mut Books) -> Result<()>;

const SCENES: &[(&str, Scene)] = &[
    ("even", scenes::even),
    ("limit", scenes::limit),
    ("sender", scenes::policy),
    ("held", scenes::held),
    ("killed", scenes::killed),
    ("away", scenes::away),
];

/// Runs all scenes and prints the books; a failure if they do not balance.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    interrupt::watch()?;
    let mut fleet = begin(args)?;
    let mut books = Books::default();
    let wanted =
        |name: &str| args.scene.is_empty() || args.scene.iter().any(|scene| name.starts_with(scene.as_str()));
    let mut played = || -> Result<()> {
        fleet::up(fleet.as_ref())?;
        for (_, scene) in SCENES.iter().filter(|(name, _)| wanted(name)) {
            scene(fleet.as_mut(), &mut books)?;
        }
        if wanted("load") {
            load::run(fleet.as_mut(), &mut books, args.quick)?;
        }
        Ok(())
    };
    let outcome = played();
    if outcome.is_err() || !books.balance() {
        eprintln!("{}", fleet.logs());
    }
    let place = fleet.name();
    drop(fleet);
    match args.output {
        Output::Table => print!("\n{}", books.table()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&books)?),
    }
    outcome?;
    run::step(format_args!("in {place}, {:.0} s", started.elapsed().as_secs_f64()));
    Ok(if books.balance() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn begin(args: &Args) -> Result<Box<dyn Fleet>> {
    if !args.local {
        match compose::possible() {
            Ok(()) => return Ok(Box::new(compose::Compose::up(!args.quick)?)),
            Err(error) => {
                run::step(format_args!("no containers ({error:#}): the same with processes of this machine"));
            }
        }
    }
    Ok(Box::new(local::Local::up(!args.quick, args.yes)?))
}
