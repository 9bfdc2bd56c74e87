//! `valkit`: the operator's command line for queues on Valkey.
//!
//! ```text
//!  args --cli--> verb (one file each) --Context--> Connection, Admin, Sender, Receiver
//!                  |                                    |
//!                  v                                    v
//!        Output: data on stdout               Failure --exit--> 0..7, words on stderr
//! ```

mod bench;
mod cli;
mod completions;
mod confirm;
mod context;
mod dead;
mod demo;
mod doctor;
mod exit;
mod failure;
mod input;
mod limit;
mod output;
mod queue;
mod receive;
mod route;
mod send;
mod stop;
mod table;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::{cli::Cli, context::Context, exit::Exit, failure::Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; they go to stdout and are no failure.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    let context = Context::new(&cli.global);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("starting the runtime", error))
        .map(|runtime| {
            let exit = runtime.block_on(run(cli.verb, &context));
            // A read of a file that never comes to an end must not outlive the verb.
            runtime.shutdown_background();
            exit
        });
    let exit = result.unwrap_or_else(|failure| {
        context.say_failure(&failure);
        failure.exit()
    });
    exit.into()
}

async fn run(verb: cli::Verb, context: &Context) -> Exit {
    match cli::run(verb, context).await {
        Ok(exit) => exit,
        Err(failure) => {
            context.say_failure(&failure);
            if failure.connection_error().is_some_and(valkey_connection::Error::is_fixed_replica)
                && let Some(primary) = context.primary().await
            {
                context.hint(&format!("its primary is {primary}, as the replica has it"));
            }
            failure.exit()
        }
    }
}
