//! Messages onto one queue, as few round trips as possible, an outcome each.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use valkey_connection::{
    Acknowledged, Call, Command, Connection, DurabilityRefusal, Error, Reply, ScriptCall,
};
use valkey_envelope::{QueueKeys, QueueName};

use crate::combiner::{self, Push};
use crate::durability::Durability;
use crate::item::Item;
use crate::links::{Links, Withheld};
use crate::outcome::{Accepted, Outcome};
use crate::scripts::{self, Generation, PushRules, Pushed};
use crate::telemetry;
use crate::watch::{ControlWatch, ServerClock};

/// How often a call may be answered with "other generation" in a row. Once is normal at the edge of a window and
/// with a skewed clock; more often means that the server's clock jumps about.
const STALE_ANSWERS: usize = 8;

/// How messages of a sender are to be pushed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PushOptions {
    /// Remember ids for this long.
    pub(crate) dedup: Option<Duration>,
    /// Ask for room with every push, not only when the control hash was seen to set a limit.
    pub(crate) bounded: bool,
    /// The sender's own limit of waiting messages.
    pub(crate) max_length: Option<u64>,
}

/// The way to one queue, and what is known about it; shared by the lines of all durabilities.
pub(crate) struct Way {
    connection: Connection,
    queue: QueueName,
    keys: QueueKeys,
    options: PushOptions,
    control: ControlWatch,
    clock: ServerClock,
    links: Arc<Links>,
}

/// The way to one queue at one durability.
pub(crate) struct Pusher {
    way: Arc<Way>,
    durability: Durability,
}

impl Way {
    pub(crate) fn new(
        connection: Connection,
        queue: QueueName,
        options: PushOptions,
        links: Arc<Links>,
    ) -> Self {
        let (keys, control, clock) = (queue.keys(), ControlWatch::new(), ServerClock::default());
        Self { connection, queue, keys, options, control, clock, links }
    }

    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Whether the server can promise a durability.
    pub(crate) async fn check(&self, durability: Durability) -> Result<(), Withheld> {
        match durability {
            Durability::Fast => Ok(()),
            durability => self.links.check(&self.keys, durability).await,
        }
    }
}

impl Pusher {
    pub(crate) fn new(way: Arc<Way>, durability: Durability) -> Self {
        Self { way, durability }
    }

    pub(crate) fn queue(&self) -> &QueueName {
        &self.way.queue
    }

    /// Runs commands in one round trip.
    async fn execute(&self, commands: Vec<Command>) -> Result<Vec<Acknowledged>, Withheld> {
        if self.durability != Durability::Fast {
            return self.safely(commands.into_iter().map(Call::from).collect()).await;
        }
        let connection = &self.way.connection;
        Ok(match <[Command; 1]>::try_from(commands) {
            Ok([command]) => vec![unasked(connection.execute(command).await)],
            Err(commands) => connection.execute_all(commands).await.into_iter().map(unasked).collect(),
        })
    }

    /// Calls scripts in one round trip.
    async fn invoke(&self, calls: Vec<ScriptCall>) -> Result<Vec<Acknowledged>, Withheld> {
        if self.durability != Durability::Fast {
            return self.safely(calls.into_iter().map(Call::from).collect()).await;
        }
        let connection = &self.way.connection;
        Ok(match <[ScriptCall; 1]>::try_from(calls) {
            Ok([call]) => vec![unasked(connection.invoke(call).await)],
            Err(calls) => connection.invoke_all(calls).await.into_iter().map(unasked).collect(),
        })
    }

    /// The same over a connection that waits until they are as safe as was asked for.
    async fn safely(&self, calls: Vec<Call>) -> Result<Vec<Acknowledged>, Withheld> {
        self.way.links.run(&self.way.keys, self.durability, calls).await
    }

    async fn run(&self, items: &[Item]) -> Vec<Outcome> {
        let all_by_script = self.way.options.dedup.is_some()
            || self.way.options.bounded
            || self.way.options.max_length.is_some()
            || self.way.control.is_limited();
        if all_by_script {
            return self.by_script(items).await;
        }
        if items.iter().all(Item::is_plain) {
            return self.plainly(items).await;
        }
        // Order matters within a lane only, and all that is plain is of one lane: two groups keep it.
        let (plain, scripted): (Vec<Item>, Vec<Item>) = items.iter().cloned().partition(Item::is_plain);
        let (plain, scripted) = futures::join!(self.plainly(&plain), self.by_script(&scripted));
        let (mut plain, mut scripted) = (plain.into_iter(), scripted.into_iter());
        items
            .iter()
            .map(|item| {
                if item.is_plain() { plain.next() } else { scripted.next() }.unwrap_or(Outcome::Garbled)
            })
            .collect()
    }

