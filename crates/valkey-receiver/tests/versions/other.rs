//! A consumer of another version: its scripts differ in their text, so the server knows them under other hashes.

use std::time::Duration;

use bytes::Bytes;
use valkey_connection::{Arg, Reply, Script, ScriptCall};
use valkey_envelope::{Envelope, Frame, Lane, QueueKeys};

use crate::ledger::Ledger;
use crate::support::Bed;

macro_rules! other {
    ($name:literal) => {
        Script::new(
            $name,
            concat!(include_str!(concat!("../../lua/", $name, ".lua")), "\n-- another version\n"),
        )
    };
}

pub(crate) static JOIN: Script = other!("join");
pub(crate) static REAP: Script = other!("reap");
pub(crate) static RELEASE: Script = other!("release");
pub(crate) static TAKE: Script = other!("take");

pub(crate) const LEASE_MS: u64 = 1500;

/// One life of it.
pub(crate) struct Other<'a> {
    bed: &'a Bed,
    cid: String,
    take: u64,
    /// Fields to ack with the next take, and the numbers of their messages.
    done: Vec<String>,
}

impl<'a> Other<'a> {
    pub(crate) async fn join(bed: &'a Bed) -> Self {
        let this = Self { bed, cid: uuid::Uuid::now_v7().simple().to_string(), take: 0, done: Vec::new() };
        let call = this.places(JOIN.call()).arg(this.cid.as_str()).arg(LEASE_MS).arg(QueueKeys::FORMAT);
        let mut reply = bed.connection.invoke(call).await.unwrap().into_array().unwrap().into_iter();
        assert_eq!(reply.next().unwrap().into_string().unwrap(), "joined");
        this
    }

    fn places(&self, call: ScriptCall) -> ScriptCall {
        let keys = &self.bed.keys;
        call.keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), keys.woken()])
            .key(keys.inflight(&self.cid))
            .keys([
                keys.consumers(),
                keys.redo(),
                keys.delayed(),
                keys.dead(),
                keys.dead_body(),
                keys.control(),
            ])
    }

    /// Acks what the last one claimed, claims up to `want`, and works on it. How many; `None`: it was fenced.
    pub(crate) async fn take(&mut self, want: u64, ledger: &Ledger) -> Option<usize> {
        self.take += 1;
        let mut call = self
            .places(TAKE.call())
            .keys([self.bed.keys.stats(1).as_str(), self.bed.keys.bell()])
            .arg(self.cid.as_str())
            .args([self.take, LEASE_MS, want, 1 << 20]);
        call = call.arg(self.done.len()).args(self.done.drain(..)).args(["0", "0", "0"].map(Arg::from));
        let parts = self.bed.connection.invoke(call).await.unwrap().into_array().unwrap();
        if parts[0].clone().into_string().unwrap() != "ok" {
            return None;
        }
        let expired = parts[6].clone().into_string().unwrap();
        if !expired.is_empty() {
            self.reap(&expired).await;
        }
        let shape = parts[10].clone().into_string().unwrap();
        let items = parts[11].clone().into_array().unwrap();
        let claimed = items.len();
        for (i, (kind, item)) in shape.chars().zip(items).enumerate() {
            let bytes: Bytes = item.into_bytes().unwrap();
            let frame = Lane::from_char(kind).map_or_else(
                || Frame::decode(bytes.clone()).unwrap(),
                |lane| Frame::fresh(lane, bytes.clone()),
            );
            let number = Envelope::decode(&frame.raw).unwrap().payload_as().unwrap();
            ledger.handed_out(number, frame.crashes);
            ledger.done(number);
            self.done.push(format!("{}-{}", self.take, i + 1));
        }
        Some(claimed)
    }

    async fn reap(&self, dead: &str) {
        let keys = &self.bed.keys;
        let call = REAP
            .call()
            .keys([keys.consumers(), keys.control(), keys.inflight(dead).as_str(), keys.redo(), keys.dead()])
            .keys([keys.dead_body(), keys.stats(1).as_str(), keys.bell()])
            .arg(dead)
            .args([LEASE_MS, 1000, 256, 1 << 20]);
        self.bed.connection.invoke(call).await.map(drop).unwrap();
    }

    /// Leaves in order.
    pub(crate) async fn release(mut self, ledger: &Ledger) {
        self.take(0, ledger).await;
        let keys = &self.bed.keys;
        let inflight = keys.inflight(&self.cid);
        let call = RELEASE
            .call()
            .keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), inflight.as_str()])
            .keys([keys.consumers(), keys.redo(), keys.control(), keys.bell()])
            .arg(self.cid.as_str())
            .args([256, 1 << 20]);
        let parts = self.bed.connection.invoke(call).await.and_then(Reply::into_array).unwrap();
        assert_eq!(parts[2].as_int().unwrap(), 0, "one call gives all of it back");
    }

    /// Not to be in step with anybody.
    pub(crate) async fn rest() {
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..3000))).await;
    }
}
