//! All keys of a queue and their contents: as the server has them, and as the model says they must be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use bytes::Bytes;
use valkey_connection::{Reply, Script};
use valkey_envelope::QueueName;

use crate::queue::Queue;

/// By key; those of the queue's tag without the tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Content>);

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) value: Value,
    /// When the key expires, in ms. Of the counters it is only known that they do.
    pub(crate) expiry: Option<u64>,
}

/// Lists from the head (next to be taken), sorted sets in their order.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    List(Vec<Bytes>),
    Hash(BTreeMap<Bytes, Bytes>),
    Sorted(Vec<(Bytes, Bytes)>),
    Set(BTreeSet<Bytes>),
}

/// Everything whose key contains ARGV[1], and the time. A key of the queue that no model knows is found as well.
pub(crate) static LOOK: Script = Script::new(
    "look",
    "local keys, time = redis.call('KEYS', ARGV[1]), redis.call('TIME')
     local all = { string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)) }
     for i, key in ipairs(keys) do
       local kind, content = redis.call('TYPE', key).ok, nil
       if kind == 'list' then content = redis.call('LRANGE', key, 0, -1)
       elseif kind == 'hash' then content = redis.call('HGETALL', key)
       elseif kind == 'zset' then content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
       elseif kind == 'set' then content = redis.call('SMEMBERS', key) end
       all[i + 1] = { key, kind, redis.call('PEXPIRETIME', key), content }
     end
     return all",
);

/// Removes everything whose key contains ARGV[1]; returns the time.
pub(crate) static CLEAR: Script = Script::new(
    "clear",
    "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
     local time = redis.call('TIME')
     return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))",
);

/// The counters expire a day after their first count; the model does not follow that clock.
const STATS: &str = ":stats:1";

pub(crate) const PUBLIC: &str = "queue";

impl Image {
    /// Reads the answer of [`LOOK`]: the server's clock in ms, and the image.
    pub(crate) fn read(queue: &QueueName, reply: Reply) -> (u64, Self) {
        let mut parts = reply.into_array().expect("an array").into_iter();
        let now_ms = parts.next().expect("the time").as_int().expect("a number");
        let mut keys = BTreeMap::new();
        for part in parts {
            let [key, kind, expiry, content]: [Reply; 4] =
                part.into_array().expect("an array").try_into().expect("four parts");
            let key = key.into_string().expect("our keys are text");
            let name = match key.strip_prefix(queue.keys().tag()) {
                Some(rest) => rest.to_owned(),
                None if key == queue.keys().public() => PUBLIC.to_owned(),
                None => key,
            };
            let elements = content.into_array().expect("an array").into_iter();
            let elements: Vec<Bytes> = elements.map(|element| element.into_bytes().expect("bytes")).collect();
            let pairs = || elements.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            let value = match &*kind.into_bytes().expect("bytes") {
                b"list" => Value::List(elements.into_iter().rev().collect()),
                b"hash" => Value::Hash(pairs().collect()),
                b"zset" => Value::Sorted(pairs().collect()),
                b"set" => Value::Set(elements.into_iter().collect()),
                other => panic!("{name} is of type {}", String::from_utf8_lossy(other)),
            };
            let expiry = u64::try_from(expiry.as_int().expect("a number")).ok();
            let expiry = if name == STATS { expiry.map(|_| 0) } else { expiry };
            keys.insert(name, Content { value, expiry });
        }
        (u64::try_from(now_ms).expect("after 1970"), Self(keys))
    }

