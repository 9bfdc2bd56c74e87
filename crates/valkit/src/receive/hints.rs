//! Why nothing comes: what a receiver that waits, or has waited in vain, wants to know of its queues.
//!
//! A user who may only receive may not be allowed to ask: then nothing is said.

use std::time::Duration;

use valkey_admin::{Admin, Lease, QueueStats};
use valkey_envelope::QueueName;

use crate::{
    context::Context,
    text::{counted, duration, instant},
};

/// Says which of the queues are paused.
pub(super) async fn paused(admin: &Admin, queues: &[QueueName], context: &Context) {
    for stats in stats(admin, queues, context).await {
        if stats.paused {
            let queue = &stats.queue;
            context.hint(&format!(
                "queue {queue} is paused, nothing is taken until: valkit queue resume {queue}"
            ));
        }
    }
}

/// Says what others hold, which may come back.
pub(super) async fn held_by_others(admin: &Admin, queues: &[QueueName], context: &Context) {
    for stats in stats(admin, queues, context).await {
        if let Some(told) = in_flight(&stats) {
            context.hint(&told);
        }
    }
}

async fn stats(admin: &Admin, queues: &[QueueName], context: &Context) -> Vec<QueueStats> {
    if context.is_quiet() {
        return Vec::new();
    }
    admin.stats_all(queues).await.into_iter().filter_map(Result::ok).collect()
}

fn in_flight(stats: &QueueStats) -> Option<String> {
    let holding = stats.consumers.iter().filter(|consumer| consumer.in_flight > 0);
    let (mut consumers, mut last) = (0_u64, None::<Duration>);
    for consumer in holding {
        consumers += 1;
        if let Lease::Live { left } = consumer.lease {
            last = last.max(Some(left));
        }
    }
    if consumers == 0 {
        return None;
    }
    let until = match last {
        Some(left) => {
            let end = stats.at_ms.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            format!("the last lease runs until {} (in {}) unless it is renewed", instant(end), duration(left))
        }
        None => "their leases are over: whoever receives next takes them over".to_owned(),
    };
    let messages = counted(stats.in_flight, "message");
    Some(format!(
        "{messages} of queue {} in flight with {}; {until}",
        stats.queue,
        counted(consumers, "consumer")
    ))
}
