//! `valkit queue pause Q`, `valkit queue resume Q`

use serde::Serialize;
use valkey_envelope::QueueName;

use crate::{context::Context, exit::Exit, failure::Failure};

#[derive(Serialize)]
struct State {
    queue: QueueName,
    paused: bool,
    changed: bool,
}

pub(crate) async fn pause(queue: QueueName, context: &Context) -> Result<Exit, Failure> {
    let changed = context.admin().await?.pause(&queue).await?;
    let told = if changed { "is paused" } else { "was paused already" };
    tell(&State { queue, paused: true, changed }, told, context)
}

pub(crate) async fn resume(queue: QueueName, context: &Context) -> Result<Exit, Failure> {
    let changed = context.admin().await?.resume(&queue).await?;
    let told = if changed { "goes on" } else { "was not paused" };
    tell(&State { queue, paused: false, changed }, told, context)
}

fn tell(state: &State, told: &str, context: &Context) -> Result<Exit, Failure> {
    context.output.object(&state, || format!("queue {} {told}\n", state.queue))?;
    Ok(Exit::Ok)
}