    /// What the server must have.
    pub(crate) fn of(queue: &Queue) -> Self {
        let mut image = Self::default();
        for (name, list) in [(":lane:high", &queue.high), (":lane:low", &queue.low), (":woken", &queue.woken)]
        {
            image.list(name, list.iter().cloned());
        }
        image.list(PUBLIC, queue.normal.iter().cloned());
        if let Some(public) = image.0.get_mut(PUBLIC) {
            public.expiry = queue.public_expiry;
        }
        image.list(":redo", queue.redo.iter().map(valkey_envelope::Frame::encode));
        image.sorted(":delayed", queue.delayed.keys().map(|(due, member)| (member.clone(), *due)));
        let consumers = queue.by_deadline();
        image.sorted(":consumers", consumers.iter().map(|(at, cid)| (text(*cid), *at)));
        for (cid, hand) in &queue.hands {
            let held = hand.held.iter();
            let held = held.map(|((take, item), held)| (text(format!("{take}-{item}")), held.value()));
            let last = hand.last_take.map(|last| (text("#"), text(last)));
            let crowd = hand.crowd.map(|crowd| (text("@"), text(crowd)));
            image.hash(&format!(":inflight:{cid}"), held.chain(last).chain(crowd));
        }
        image.sorted(":dead", queue.dead.keys().map(|(at, id)| (text(id), *at)));
        image.hash(
            ":dead:body",
            queue.dead.iter().map(|((_, id), dead)| {
                let mut body = format!("{}|{}", dead.story.len(), dead.story).into_bytes();
                body.extend_from_slice(&dead.raw);
                (text(id), body.into())
            }),
        );
        for (generation, seen) in &queue.seen {
            let value = Value::Set(seen.ids.iter().map(text).collect());
            image.0.insert(format!(":dedup:{generation}"), Content { value, expiry: Some(seen.until_ms) });
        }
        let control = &queue.control;
        let settings = control.settings.iter().map(|(name, value)| (text(name), text(value)));
        let shares = control.shares.iter().map(|(cid, share)| (text(format!("n:{cid}")), text(share)));
        let used = control.used_up_to_us.map(|us| (text("tat"), text(format!("{us:.0}"))));
        let lease = control.lease_ms.map(|lease| (text("lease"), text(lease)));
        let run = control.run_id.iter().map(|run| (text("run_id"), text(run)));
        image.hash(":control", settings.chain(shares).chain(used).chain(lease).chain(run));
        image.hash(STATS, queue.stats.iter().map(|(name, count)| (text(name), text(count))));
        if let Some(stats) = image.0.get_mut(STATS) {
            stats.expiry = Some(0);
        }
        image
    }

    pub(crate) fn hash_of(&self, key: &str) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let hash = match self.0.get(key) {
            Some(Content { value: Value::Hash(hash), .. }) => Some(hash),
            _ => None,
        };
        hash.into_iter().flatten()
    }

    /// Where the two differ; empty if they do not.
    pub(crate) fn difference(expected: &Self, found: &Self) -> String {
        let mut text = String::new();
        let keys: BTreeSet<&String> = expected.0.keys().chain(found.0.keys()).collect();
        for key in keys {
            let (expected, found) = (expected.0.get(key), found.0.get(key));
            if expected != found {
                let _ = writeln!(text, "{key}\n  model:  {expected:?}\n  server: {found:?}");
            }
        }
        text
    }

    fn list(&mut self, key: &str, elements: impl Iterator<Item = Bytes>) {
        self.insert(key, Value::List(elements.collect()));
    }

    fn hash(&mut self, key: &str, pairs: impl Iterator<Item = (Bytes, Bytes)>) {
        self.insert(key, Value::Hash(pairs.collect()));
    }

    fn sorted(&mut self, key: &str, pairs: impl Iterator<Item = (Bytes, u64)>) {
        self.insert(key, Value::Sorted(pairs.map(|(member, score)| (member, text(score))).collect()));
    }

    /// What is empty is not there.
    fn insert(&mut self, key: &str, value: Value) {
        let empty = match &value {
            Value::List(list) => list.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Sorted(pairs) => pairs.is_empty(),
            Value::Set(set) => set.is_empty(),
        };
        if !empty {
            self.0.insert(key.to_owned(), Content { value, expiry: None });
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::List(list) => list.fmt(f)?,
            Value::Hash(hash) => hash.fmt(f)?,
            Value::Sorted(pairs) => pairs.fmt(f)?,
            Value::Set(set) => set.fmt(f)?,
        }
        self.expiry.map_or(Ok(()), |expiry| write!(f, " until {expiry}"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "mostly made on the spot")]
fn text(text: impl ToString) -> Bytes {
    text.to_string().into()
}
