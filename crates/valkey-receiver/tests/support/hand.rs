//! A consumer moved by hand: sends the scripts itself, in whatever order and with whatever numbers a test wants.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use bytes::Bytes;
use valkey_connection::{Arg, Command, Error, Reply, Script, ScriptCall};
use valkey_envelope::{Frame, Lane};

use crate::support::Bed;

pub(crate) static JOIN: Script = Script::new("join", include_str!("../../lua/join.lua"));
pub(crate) static REAP: Script = Script::new("reap", include_str!("../../lua/reap.lua"));
pub(crate) static RELEASE: Script = Script::new("release", include_str!("../../lua/release.lua"));
pub(crate) static TAKE: Script = Script::new("take", include_str!("../../lua/take.lua"));

pub(crate) const LEASE_MS: u64 = 10_000;
pub(crate) const MAX_CRASHES: u32 = 3;

pub(crate) struct Hand<'a> {
    pub(crate) bed: &'a Bed,
    pub(crate) cid: String,
}

/// The four groups that ride in a take; fields by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settling<'a> {
    pub(crate) acks: &'a [&'a str],
    pub(crate) retries: &'a [(&'a str, u64, bool)],
    pub(crate) deads: &'a [(&'a str, &'a str)],
    pub(crate) backs: &'a [&'a str],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok(Taken),
    Fenced,
    Stale(i64),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) now_ms: i64,
    pub(crate) acked: i64,
    pub(crate) others: i64,
    pub(crate) next_due_ms: i64,
    pub(crate) foreign_ms: i64,
    pub(crate) expired: String,
    pub(crate) hold: String,
    pub(crate) hold_ms: i64,
    pub(crate) left: bool,
    pub(crate) shape: String,
    pub(crate) items: Vec<Bytes>,
}

impl Taken {
    /// The bytes of the messages claimed, as they were pushed.
    pub(crate) fn raws(&self) -> Vec<Bytes> {
        let items = self.shape.chars().zip(&self.items);
        let raw = |(kind, item): (char, &Bytes)| match Lane::from_char(kind) {
            Some(_) => item.clone(),
            None => Frame::decode(item.clone()).map_or_else(|_| item.clone(), |frame| frame.raw),
        };
        items.map(raw).collect()
    }
}

/// What `reap.lua` answers: its word, how many went to redo, how many died, how many are left.
pub(crate) type Reaped = (String, i64, i64, i64);

impl<'a> Hand<'a> {
    /// One that has not joined.
    pub(crate) fn new(bed: &'a Bed) -> Self {
        Self { bed, cid: uuid::Uuid::now_v7().simple().to_string() }
    }

    pub(crate) async fn join(bed: &'a Bed) -> Self {
        let hand = Self::new(bed);
        assert_eq!(hand.try_join().await.unwrap(), "joined");
        hand
    }

    pub(crate) async fn try_join(&self) -> Result<String, Error> {
        let call = self.places(JOIN.call()).arg(self.cid.as_str()).arg(LEASE_MS);
        let reply = self.bed.connection.invoke(call).await?.into_array()?;
        reply.into_iter().next().unwrap().into_string()
    }

    pub(crate) fn inflight(&self) -> String {
        self.bed.keys.inflight(&self.cid)
    }