    /// One `LPUSH` for many, and every few seconds a look at the control hash in the same round trip.
    async fn plainly(&self, items: &[Item]) -> Vec<Outcome> {
        if items.is_empty() {
            return Vec::new();
        }
        let chunks = chunks(items, combiner::MAX_ITEMS);
        let mut commands: Vec<Command> = chunks
            .iter()
            .map(|chunk| {
                Command::new("LPUSH")
                    .key(self.way.keys.public())
                    .args(items[chunk.clone()].iter().map(|item| &item.raw))
            })
            .collect();
        let refreshes = self.way.control.claim_refresh();
        if refreshes {
            commands.push(Command::new("HGET").key(self.way.keys.control()).arg("max_length"));
            // Some producers set an expiry on the whole list with each of their pushes; undo it with ours.
            commands.push(Command::new("PERSIST").key(self.way.keys.public()));
        }
        let mut answers = match self.execute(commands).await {
            Ok(answers) => answers.into_iter(),
            Err(withheld) => return vec![Outcome::withheld(withheld); items.len()],
        };
        let mut outcomes = Vec::with_capacity(items.len());
        for chunk in chunks {
            let outcome = match answers.next() {
                Some(Acknowledged { reply: Ok(_), confirmed }) => {
                    Outcome::Accepted(Accepted::Pushed).once(&confirmed)
                }
                Some(Acknowledged { reply: Err(error), .. }) => Outcome::failed(error),
                None => Outcome::Garbled,
            };
            outcomes.extend(chunk.map(|_| outcome.clone()));
        }
        if let (true, Some(answer)) = (refreshes, answers.next()) {
            self.note_control(answer.reply);
        }
        outcomes
    }

    fn note_control(&self, reply: Result<Reply, Error>) {
        match reply {
            Ok(reply) => self.way.control.set_limited(!reply.is_nil()),
            // Nobody looked: look again with the next push.
            Err(error) if error.is_store_failure() => self.way.control.expire(),
            // A producer whose user may not read the control hash still sends; it only cannot see the limit.
            Err(error) => {
                tracing::debug!(queue = %self.way.queue, %error, "the max length of the queue is unknown");
            }
        }
    }

    async fn by_script(&self, items: &[Item]) -> Vec<Outcome> {
        if items.is_empty() {
            return Vec::new();
        }
        let chunks = chunks(items, scripts::MAX_ITEMS);
        let limited = self.way.options.bounded
            || self.way.options.max_length.is_some()
            || self.way.control.is_limited();
        // Under a limit one call after the other, so that what is accepted is a prefix; else all in one go.
        let mut answers = if chunks.len() > 1 && !limited {
            let calls = chunks
                .iter()
                .map(|chunk| scripts::push(&self.way.keys, self.rules(), &items[chunk.clone()]))
                .collect();
            match self.invoke(calls).await {
                Ok(answers) => answers,
                Err(withheld) => return vec![Outcome::withheld(withheld); items.len()],
            }
        } else {
            Vec::new()
        }
        .into_iter();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(items.len());
        let (mut full, mut failed, mut refused): (Option<u64>, Option<Error>, Option<DurabilityRefusal>) =
            (None, None, None);
        for chunk in chunks {
            if let Some(refusal) = &refused {
                outcomes.extend(chunk.map(|_| Outcome::Refused(refusal.clone())));
                continue;
            }
            if let Some(error) = &failed {
                outcomes.extend(chunk.map(|_| Outcome::Failed { error: error.clone(), unknown: false }));
                continue;
            }
            let settled = self.settle(&items[chunk], answers.next(), full).await;
            for outcome in settled.iter().filter(|_| limited) {
                match outcome {
                    Outcome::Full { limit } => full = Some(*limit),
                    Outcome::Failed { error, .. } | Outcome::Unconfirmed(error) => {
                        failed = Some(error.clone());
                    }
                    Outcome::Refused(refusal) => refused = Some(refusal.clone()),
                    _ => {}
                }
            }
            outcomes.extend(settled);
        }
        outcomes
    }

    /// Reads the answer about `items`, and asks (again) where there is none yet or the generation was another.
    ///
    /// `full` is the limit that items before these have met. These may then not be accepted, even if there is room by
    /// now; they are pushed against a limit of 0, which only tells duplicates from the others.
    async fn settle(
        &self,
        items: &[Item],
        mut answer: Option<Acknowledged>,
        full: Option<u64>,
    ) -> Vec<Outcome> {
        for _ in 0..STALE_ANSWERS {
            let Acknowledged { reply, confirmed } = if let Some(answer) = answer.take() {
                answer
            } else {
                let mut rules = self.rules();
                if full.is_some() {
                    rules.max_length = Some(0);
                }
                match self
                    .invoke(vec![scripts::push(&self.way.keys, rules, items)])
                    .await
                    .map(|mut all| all.pop())
                {
                    Ok(Some(answer)) => answer,
                    Ok(None) => return vec![Outcome::Garbled; items.len()],
                    Err(withheld) => return vec![Outcome::withheld(withheld); items.len()],
                }
            };
            match reply.map(|reply| scripts::read(reply, items.len())) {
                Ok(Some(Pushed::Done { now_ms, fates, limit })) => {
                    self.way.clock.sync(now_ms);
                    self.way.control.set_limited(limit.is_some());
                    let limit = full.or(limit);
                    return fates.into_iter().map(|fate| Outcome::of(fate, limit).once(&confirmed)).collect();
                }
                Ok(Some(Pushed::Stale { now_ms })) => self.way.clock.sync(now_ms),
                Ok(None) => return vec![Outcome::Garbled; items.len()],
                Err(error) => return vec![Outcome::failed(error); items.len()],
            }
        }
        vec![Outcome::ClockUnstable; items.len()]
    }

