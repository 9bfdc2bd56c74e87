//! The demo: registrations of all kinds, three consumers, one of which will not survive, and books that must balance.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::closing::close;
use super::workplace::{Programs, Workplace};
use super::world::World;
use super::{balances, begin, end, show};
use crate::books::Books;
use crate::books::Output;
use crate::{interrupt, run};

/// How many consumers there are: after the kill there are still two.
const CONSUMERS: usize = 3;

/// After this long, and a tenth of a second a registration, something is wrong.
const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many registrations
    #[arg(long, visible_alias = "messages", default_value_t = 600, value_parser = clap::value_parser!(u64).range(60..=20_000))]
    count: u64,
    /// Leave Valkey and the doubles up for a look, until Enter is pressed, and the logs
    #[arg(long)]
    keep: bool,
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
    /// How the books are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Args {
    /// What the CI run does.
    pub(crate) fn for_ci() -> Self {
        Self { count: 600, keep: false, yes: true, output: Output::Table }
    }
}

/// Plays it and prints the books; a failure if they do not balance.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    interrupt::watch()?;
    let workplace = Workplace::new()?;
    let programs = Programs::build(&workplace.dir)?;
    let (count, seed) = (args.count as usize, super::a_seed());
    run::step(format_args!("{count} registrations for {CONSUMERS} consumers, one of which will not survive"));
    let started = Instant::now();
    let mut books = Books::default();
    let played = begin(&workplace, &programs, (count, seed, args.yes), CONSUMERS).and_then(|mut world| {
        play(&mut world, &mut books)?;
        if args.keep {
            look_around(&world);
        }
        close(world, &programs, &mut books)
    });
    let audit = match played {
        Ok(audit) => audit,
        Err(error) => {
            workplace.keep(&error.to_string());
            return Err(error);
        }
    };
    books.equal("in the end", "registrations lost", &0, &audit.total(|row| row.lost));
    books.figure("seconds", started.elapsed().as_secs_f64(), "s");
    show(&audit, &books, seed, args.output)?;
    Ok(end(&workplace, balances(&audit, &books), args.keep))
}

fn play(world: &mut World, books: &mut Books) -> Result<()> {
    const SCENE: &str = "the demo";
    let all = world.pending();
    world.send(all)?;
    // In the middle, and with something in its hands.
    let half = all as u64 / 2;
    let mut held = 0;
    let struck = world.until(DEADLINE, |world| {
        let backlog = world.backlog()?;
        held = backlog.in_flight;
        Ok(held > 0 && backlog.open() <= half)
    })?;
    books.equal(SCENE, "half of them are done in time", &true, &struck);
    world
        .display
        .step(format_args!("SIGKILL for consumer 1; {held} registrations are in flight, over all consumers"));
    books.figure("registrations in flight at the kill", held as f64, "");
    world.consumers.kill(0)?;
    let limit = DEADLINE + Duration::from_millis(100) * all as u32;
    let settled = world.settle(limit)?;
    books.equal(SCENE, "everything is settled", &true, &settled);
    // It ends in order with the others.
    world.consumers.start_all()
}

/// Everything is still there, until Enter or Ctrl-C. Without a terminal there is nobody to wait for: the input ends at once.
fn look_around(world: &World) {
    let url = world.valkey.url();
    run::step(format_args!("the dead letters: valkit --url {url} dead ls user-registrations"));
    run::step(format_args!("the directory: curl {}", world.double.page("/freeipa/directory")));
    run::step(format_args!("what applicants read: curl {}", world.double.page("/telegram/messages")));
    run::step("all of it stays up until Enter or Ctrl-C");
    let reader = std::thread::spawn(|| drop(std::io::stdin().read_line(&mut String::new())));
    while !reader.is_finished() && !interrupt::interrupted() {
        std::thread::sleep(Duration::from_millis(50));
    }
}
