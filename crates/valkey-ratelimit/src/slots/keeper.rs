//! Tells the store what this process holds, and asks for more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use valkey_connection::{Connection, Mode};

use super::line::{Batch, Dealt, Got, Line, Member, Waiting};
use super::scripts::{self, Caller, Code, Fact, How, Told};
use super::{Permit, SlotSettings};
use crate::asking::{Asking, Outage};
use crate::combiner::hash_tag;
use crate::error::Failed;
use crate::outage::Health;

/// So often what could not be told is told.
const PULSE: Duration = Duration::from_millis(250);
/// And after so many of these it is made sure that each node of a cluster still knows: there may be a call for each hash tag. One
/// server, which is a single call, is looked at each time.
const LOOKS: u8 = 4;

/// What came of wanting one of each.
#[derive(Debug)]
pub(super) enum Wanted {
    Held(Permit),
    /// What is held of each, by all.
    Refused(Vec<u64>),
    /// Which of them, and what is wrong with it.
    Unusable(usize, Code),
}

pub(super) struct Keeper {
    connection: Connection,
    caller: Caller,
    settings: SlotSettings,
    numbers: AtomicU64,
    /// One, or in a cluster one for each hash tag: the keys of a call have to be on one node.
    lines: Mutex<HashMap<Bytes, Line<Wanted>>>,
    clustered: bool,
    outage: Outage,
    /// There from the first slot on.
    runtime: OnceLock<Handle>,
}

impl Keeper {
    pub(super) fn new(connection: Connection, field: Bytes, settings: SlotSettings) -> Arc<Self> {
        let lease_ms = settings.lease.as_millis() as u64;
        Arc::new(Self {
            clustered: connection.settings().mode == Mode::Cluster,
            caller: Caller { field, lease_ms },
            numbers: AtomicU64::new(1),
            lines: Mutex::default(),
            outage: Outage::new(settings.deadline),
            runtime: OnceLock::new(),
            connection,
            settings,
        })
    }

    pub(super) fn health(&self) -> Health {
        self.outage.health()
    }

    /// What this process holds of a key.
    pub(super) fn held_here(&self, key: &Bytes) -> u64 {
        lock(&self.lines).get(&self.tag(key)).map_or(0, |line| line.held(key))
    }

    /// What this process holds of all keys.
    pub(super) fn holdings(&self) -> Vec<(Bytes, u64)> {
        let lines = lock(&self.lines);
        lines.values().flat_map(Line::holdings).map(|(key, held)| (key.clone(), held)).collect()
    }

    /// What other processes hold of a key.
    pub(super) async fn held_elsewhere(&self, key: &Bytes) -> Result<(Code, u64), Failed> {
        let facts = [Fact { key: key.clone(), held: 0, how: How::Look }];
        let told = self.call(&facts, &[]).await?;
        Ok((told.keys[0].code, told.keys[0].others))
    }

    /// One of each, if the store is to be asked; `None`: it is not.
    ///
    /// # Cancel safety
    /// What nobody waits for any more is let go.
    pub(super) async fn acquire(self: &Arc<Self>, members: &[Member]) -> Option<Result<Wanted, Failed>> {
        let begun = Instant::now();
        // All of a process travel in one call: there is no rush to be spared when the store is back.
        let turn = self.outage.route(begun, || 0.0)?;
        let asking = Asking::new(&self.outage, Some(turn));
        let deadline = self.settings.deadline;
        let answer = tokio::time::timeout(deadline, self.acquire_parts(members)).await;
        let answer = answer.unwrap_or(Err(Failed::Late(deadline)));
        asking.settle(&answer, begun.elapsed());
        Some(answer)
    }