    fn rules(&self) -> PushRules {
        let dedup = self.way.options.dedup.map(|window| Generation::at(self.way.clock.now_ms(), window));
        PushRules { dedup, max_length: self.way.options.max_length }
    }
}

impl Push for Pusher {
    type Item = Item;
    type Outcome = Outcome;

    async fn push(&self, items: Vec<Item>) -> Vec<(Item, Outcome)> {
        let permit = match self.way.connection.breaker().acquire() {
            Ok(permit) => permit,
            Err(open) => {
                let outcome = Outcome::BreakerOpen { retry_after: open.retry_after() };
                return items.into_iter().map(|item| (item, outcome.clone())).collect();
            }
        };
        // Boxed, for it is large, and the futures of all sends would have to hold it.
        let outcomes = Box::pin(self.run(&items)).await;
        if outcomes.iter().any(Outcome::is_store_failure) {
            permit.failure();
        } else {
            permit.success();
        }
        telemetry::pushed(&self.way.queue, &items, &outcomes);
        items.into_iter().zip(outcomes).collect()
    }

    fn weight(item: &Item) -> usize {
        item.raw.len()
    }
}

/// Nobody asked how safe it is.
fn unasked(reply: Result<Reply, Error>) -> Acknowledged {
    Acknowledged { reply, confirmed: Ok(()) }
}

/// Cuts `items` into runs of at most `max_items` and [`combiner::MAX_BYTES`] (or one item, if that is longer).
fn chunks(items: &[Item], max_items: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::with_capacity(items.len() / max_items + 1);
    let (mut start, mut bytes) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        bytes += item.raw.len();
        if index > start && (index - start == max_items || bytes > combiner::MAX_BYTES) {
            chunks.push(start..index);
            (start, bytes) = (index, item.raw.len());
        }
    }
    if start < items.len() {
        chunks.push(start..items.len());
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use valkey_connection::ConnectionSettings;
    use valkey_envelope::{Lane, MessageId};
    use valkey_testkit::{TestServer, unique_name};

    fn items(sizes: &[usize]) -> Vec<Item> {
        sizes
            .iter()
            .map(|size| Item {
                id: MessageId::from("id"),
                lane: Lane::Normal,
                due_ms: 0,
                payload_bytes: *size,
                raw: Bytes::from(vec![0; *size]),
            })
            .collect()
    }

    #[tokio::test]
    async fn a_client_with_a_wrong_clock_learns_the_generation_from_the_server() {
        let server = TestServer::shared().await;
        let settings = ConnectionSettings::from_url(&server.url()).expect("the testkit gives a valid URL");
        let connection = Connection::connect(&settings).await.expect("the server runs");
        let queue: QueueName = unique_name("clock").parse().expect("the testkit gives valid names");
        let window = Duration::from_mins(1);
        let options = PushOptions { dedup: Some(window), ..PushOptions::default() };
        let links = Arc::new(Links::new(connection.clone(), Duration::from_secs(1)));
        let way = Arc::new(Way::new(connection, queue.clone(), options, links));
        let pusher = Pusher::new(Arc::clone(&way), Durability::Fast);
        let day_ms = 24 * 60 * 60 * 1000;
        for (skewed, expected) in [
            (crate::watch::system_ms() + day_ms, Accepted::Pushed),
            (crate::watch::system_ms() - day_ms, Accepted::Duplicate),
        ] {
            way.clock.sync(skewed);
            let answer = pusher.push(items(&[8])).await;
            assert!(
                matches!(&answer[..], [(_, Outcome::Accepted(accepted))] if *accepted == expected),
                "{answer:?}"
            );
            assert!(way.clock.now_ms().abs_diff(crate::watch::system_ms()) < 10_000);
        }
        let generation = Generation::at(crate::watch::system_ms(), window).number;
        // The window may have turned meanwhile, then it is the one before.
        let mut remembered = Vec::new();
        for generation in [generation, generation - 1] {
            remembered
                .push(server.cli(&["SCARD", &queue.keys().dedup(generation)]).await.expect("it is a set"));
        }
        remembered.sort();
        assert_eq!(remembered, ["0", "1"]);
    }

    proptest! {
        #[test]
        fn chunks_cover_everything_once_within_bounds(
            sizes in prop::collection::vec(prop_oneof![0_usize..100, 300_000_usize..1_500_000], 0..40),
            max_items in 1_usize..10,
        ) {
            let items = items(&sizes);
            let chunks = chunks(&items, max_items);
            let mut next = 0;
            for chunk in chunks {
                prop_assert_eq!(chunk.start, next);
                prop_assert!(!chunk.is_empty() && chunk.len() <= max_items);
                let bytes: usize = sizes[chunk.clone()].iter().sum();
                prop_assert!(bytes <= combiner::MAX_BYTES || chunk.len() == 1);
                next = chunk.end;
            }
            prop_assert_eq!(next, sizes.len());
        }
    }
}
