//! How a queue stands: depths, ages, consumers, settings.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use valkey_connection::{Command, Reply, ScriptCall};
use valkey_envelope::{Envelope, Frame, Lane, QueueKeys, QueueName};

use crate::{
    admin::Admin,
    control::{Limits, OddLimit},
    error::Error,
    millis,
    place::Place,
    scripts::{self, INFLIGHT, STATS},
    strays::Stray,
};

/// How a queue stands, at one instant of the server's clock (in flight: right after it).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueueStats {
    /// The queue.
    pub queue: QueueName,
    /// The instant, in milliseconds of the server's clock since the Unix epoch.
    pub at_ms: u64,
    /// Messages that can be taken now, by where they are.
    pub ready: Ready,
    /// Messages that wait for their time.
    pub delayed: u64,
    /// How long until the first delayed message is due; zero if it is overdue.
    #[serde(rename = "next_due_in_ms", serialize_with = "millis::some")]
    pub next_due_in: Option<Duration>,
    /// Messages claimed by the consumers and the strays listed.
    pub in_flight: u64,
    /// Dead letters.
    pub dead: u64,
    /// Bodies of dead letters; other than `dead` only if someone else wrote to the keys.
    pub dead_bodies: u64,
    /// The consumers, the one whose lease ends first in front; at most 512.
    pub consumers: Vec<ConsumerStats>,
    /// How many consumers there are, listed or not.
    pub consumer_count: u64,
    /// Consumers that hold messages and are not registered. Only what was added: [`Admin::stats`] does not look for them,
    /// [`Admin::strays`] does.
    pub strays: Vec<Stray>,
    /// How long the oldest ones have been there.
    pub oldest: Oldest,
    /// Consumers claim nothing until it is resumed.
    pub paused: bool,
    /// The limits in force.
    pub limits: Limits,
    /// Limits as no tool of ours writes them.
    pub odd_limits: Vec<OddLimit>,
    /// What stands as the queue's format, if anything does.
    #[serde(skip)]
    pub(crate) format: Option<String>,
    /// An expiry somebody set on the public list: when it ends, all messages of the list are gone.
    #[serde(rename = "list_expires_in_ms", serialize_with = "millis::some")]
    pub list_expires_in: Option<Duration>,
    /// Keys of the queue that hold something else than the queue put there.
    pub squatters: Vec<Squatter>,
    /// Whether any key of the queue exists.
    pub exists: bool,
}

/// Messages that can be taken now. In JSON their sum comes along, as `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// Taken out of a blocking move, not yet claimed.
    pub woken: u64,
    /// Reclaimed after a crash, and retries that are due.
    pub redo: u64,
    /// In the high lane.
    pub high: u64,
    /// In the public list.
    pub public: u64,
    /// In the low lane.
    pub low: u64,
}

/// Ages of what is oldest. Ages by an envelope's timestamp are by its sender's clock, and absent if the element is
/// no envelope, has no timestamp or is over 64 KiB; the others are by the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Oldest {
    /// The oldest ready message, since it was sent.
    #[serde(rename = "ready_ms", serialize_with = "millis::some")]
    pub ready: Option<Duration>,
    /// The message longest in flight, since it was claimed.
    #[serde(rename = "in_flight_ms", serialize_with = "millis::some")]
    pub in_flight: Option<Duration>,
    /// The first dead letter, since it died.
    #[serde(rename = "dead_ms", serialize_with = "millis::some")]
    pub dead: Option<Duration>,
    /// The last dead letter, since it died.
    #[serde(rename = "newest_dead_ms", serialize_with = "millis::some")]
    pub newest_dead: Option<Duration>,
}

/// A consumer as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Its id: a fresh one per start.
    pub id: String,
    /// Its right to work.
    #[serde(flatten)]
    pub lease: Lease,
    /// Messages it holds.
    pub in_flight: u64,
    /// How long it has held the oldest of them.
    #[serde(rename = "oldest_ms", serialize_with = "millis::some")]
    pub oldest: Option<Duration>,
}

