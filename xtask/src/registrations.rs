//! Registrations of every kind through a queue to accounts, each once, while everything breaks that can; then the books.
//!
//! ```text
//!  generate ─► Valkey ─► freeipa-consumer × n ─► freeipa-double: FreeIPA, Telegram
//!     │          ▲             ▲                     ▲       │
//!     │          └───────── scenes: kills, outages ──┘       │ history, messages, stats
//!     └── what must come of each ───────► audit ◄────────────┘
//! ```

mod audit;
mod case;
mod closing;
mod consumers;
mod demo;
mod display;
mod double;
mod generate;
mod kind;
mod letters;
mod needles;
mod person;
mod random;
mod resp;
mod scenes;
mod site;
mod text;
mod valkey;
mod workplace;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use self::audit::Audit;
use self::closing::{close, passwords};
use self::consumers::Consumers;
use self::double::Double;
use self::random::Random;
use self::scenes::{Pace, SCENES};
use self::valkey::Valkey;
use self::workplace::{Programs, Workplace};
use self::world::World;
use crate::books::{Books, Output};
use crate::{interrupt, run};

pub(crate) use self::demo::{Args as DemoArgs, run as demo};

/// How many registrations there are unless one says so.
const FULL: usize = 1000;
const QUICK: usize = 100;

/// How many consumers there are.
const CONSUMERS: usize = 2;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The form for CI: a hundred registrations, and shorter outages
    #[arg(long)]
    quick: bool,
    /// How many registrations; 1000, or 100 with --quick, unless set
    #[arg(long, value_parser = clap::value_parser!(u64).range(60..=20_000))]
    count: Option<u64>,
    /// The seed of everything random; one of its own unless set
    #[arg(long)]
    seed: Option<u64>,
    /// Leave logs, settings and Valkey's files for a look
    #[arg(long)]
    keep: bool,
    /// Agree to installing Valkey with apt, where there is no Docker
    #[arg(long)]
    yes: bool,
    /// How the books are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Args {
    /// What the CI run does.
    pub(crate) fn for_ci() -> Self {
        Self { quick: true, count: None, seed: None, keep: false, yes: true, output: Output::Table }
    }
}

/// Plays everything and prints the books; a failure if they do not balance.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    interrupt::watch()?;
    let seed = args.seed.unwrap_or_else(a_seed);
    let count = args.count.map_or(if args.quick { QUICK } else { FULL }, |count| count as usize);
    let pace = if args.quick { Pace::QUICK } else { Pace::FULL };
    let workplace = Workplace::new()?;
    let programs = Programs::build(&workplace.dir)?;
    run::step(format_args!("{count} registrations, seed {seed}: `--seed {seed}` makes the same"));
    let started = Instant::now();
    let mut books = Books::default();
    let played = play(&workplace, &programs, (count, seed, pace, args.yes), &mut books);
    let audit = match played {
        Ok(audit) => audit,
        Err(error) => {
            workplace.keep(&error.to_string());
            return Err(error);
        }
    };
    books.figure("seconds", started.elapsed().as_secs_f64(), "s");
    show(&audit, &books, seed, args.output)?;
    Ok(end(&workplace, balances(&audit, &books), args.keep))
}

fn balances(audit: &Audit, books: &Books) -> bool {
    books.balance() && audit.problems.is_empty() && audit.unexplained.is_empty()
}

/// Prints the books, and on stderr what is wrong.
fn show(audit: &Audit, books: &Books, seed: u64, output: Output) -> Result<()> {
    match output {
        Output::Table => print!("\n{}\n{}", audit.table(), books.table()),
        Output::Json => {
            let balances = balances(audit, books);
            let all = json!({"seed": seed, "balances": balances, "registrations": audit, "books": books});
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
    }
    for problem in audit.problems.iter().chain(&audit.unexplained).take(30) {
        eprintln!("  {problem}");
    }
    Ok(())
}

/// Leaves the files for a look, or nothing.
fn end(workplace: &Workplace, balances: bool, keep: bool) -> ExitCode {
    match (balances, keep) {
        (false, _) => workplace.keep("the books do not balance"),
        (true, true) => workplace.keep("as wished"),
        (true, false) => workplace.remove(),
    }
    if balances { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// From the start of everything to what was found of it.
fn play(
    workplace: &Workplace,
    programs: &Programs,
    (count, seed, pace, yes): (usize, u64, Pace, bool),
    books: &mut Books,
) -> Result<Audit> {
    let mut world = begin(workplace, programs, (count, seed, yes), CONSUMERS)?;
    checked(&world, books)?;
    for (name, share, scene) in SCENES {
        world.display.step(format_args!("{name}"));
        scene(&mut world, books, pace, (count * share).div_ceil(100))?;
    }
    world.display.step("nothing goes wrong any more");
    world.set_killing(false)?;
    world.send(world.pending())?;
    let settled = world.settle(pace.settle)?;
    books.equal("in the end", "everything is settled", &true, &settled);
    world.display.step("who has an account comes again, and what was done is delivered again");
    let before = passwords(&world)?;
    scenes::once_more(&mut world, pace)?;
    let settled = world.settle(pace.settle)?;
    books.equal("once more", "everything is settled", &true, &settled);
    books.equal("once more", "new passwords for those who have one", &0, &(passwords(&world)? - before));
    close(world, programs, books)
}

/// Starts everything, with nobody in the queue yet.
fn begin(
    workplace: &Workplace,
    programs: &Programs,
    (count, seed, yes): (usize, u64, bool),
    consumers: usize,
) -> Result<World> {
    let mut random = Random::new(seed);
    let cases = generate::cases(count, random.number());
    let valkey = Valkey::start(&workplace.dir, yes)?;
    run::step("starting FreeIPA's and Telegram's doubles, and the consumers");
    let secrets = [format!("Service-{}", random.uuid()), format!("110201543:{}", random.uuid())];
    let double = Double::start(&programs.double, &workplace.dir, &[&secrets[0], &secrets[1]])?;
    let consumers = Consumers::start(&programs.consumer, &workplace.dir, consumers, &valkey, &double)?;
    let mut world = World::new((valkey, double, consumers), cases, random);
    world.populate()?;
    Ok(world)
}

/// What the program says of what it depends on. Two of the groups that may be asked for are wrong on purpose: whoever set this
/// up should hear of it.
fn checked(world: &World, books: &mut Books) -> Result<()> {
    let output = world.consumers.check()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let groups = [site::SEALED_GROUP, site::MISSING_GROUP];
    for group in groups {
        books.equal("before", &format!("--check names {group}"), &true, &said.contains(group));
    }
    let others =
        said.lines().filter(|line| line.starts_with("BAD") && !groups.iter().any(|of| line.contains(of)));
    books.equal("before", "other faults that --check names", &0, &others.count());
    books.equal("before", "its exit code", &1, &output.status.code().unwrap_or(-1));
    if !books.balance() {
        eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// One of its own for each run.
fn a_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 ^ u64::from(std::process::id())
}