    /// What is on one node is acquired in one step. Several nodes are asked in turn; when one refuses, the others get back
    /// what they gave: meanwhile it may keep others out, but there is never more than there may be.
    async fn acquire_parts(self: &Arc<Self>, members: &[Member]) -> Result<Wanted, Failed> {
        let mut held = Permit::new(Arc::clone(self), Vec::new());
        for (tag, places) in self.parts(members) {
            let (answer, answered) = oneshot::channel();
            self.with_line(&tag, |line| {
                line.want(places.iter().map(|at| members[*at].clone()).collect(), answer);
            });
            let wanted = answered.await.unwrap_or(Err(Failed::GivenUp))?;
            match wanted {
                Wanted::Held(permit) => held.join(permit),
                Wanted::Refused(totals) => {
                    let mut all: Vec<u64> =
                        members.iter().map(|member| self.held_here(&member.key)).collect();
                    for (at, total) in places.into_iter().zip(totals) {
                        all[at] = total;
                    }
                    return Ok(Wanted::Refused(all));
                }
                Wanted::Unusable(at, code) => return Ok(Wanted::Unusable(places[at], code)),
            }
        }
        Ok(Wanted::Held(held))
    }

    /// Which of them are on one node, in their order.
    fn parts(&self, members: &[Member]) -> Vec<(Bytes, Vec<usize>)> {
        let mut parts: Vec<(Bytes, Vec<usize>)> = Vec::new();
        for (at, member) in members.iter().enumerate() {
            let tag = self.tag(&member.key);
            match parts.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, places)) => places.push(at),
                None => parts.push((tag, vec![at])),
            }
        }
        parts
    }

    /// One of each by what this process holds itself, or which of them is full and how many of it are held. The store is told
    /// when it is back.
    pub(super) fn hold_here(self: &Arc<Self>, members: &[Member]) -> Result<Permit, (usize, u64)> {
        let mut lines = lock(&self.lines);
        for (at, Member { key, most }) in members.iter().enumerate() {
            let held = lines.get(&self.tag(key)).map_or(0, |line| line.held(key));
            if held >= *most {
                return Err((at, held));
            }
        }
        for Member { key, .. } in members {
            lines.entry(self.tag(key)).or_default().hold(key);
        }
        Ok(Permit::new(Arc::clone(self), members.iter().map(|member| member.key.clone()).collect()))
    }

    /// Lets go of one of each.
    pub(super) fn let_go(self: &Arc<Self>, keys: &[Bytes], mut to_tell: impl FnMut() -> Option<Waiting<()>>) {
        for key in keys {
            self.with_line(&self.tag(key), |line| line.let_go(key, to_tell()));
        }
    }

    /// Waits until the store knows what this process holds; says whether it does.
    pub(super) async fn flush(self: &Arc<Self>) -> bool {
        let mut answers = Vec::new();
        let tags: Vec<Bytes> = lock(&self.lines).keys().cloned().collect();
        for tag in tags {
            self.with_line(&tag, |line| {
                line.resting = false;
                line.tell_changes(|| {
                    let (answer, answered) = oneshot::channel();
                    answers.push(answered);
                    answer
                });
            });
        }
        self.all_told(answers).await.is_ok()
    }

    /// A call may be under way, and then comes the one that tells.
    pub(super) async fn all_told(
        &self,
        answers: Vec<oneshot::Receiver<Result<(), Failed>>>,
    ) -> Result<(), Failed> {
        let deadline = 2 * self.settings.deadline;
        let all = async {
            for answer in answers {
                answer.await.unwrap_or(Err(Failed::GivenUp))?;
            }
            Ok(())
        };
        tokio::time::timeout(deadline, all).await.unwrap_or(Err(Failed::Late(deadline)))
    }

    /// Begins to renew, until the last slot and the last handle are gone.
    pub(super) fn start(self: &Arc<Self>) {
        self.runtime.get_or_init(|| {
            tokio::spawn(renew(Arc::downgrade(self), self.settings.lease / 3));
            Handle::current()
        });
    }

    fn tag(&self, key: &Bytes) -> Bytes {
        if self.clustered { hash_tag(key) } else { Bytes::new() }
    }

    /// Changes a line; what there is to say then is said at once.
    fn with_line(self: &Arc<Self>, tag: &Bytes, change: impl FnOnce(&mut Line<Wanted>)) {
        let begins = {
            let mut lines = lock(&self.lines);
            let line = lines.entry(tag.clone()).or_default();
            change(line);
            !std::mem::replace(&mut line.calling, true)
        };
        if begins && let Some(runtime) = self.runtime.get() {
            runtime.spawn(Arc::clone(self).call_until_empty(tag.clone()));
        }
    }

    async fn call_until_empty(self: Arc<Self>, tag: Bytes) {
        while let Some(batch) = self.take_or_leave(&tag) {
            self.serve(&tag, batch).await;
        }
    }

    fn take_or_leave(&self, tag: &Bytes) -> Option<Batch<Wanted>> {
        let mut lines = lock(&self.lines);
        let line = lines.get_mut(tag)?;
        let batch = line.take(Instant::now());
        if batch.is_none() {
            line.calling = false;
            if line.is_empty() {
                lines.remove(tag);
            }
        }
        batch
    }

    async fn serve(self: &Arc<Self>, tag: &Bytes, batch: Batch<Wanted>) {
        let begun = Instant::now();
        // Who waits for a slot has a turn already; facts are told in any case, and what comes of it is learnt from.
        let turn = if batch.groups.is_empty() { self.outage.route(begun, || 0.0) } else { None };
        let asking = Asking::new(&self.outage, turn);
        let answer = self.call(&batch.facts, &batch.groups).await;
        asking.settle(&answer, begun.elapsed());
        let dealt = {
            let mut lines = lock(&self.lines);
            let line = lines.entry(tag.clone()).or_default();
            match answer {
                Ok(told) => line.settle(batch, &told, Instant::now(), self.settings.lease),
                Err(failed) => {
                    let may_come = !matches!(&failed, Failed::Store(error) if error.is_not_sent());
                    line.fail(batch, &failed, may_come)
                }
            }
        };
        self.deal(dealt);
    }

    /// Nothing is locked here: a slot that nobody waits for any more is let go at once.
    fn deal(self: &Arc<Self>, Dealt { got, told }: Dealt<Wanted>) {
        for (members, answer, got) in got {
            let wanted = got.map(|got| match got {
                Got::Granted => {
                    let keys = members.into_iter().map(|member| member.key).collect();
                    Wanted::Held(Permit::new(Arc::clone(self), keys))
                }
                Got::Refused(totals) => Wanted::Refused(totals),
                Got::Unusable(at, code) => Wanted::Unusable(at, code),
            });
            drop(answer.send(wanted));
        }
        for (answer, told) in told {
            let _ = answer.send(told);
        }
    }

    async fn call(&self, facts: &[Fact], groups: &[scripts::Group]) -> Result<Told, Failed> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let call = self.connection.invoke(scripts::hold(&self.caller, number, facts, groups));
        let deadline = self.settings.deadline;
        match tokio::time::timeout(deadline, call).await {
            Ok(reply) => scripts::told(reply.map_err(Failed::Store)?, facts.len(), groups.len()),
            Err(_) => Err(Failed::Late(deadline)),
        }
    }

    fn pulse(self: &Arc<Self>, number: u8, renews: bool) {
        let now = Instant::now();
        let tags: Vec<Bytes> = lock(&self.lines).keys().cloned().collect();
        for tag in tags {
            // Not all of them at the same time.
            let turn = tag.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) % LOOKS;
            let looks = !self.clustered || number == turn;
            self.with_line(&tag, |line| {
                line.pulse(looks, now);
                if renews {
                    line.tell_all();
                }
            });
        }
    }
}

async fn renew(keeper: Weak<Keeper>, every: Duration) {
    let mut pulses = tokio::time::interval(PULSE);
    pulses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    for number in (0..LOOKS).cycle() {
        pulses.tick().await;
        let Some(keeper) = keeper.upgrade() else { return };
        let renews = renewed.elapsed() >= every;
        if renews {
            renewed = Instant::now();
        }
        keeper.pulse(number, renews);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