/// A consumer's right to work on what it claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "lease", rename_all = "lowercase")]
pub enum Lease {
    /// It ran out; the next take of any consumer reclaims what it holds.
    Expired {
        /// How long ago.
        #[serde(rename = "lease_ms", serialize_with = "millis::plain")]
        ago: Duration,
    },
    /// Taken away for good: what it holds is being reclaimed.
    Fenced,
    /// It holds.
    Live {
        /// For how long, unless it is renewed.
        #[serde(rename = "lease_ms", serialize_with = "millis::plain")]
        left: Duration,
    },
}

/// A key of the queue that holds something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Squatter {
    /// The key.
    pub key: String,
    /// The type the queue needs there.
    pub expected: &'static str,
    /// The type found.
    pub found: String,
}

/// Memory by key, as the server estimates it from a sample of the elements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// All of it, in bytes.
    pub total: u64,
    /// By place, in bytes. Dead letters include their bodies.
    pub places: BTreeMap<Place, u64>,
}

// === impl Admin ===

impl Admin {
    /// Elements longer than this are not fetched to find out how old they are.
    const OLDEST_BYTES: u64 = 64 * 1024;
    const CONSUMERS: u64 = 512;

    /// How a queue stands. Works on queues that do not exist: all is zero then, and `exists` is false.
    ///
    /// # Errors
    /// [`Error::Connection`]. A key of a foreign type is no error but a [`Squatter`].
    pub async fn stats(&self, queue: &QueueName) -> Result<QueueStats, Error> {
        let keys = queue.keys();
        let mut stats = read(queue, &keys, self.connection.invoke(call(&keys)).await?)?;
        self.add_in_flight(&keys, &mut stats).await?;
        Ok(stats)
    }

    /// How each of many queues stands, 32 at a time; the results are in the order of the queues.
    pub async fn stats_all(&self, queues: &[QueueName]) -> Vec<Result<QueueStats, Error>> {
        let mut all = Vec::with_capacity(queues.len());
        for some in queues.chunks(32) {
            all.extend(join_all(some.iter().map(|queue| self.stats(queue))).await);
        }
        all
    }

    /// What the keys of a queue take in memory, estimated from five elements of each.
    ///
    /// # Errors
    /// [`Error::Connection`]: also if MEMORY USAGE is not allowed for the user.
    pub async fn memory(&self, queue: &QueueName) -> Result<Memory, Error> {
        let keys = queue.keys();
        let consumers = self.consumer_ids(&keys).await?;
        let mut asked: Vec<(Place, String)> = Place::ALL
            .into_iter()
            .filter_map(|place| Some((place, place.key(&keys)?.to_owned())))
            .chain([(Place::Dead, keys.dead_body().to_owned())])
            .collect();
        asked.extend(consumers.iter().map(|id| (Place::InFlight, keys.inflight(id))));
        let commands = asked
            .iter()
            .map(|(_, key)| Command::new("MEMORY").arg("USAGE").key(key.as_str()).args(["SAMPLES", "5"]))
            .collect();
        let mut memory = Memory::default();
        for ((place, _), reply) in asked.into_iter().zip(self.connection.execute_all(commands).await) {
            let reply = reply?;
            if !reply.is_nil() {
                let bytes = scripts::count(reply)?;
                memory.total += bytes;
                *memory.places.entry(place).or_default() += bytes;
            }
        }
        Ok(memory)
    }

    /// The registered consumers, at most 512.
    pub(crate) async fn consumer_ids(&self, keys: &QueueKeys) -> Result<Vec<String>, Error> {
        let command = Command::new("ZRANGE").key(keys.consumers()).arg(0u64).arg(Self::CONSUMERS - 1);
        let ids = self.connection.execute(command).await?.into_array()?;
        ids.into_iter().map(|id| Ok(id.into_string()?)).collect()
    }

