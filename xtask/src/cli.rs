//! The command line: which verbs there are and what they take.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    alone, bench, ci, deny, docs, engines, faults, image, layers, lua, mixed, registrations, setup, smtp,
    test, tidy,
};

/// The workspace's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check each crate by itself, without features, with each one and with all
    Alone,
    /// Measure; needs a quiet machine
    Bench(bench::Args),
    /// Everything that must hold: formatting, lints, layers, crates alone, licences, docs, tests, demo
    Ci,
    /// Registrations become accounts, with three consumers, one of them killed half way; nothing is lost
    Demo(registrations::DemoArgs),
    /// Check licences, bans, sources and, where the database can be had, advisories with cargo-deny
    Deny,
    /// Check rustdoc, README, docs/ and the generated configuration table
    Docs(docs::Args),
    /// Run every test on each server that we say we run on, and show where they differ
    Engines(engines::Args),
    /// Run the tests behind each fault in docs/guarantees.md, and show what was lost, what came twice, how long it took
    Faults(faults::Args),
    /// Build the container image of our programs
    Image(image::Args),
    /// Check that dependencies between our crates go strictly down
    Layers,
    /// Check the Lua scripts: header, home, forbidden commands
    Lua,
    /// Let the present version and an older one work on one queue, with kills; the books must balance
    Mixed(mixed::Args),
    /// Send registrations of every kind to the FreeIPA consumer, break everything, and check the books
    Registrations(registrations::Args),
    /// Get what the other verbs need: a Valkey, and with `--ci` the tools
    Setup(setup::Args),
    /// Send real mail through three mail servers with one limit, break things, and check the books
    Smtp(smtp::Args),
    /// Run every test: unit, integration against real Valkeys, documentation
    Test(test::Args),
    /// Check file lengths, left-over markers and machine paths
    Tidy,
}

/// Runs the verb on the command line and reports how it ended.
#[must_use]
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Alone => alone::run()?,
        Verb::Bench(args) => bench::run(&args)?,
        Verb::Ci => ci::run()?,
        Verb::Demo(args) => return registrations::demo(&args),
        Verb::Deny => deny::run()?,
        Verb::Docs(args) => docs::run(&args)?,
        Verb::Engines(args) => engines::run(&args)?,
        Verb::Faults(args) => return faults::run(&args),
        Verb::Image(args) => image::run(&args)?,
        Verb::Layers => layers::run()?,
        Verb::Lua => lua::run()?,
        Verb::Mixed(args) => mixed::run(&args)?,
        Verb::Registrations(args) => return registrations::run(&args),
        Verb::Setup(args) => setup::run(&args)?,
        Verb::Smtp(args) => return smtp::run(&args),
        Verb::Test(args) => test::run(&args)?,
        Verb::Tidy => tidy::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of the verbs, for checking the commands that documents show.
pub(crate) fn verbs() -> Vec<String> {
    Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