    /// The keys that `join.lua` and `take.lua` begin with.
    fn places(&self, call: ScriptCall) -> ScriptCall {
        let keys = &self.bed.keys;
        call.keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), keys.woken()])
            .key(self.inflight())
            .keys([
                keys.consumers(),
                keys.redo(),
                keys.delayed(),
                keys.dead(),
                keys.dead_body(),
                keys.control(),
            ])
    }

    pub(crate) async fn try_take(
        &self,
        number: u64,
        want: u64,
        settling: &Settling<'_>,
    ) -> Result<Answer, Error> {
        let Settling { acks, retries, deads, backs } = settling;
        let mut call = self
            .places(TAKE.call())
            .keys([self.bed.keys.stats(1).as_str(), self.bed.keys.bell()])
            .arg(self.cid.as_str())
            .args([number, LEASE_MS, want, 1 << 20]);
        call = call.arg(acks.len()).args(acks.iter().copied()).arg(retries.len());
        for (field, delay_ms, counted) in *retries {
            call = call.args([Arg::from(*field), (*delay_ms).into(), u64::from(*counted).into()]);
        }
        call = call.arg(deads.len()).args(deads.iter().flat_map(|(field, meta)| [*field, *meta]));
        call = call.arg(backs.len()).args(backs.iter().copied());
        let mut parts = self.bed.connection.invoke(call).await?.into_array()?.into_iter();
        let mut next = || parts.next().unwrap_or(Reply::Nil);
        let word = next().into_string()?;
        let now_ms = next().as_int()?;
        Ok(match word.as_str() {
            "ok" => Answer::Ok(Taken {
                now_ms,
                acked: next().as_int()?,
                others: next().as_int()?,
                next_due_ms: next().as_int()?,
                foreign_ms: next().as_int()?,
                expired: next().into_string()?,
                hold: next().into_string()?,
                hold_ms: next().as_int()?,
                left: next().as_int()? == 1,
                shape: next().into_string()?,
                items: next().into_array()?.into_iter().map(|item| item.into_bytes().unwrap()).collect(),
            }),
            "fenced" => Answer::Fenced,
            "stale" => Answer::Stale(next().as_int()?),
            other => panic!("take.lua answered {other}"),
        })
    }

    pub(crate) async fn settle(&self, number: u64, want: u64, settling: &Settling<'_>) -> Answer {
        self.try_take(number, want, settling).await.unwrap()
    }

    /// A take that must succeed, with nothing to settle.
    pub(crate) async fn take(&self, number: u64, want: u64) -> Taken {
        match self.settle(number, want, &Settling::default()).await {
            Answer::Ok(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn try_reap(&self, limit: u64) -> Result<Reaped, Error> {
        let keys = &self.bed.keys;
        let call = REAP
            .call()
            .keys([keys.consumers(), keys.control(), self.inflight().as_str(), keys.redo(), keys.dead()])
            .keys([keys.dead_body(), keys.stats(1).as_str(), keys.bell()])
            .arg(self.cid.as_str())
            .args([LEASE_MS, u64::from(MAX_CRASHES), limit, 1 << 20]);
        let mut parts = self.bed.connection.invoke(call).await?.into_array()?.into_iter();
        let mut next = || parts.next().unwrap_or(Reply::Nil);
        let word = next().into_string()?;
        next();
        Ok((word, next().as_int()?, next().as_int()?, next().as_int()?))
    }

    /// Somebody reaps this one, at most `limit` messages.
    pub(crate) async fn reap(&self, limit: u64) -> Reaped {
        self.try_reap(limit).await.unwrap()
    }

    /// Gives back at most `limit`: how many went, how many are left.
    pub(crate) async fn try_release(&self, limit: u64) -> Result<(i64, i64), Error> {
        let keys = &self.bed.keys;
        let call = RELEASE
            .call()
            .keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), self.inflight().as_str()])
            .keys([keys.consumers(), keys.redo(), keys.control(), keys.bell()])
            .arg(self.cid.as_str())
            .args([limit, 1 << 20]);
        let parts = self.bed.connection.invoke(call).await?.into_array()?;
        Ok((parts[1].as_int()?, parts[2].as_int()?))
    }

    pub(crate) async fn deadline_ms(&self) -> Option<i64> {
        let reply =
            self.bed.ask(Command::new("ZSCORE").key(self.bed.keys.consumers()).arg(self.cid.as_str()));
        let reply = reply.await;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
        (!reply.is_nil()).then(|| reply.as_double().unwrap() as i64)
    }

    /// The lease ends at this time of the server's, in ms.
    pub(crate) async fn set_deadline(&self, ms: i64) {
        let set = Command::new("ZADD").key(self.bed.keys.consumers()).arg(ms).arg(self.cid.as_str());
        self.bed.ask(set).await;
    }

    /// Puts a message in its hands, as if claimed; `frame` as in `1|0|n|bytes`.
    pub(crate) async fn give(&self, field: &str, frame: &str) {
        let set = Command::new("HSET").key(self.inflight()).arg(field).arg(format!("1000|{frame}"));
        self.bed.ask(set).await;
    }
}

/// Everything there is of a queue: key to its bytes as the server would save them, or a list for reading.
pub(crate) async fn dump(bed: &Bed) -> BTreeMap<String, Bytes> {
    let mut keys: Vec<String> = Vec::new();
    for pattern in [bed.keys.public().to_owned(), format!("{}*", bed.keys.tag())] {
        let found = bed.ask(Command::new("KEYS").arg(pattern)).await.into_array().unwrap();
        keys.extend(found.into_iter().map(|key| key.into_string().unwrap()));
    }
    let mut all = BTreeMap::new();
    for key in keys {
        let value = bed.ask(Command::new("DUMP").key(key.as_str())).await.into_bytes().unwrap();
        all.insert(key, value);
    }
    all
}

/// The elements of a list from its head (next to be taken) on.
pub(crate) async fn list(bed: &Bed, key: &str) -> Vec<Bytes> {
    let reply = bed.ask(Command::new("LRANGE").key(key).arg("0").arg("-1")).await.into_array().unwrap();
    let mut all: Vec<Bytes> = reply.into_iter().map(|raw| raw.into_bytes().unwrap()).collect();
    all.reverse();
    all
}

/// Pushes, the first one first.
pub(crate) async fn push(bed: &Bed, key: &str, all: impl IntoIterator<Item = impl Into<Arg>>) {
    bed.ask(Command::new("LPUSH").key(key).args(all)).await;
}

pub(crate) async fn server_ms(bed: &Bed) -> i64 {
    let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
    time[0].as_int().unwrap() * 1000 + time[1].as_int().unwrap() / 1000
}