    async fn add_in_flight(&self, keys: &QueueKeys, stats: &mut QueueStats) -> Result<(), Error> {
        let calls: Vec<ScriptCall> =
            stats.consumers.iter().map(|consumer| INFLIGHT.call().key(keys.inflight(&consumer.id))).collect();
        if calls.is_empty() {
            return Ok(());
        }
        for (i, reply) in self.connection.invoke_all(calls).await.into_iter().enumerate() {
            let [kind, count, claimed] = scripts::fields("inflight", reply?)?;
            let (kind, count) = (kind.into_string()?, scripts::count(count)?);
            let oldest = age(stats.at_ms, scripts::millis("inflight", claimed)?);
            let consumer = &mut stats.consumers[i];
            if kind != "none" && kind != "hash" {
                let key = keys.inflight(&consumer.id);
                stats.squatters.push(Squatter { key, expected: "hash", found: kind });
            }
            consumer.in_flight = count;
            consumer.oldest = oldest;
            stats.in_flight += count;
            stats.oldest.in_flight = stats.oldest.in_flight.max(oldest);
        }
        Ok(())
    }
}

// === impl Ready ===

impl Ready {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.woken + self.redo + self.high + self.public + self.low
    }
}

impl Serialize for Ready {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { woken, redo, high, public, low } = *self;
        let mut object = serializer.serialize_struct("Ready", 6)?;
        object.serialize_field("total", &self.total())?;
        for (name, count) in
            [("woken", woken), ("redo", redo), ("high", high), ("public", public), ("low", low)]
        {
            object.serialize_field(name, &count)?;
        }
        object.end()
    }
}

// === impl Lease ===

impl Lease {
    /// The lease of a deadline on the server's clock, in milliseconds; 0 = fenced.
    pub(crate) const fn at(deadline: u64, now: u64) -> Self {
        if deadline == 0 {
            Self::Fenced
        } else if deadline <= now {
            Self::Expired { ago: Duration::from_millis(now - deadline) }
        } else {
            Self::Live { left: Duration::from_millis(deadline - now) }
        }
    }

    /// Whether the consumer may work.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live { .. })
    }
}

// === reading the script's answer ===

fn call(keys: &QueueKeys) -> ScriptCall {
    STATS
        .call()
        .keys([
            keys.public(),
            keys.lane(Lane::High),
            keys.lane(Lane::Low),
            keys.woken(),
            keys.redo(),
            keys.delayed(),
            keys.dead(),
            keys.dead_body(),
            keys.consumers(),
            keys.control(),
        ])
        .arg(Admin::OLDEST_BYTES)
        .arg(Admin::CONSUMERS)
}

fn read(queue: &QueueName, keys: &QueueKeys, reply: Reply) -> Result<QueueStats, Error> {
    const WHAT: &str = "stats";
    let [now, types, lists, sets, bodies, consumers, consumer_count, control, ttl] =
        scripts::fields(WHAT, reply)?;
    let now = scripts::millis(WHAT, now)?.ok_or(Error::UnexpectedReply(WHAT))?;
    let (squatters, exists) = squatters(keys, types)?;

    let mut depths = [0; 5];
    let mut oldest = Oldest::default();
    let lists: [Reply; 5] = scripts::fields(WHAT, lists)?;
    for (i, list) in lists.into_iter().enumerate() {
        let [length, _, element] = scripts::fields(WHAT, list)?;
        depths[i] = scripts::count(length)?;
        let framed = i == 4;
        oldest.ready = oldest.ready.max(age(now, sent_ms(element.into_bytes()?, framed)));
    }
    let [public, high, low, woken, redo] = depths;

    let [delayed, dead] = scripts::fields(WHAT, sets)?;
    let [delayed, next_due, _] = scripts::fields(WHAT, delayed)?;
    let [dead, first_death, last_death] = scripts::fields(WHAT, dead)?;
    oldest.dead = age(now, scripts::millis(WHAT, first_death)?);
    oldest.newest_dead = age(now, scripts::millis(WHAT, last_death)?);

    let control = pairs(control)?;
    let field = |name: &str| control.get(name).map(String::as_str);
    let consumers = consumers
        .into_array()?
        .chunks_exact(2)
        .map(|pair| {
            let deadline = scripts::millis(WHAT, pair[1].clone())?.unwrap_or(0);
            let (id, lease) = (pair[0].clone().into_string()?, Lease::at(deadline, now));
            Ok(ConsumerStats { id, lease, in_flight: 0, oldest: None })
        })
        .collect::<Result<Vec<_>, Error>>()?;

    Ok(QueueStats {
        queue: queue.clone(),
        at_ms: now,
        ready: Ready { woken, redo, high, public, low },
        delayed: scripts::count(delayed)?,
        next_due_in: scripts::millis(WHAT, next_due)?
            .map(|due| Duration::from_millis(due.saturating_sub(now))),
        in_flight: 0,
        dead: scripts::count(dead)?,
        dead_bodies: scripts::count(bodies)?,
        consumers,
        consumer_count: scripts::count(consumer_count)?,
        strays: Vec::new(),
        oldest,
        paused: field("paused") == Some("1"),
        limits: Limits::read(field),
        odd_limits: Limits::odd(field),
        format: field("version").map(str::to_owned),
        list_expires_in: u64::try_from(ttl.as_int()?).ok().map(Duration::from_millis),
        squatters,
        exists,
    })
}

