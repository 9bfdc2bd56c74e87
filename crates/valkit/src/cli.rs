//! The command line: verbs, their arguments, and who carries them out.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    bench, completions, context::Context, dead, demo, doctor, exit::Exit, failure::Failure, limit,
    output::Format, queue, receive, route, send,
};

const EXAMPLES: &str = "\
Examples:
  echo '{\"login\":\"ada\"}' | valkit send user-registrations
  valkit receive user-registrations --exec './register.sh'
  valkit queue ls
  valkit queue show user-registrations -o json
  valkit dead ls user-registrations --reason max_attempts
  valkit dead replay user-registrations --all
  valkit limit top --rules rules.toml
  valkit doctor

Exit codes:
  0 done                 3 partly done, or nobody knows    6 denied to this user, or by a limit
  1 failed               4 not there                       7 refused as unsafe, nothing done
  2 usage or settings    5 server not reachable

Data goes to stdout, words to stderr. NO_COLOR is respected.

Settings come from --config FILE, then the environment (VALKEY_URL, VALKEY_USERNAME, VALKEY_PASSWORD, \
VALKEY_PASSWORD_FILE, VALKEY_MODE, VALKEY_TLS_CA_FILE, ...), then --url. A password in --url can be seen by \
every user of the machine: put it into VALKEY_PASSWORD_FILE or VALKEY_URL.";

/// Message queues and rate limits on Valkey: send, receive, look, repair
#[derive(Parser)]
#[command(name = "valkit", version, after_help = EXAMPLES, max_term_width = 110, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What holds for every verb.
#[derive(Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Global {
    /// The server: `valkey://host:port`, `valkeys://`, `unix://`; several, separated by commas, for a cluster [default: `VALKEY_URL`, else `valkey://127.0.0.1:6379`]
    // Not parsed here: the parser's errors would repeat the value, and with it the password.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The form of the data on stdout [default: table]
    #[arg(long, short = 'o', global = true, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Settings from a TOML file with the tables `connection`, `sender` and `receiver`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read the environment of another program, such as `VALKEY_SENDER_`
    #[arg(long, global = true, value_name = "PREFIX", default_value = "VALKEY_", hide_default_value = true)]
    pub(crate) env_prefix: String,
    /// No hints and no words on how it went
    #[arg(long, short = 'q', global = true)]
    pub(crate) quiet: bool,
    /// Log more to stderr; repeat for still more
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Send messages from a file or stdin
    Send(send::Arguments),
    /// Receive messages: print them, or run a program on each
    Receive(receive::Arguments),
    /// Look at queues and operate them
    #[command(subcommand)]
    Queue(queue::Verb),
    /// Look at dead letters, replay or purge them
    #[command(subcommand)]
    Dead(dead::Verb),
    /// Ask rate limits, look at them, reset them
    #[command(subcommand)]
    Limit(limit::Verb),
    /// Try routes out
    #[command(subcommand)]
    Route(route::Verb),
    /// Find what is wrong, why it matters, and what to do
    Doctor(doctor::Arguments),
    /// Watch 3000 messages survive the death of a consumer
    Demo(demo::Arguments),
    /// Measure how fast the queue is on this server
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Write completions for a shell
    Completions(completions::Arguments),
    #[command(hide = true)]
    DemoConsumer(demo::ConsumerArguments),
}

/// Carries out a verb.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Send(arguments) => send::run(arguments, context).await,
        Verb::Receive(arguments) => receive::run(arguments, context).await,
        Verb::Queue(verb) => queue::run(verb, context).await,
        Verb::Dead(verb) => dead::run(verb, context).await,
        Verb::Limit(verb) => limit::run(verb, context).await,
        Verb::Route(verb) => route::run(verb, context),
        Verb::Doctor(arguments) => doctor::run(arguments, context).await,
        Verb::Demo(arguments) => demo::run(arguments, context).await,
        Verb::Bench(verb) => bench::run(verb, context).await,
        Verb::Completions(arguments) => completions::run(&arguments, context),
        Verb::DemoConsumer(arguments) => demo::consume(arguments, context).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
