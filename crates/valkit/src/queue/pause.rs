//! `valkit queue pause Q`, `valkit queue resume Q`

use serde::Serialize;
use valkey_admin::Admin;
use valkey_envelope::QueueName;

use crate::{context::Context, exit::Exit, failure::Failure};

#[derive(Serialize)]
struct State {
    queue: QueueName,
    paused: bool,
    changed: bool,
}

pub(crate) async fn pause(queue: QueueName, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    note_unless_there(&admin, &queue, context).await;
    let changed = admin.pause(&queue).await?;
    let told = if changed { "is paused" } else { "was paused already" };
    tell(&State { queue, paused: true, changed }, told, context)
}

pub(crate) async fn resume(queue: QueueName, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    let changed = admin.resume(&queue).await?;
    if !changed {
        Failure::unless_there(&admin, &queue).await?;
    }
    let told = if changed { "goes on" } else { "was not paused" };
    tell(&State { queue, paused: false, changed }, told, context)
}

/// A queue may be set up before its first message; so may one with a wrong name.
pub(super) async fn note_unless_there(admin: &Admin, queue: &QueueName, context: &Context) {
    if Failure::unless_there(admin, queue).await.is_err() {
        context
            .hint(&format!("queue {queue} has had no messages yet; `valkit queue ls` lists those there are"));
    }
}

fn tell(state: &State, told: &str, context: &Context) -> Result<Exit, Failure> {
    context.output.object(&state, || format!("queue {} {told}\n", state.queue))?;
    Ok(Exit::Ok)
}
