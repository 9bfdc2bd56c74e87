//! A consumer process of the demo: works on registrations and reports every one on stdout.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use valkey_connection::Connection;
use valkey_envelope::QueueName;
use valkey_receiver::{Message, Outcome, Receiver, ReceiverSettings};

use super::{LEASE, fate_of, load::Fate};
use crate::{context::Context, exit::Exit, failure::Failure, stop::Stop};

/// Creating an account takes a while.
const WORK: Duration = Duration::from_millis(60);

#[derive(clap::Args)]
pub(crate) struct ConsumerArguments {
    queue: QueueName,
}

/// What a consumer did with a message, told before the queue is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) id: String,
    pub(super) acked: bool,
    pub(super) crashes: u32,
}

/// Works until stdin ends, which it does also when the parent dies.
pub(crate) async fn run(arguments: ConsumerArguments, context: &Context) -> Result<Exit, Failure> {
    let stop = Stop::listen()?;
    let connection = Connection::connect(&context.settings()?.connection).await?;
    let settings = ReceiverSettings::default()
        .lease(LEASE)
        .max_concurrent_messages(NonZeroUsize::new(10).unwrap_or(NonZeroUsize::MIN))
        .retry_delay(Duration::from_millis(200))
        .max_retry_delay(Duration::from_secs(2));
    let receiver = Receiver::builder(&connection).queue(arguments.queue).settings(settings).start().await?;
    let end = async move {
        let mut nothing = [0; 16];
        let mut stdin = tokio::io::stdin();
        tokio::select! {
            () = stop.drain.cancelled() => {}
            () = async { while stdin.read(&mut nothing).await.is_ok_and(|read| read > 0) {} } => {}
        }
    };
    let report = receiver.serve(handle).with_graceful_shutdown(end).await?;
    Ok(if report.is_clean() { Exit::Ok } else { Exit::Partial })
}

async fn handle(message: Message) -> Outcome {
    tokio::time::sleep(WORK).await;
    let outcome = match fate_of(message.envelope()) {
        Some(Fate::Smooth | Fate::Expired) => Outcome::ack(),
        Some(Fate::Flaky) if message.attempt() > 2 => Outcome::ack(),
        Some(Fate::Flaky) => Outcome::nack("the directory is busy"),
        Some(Fate::Poison) => Outcome::nack("the directory refuses this name"),
        None => Outcome::dead_letter("no registration"),
    };
    let id = message.envelope().id().to_string();
    let report = Report { id, acked: outcome == Outcome::ack(), crashes: message.crashes() };
    // In the books first, acked second: who dies in between leaves a duplicate, never a hole.
    match write(&report) {
        Ok(()) => outcome,
        Err(error) => Outcome::nack(error),
    }
}

fn write(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    // One write of less than PIPE_BUF bytes is never torn, also not by SIGKILL.
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