fn squatters(keys: &QueueKeys, types: Reply) -> Result<(Vec<Squatter>, bool), Error> {
    let expected = [
        (keys.public(), "list"),
        (keys.lane(Lane::High), "list"),
        (keys.lane(Lane::Low), "list"),
        (keys.woken(), "list"),
        (keys.redo(), "list"),
        (keys.delayed(), "zset"),
        (keys.dead(), "zset"),
        (keys.dead_body(), "hash"),
        (keys.consumers(), "zset"),
        (keys.control(), "hash"),
    ];
    let (mut squatters, mut exists) = (Vec::new(), false);
    for ((key, expected), found) in expected.into_iter().zip(types.into_array()?) {
        let found = found.into_string()?;
        exists |= found != "none";
        if found != "none" && found != expected {
            squatters.push(Squatter { key: key.to_owned(), expected, found });
        }
    }
    Ok((squatters, exists))
}

fn pairs(reply: Reply) -> Result<BTreeMap<String, String>, Error> {
    let mut pairs = BTreeMap::new();
    for (field, value) in reply.into_pairs()? {
        // A field that is no text is none of ours.
        if let (Ok(field), Ok(value)) = (field.into_string(), value.into_string()) {
            pairs.insert(field, value);
        }
    }
    Ok(pairs)
}

/// When a message was sent, by the timestamp in its envelope.
fn sent_ms(element: Bytes, framed: bool) -> Option<u64> {
    let raw = if framed { Frame::decode(element).ok()?.raw } else { element };
    let sent = Envelope::decode(&raw).ok()?.timestamp()?;
    u64::try_from(sent.as_millisecond()).ok()
}

fn age(now: u64, since: Option<u64>) -> Option<Duration> {
    Some(Duration::from_millis(now.saturating_sub(since?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_lease_ends_at_its_deadline() {
        assert_eq!(Lease::at(0, 10), Lease::Fenced);
        assert_eq!(Lease::at(10, 10), Lease::Expired { ago: Duration::ZERO });
        assert!(Lease::at(11, 10).is_live());
    }

    #[test]
    fn ages_need_a_readable_timestamp() {
        let raw = Envelope::new("x").unwrap().encode().unwrap();
        assert!(sent_ms(raw.clone(), false).is_some());
        assert!(sent_ms(Frame { crashes: 0, attempts: 1, lane: Lane::Normal, raw }.encode(), true).is_some());
        for nonsense in [&b""[..], b"\xff", b"{}", b"1|2|n|"] {
            assert_eq!(sent_ms(Bytes::from_static(nonsense), false), None);
            assert_eq!(sent_ms(Bytes::from_static(nonsense), true), None);
        }
    }

    #[test]
    fn json_has_milliseconds_and_flat_leases() {
        let live = ConsumerStats {
            id: "c".into(),
            lease: Lease::Live { left: Duration::from_secs(2) },
            in_flight: 1,
            oldest: None,
        };
        let json = serde_json::to_string(&live).unwrap();
        assert_eq!(json, r#"{"id":"c","lease":"live","lease_ms":2000,"in_flight":1,"oldest_ms":null}"#);
    }
}
