//! Beginnings and ends: joining, losing the lease, leaving; and burying other consumers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use valkey_connection::{Command, DedicatedConnection, Error, Reply};
use valkey_envelope::{DeadReason, Lane, QueueKeys};

use super::{BYTE_LIMIT, Engine, LOOK_AGAIN, Outlook, Rules, millis};
use crate::complaint::Complaint;
use crate::desk::{Desk, Epoch, Settle};
use crate::error::{JoinError, SettleError};
use crate::lease::Lease;
use crate::park::LONGEST_PARK;
use crate::scripts;
use crate::settling::{self, MOST_SETTLES};
use crate::take::{Hold, Settles, number};

/// How many fields one call of `reap.lua` or `release.lua` moves.
const MOVE_LIMIT: u64 = 256;

impl Engine {
    /// The lease is lost. What was held belongs to others; with a new name the consumer begins again.
    pub(super) async fn start_over(&mut self, unsure: Vec<Settle>) {
        self.epoch.lost.cancel();
        let mut late = std::mem::take(&mut self.pending);
        late.append(&mut self.postponed);
        late.extend(unsure);
        late.append(&mut self.desk.clear());
        tracing::warn!(
            queue = %self.desk.queue,
            consumer = self.epoch.cid,
            held = self.held.len(),
            reason = %self.epoch.too_late(),
            "starting over under a fresh name"
        );
        for settle in late {
            settling::answer(&self.desk, settle, Err(self.epoch.too_late()));
        }
        self.held.clear();
        let began = Instant::now();
        let (mut unreleased, mut unjoined) = (Complaint::default(), Complaint::default());
        loop {
            if self.desk.finishing.load(Ordering::Acquire) {
                // Whatever is still ours on the server is reclaimed by others.
                return;
            }
            match self.release().await {
                Ok(()) => match new_life(&mut self.link, &self.keys, &self.desk, &self.rules).await {
                    Ok((epoch, lease)) => {
                        // Whatever kept us from renewing may have kept the others.
                        (self.epoch, self.lease, self.take_number) = (epoch, lease.after_gap(), 0);
                        self.desk.serves();
                        break;
                    }
                    Err(refusal) => {
                        if unjoined.is_due(Instant::now()) {
                            tracing::warn!(queue = %self.desk.queue, error = %refusal, "cannot join again yet");
                        }
                        self.desk.note_refusal(refusal.while_serving(self.desk.queue.clone()));
                    }
                },
                Err(error) => {
                    if unreleased.is_due(Instant::now()) {
                        tracing::warn!(queue = %self.desk.queue, %error, "cannot give back what was held yet");
                    }
                    self.note_refusal(error);
                }
            }
            let pause = self.backoff.next();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.desk.wake.notified() => {}
            }
        }
        self.backoff.clear();
        self.outlook =
            Outlook { hot: true, knock: true, hold: Hold::Nothing, look_at: None, was_paused: false };
        tracing::info!(queue = %self.desk.queue, consumer = self.epoch.cid, after = ?began.elapsed(), "joined again");
    }

    /// The server says that our name is fenced. Where it does not know the name at all although our lease cannot be over,
    /// nobody took over what we held: it was deleted.
    pub(super) fn note_fence(&mut self, known: bool) {
        if !known && !self.lease.is_spent(Instant::now()) {
            self.epoch.deleted.store(true, Ordering::Relaxed);
        }
    }

    /// Gives back, uncounted, whatever the server holds in flight for this name; afterwards the name is no consumer.
    async fn release(&mut self) -> Result<(), Error> {
        loop {
            let keys = &self.keys;
            let call = scripts::RELEASE
                .call()
                .key(keys.public())
                .key(keys.lane(Lane::High))
                .key(keys.lane(Lane::Low))
                .key(keys.inflight(&self.epoch.cid))
                .key(keys.consumers())
                .key(keys.redo())
                .key(keys.control())
                .key(keys.bell())
                .arg(self.epoch.cid.as_str())
                .arg(MOVE_LIMIT)
                .arg(BYTE_LIMIT);
            let reply = self.link.invoke(call).await?.into_array()?;
            let mut parts = reply.into_iter().skip(1);
            let mut next = || parts.next().map_or(Ok(0), number);
            let (released, left) = (next()?, next()?);
            self.desk.tally.released.fetch_add(released, Ordering::Relaxed);
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// A server that refuses what is left to settle, or does not answer, must not hold up the end for ever.
    pub(super) fn must_give_up(&mut self) -> bool {
        if !self.desk.finishing.load(Ordering::Acquire) {
            return false;
        }
        let now = Instant::now();
        now >= *self.give_up_at.get_or_insert_with(|| now + 5 * LONGEST_PARK)
    }

    /// The orderly end: no park is left behind, nothing stays in flight.
    pub(crate) async fn leave(mut self) {
        self.parker.end().await;
        self.parker.stop();
        if !self.epoch.lost.is_cancelled() {
            self.clear_woken().await;
        }
        self.epoch.lost.cancel();
        let mut late = std::mem::take(&mut self.pending);
        late.append(&mut self.postponed);
        late.append(&mut self.desk.close());
        for settle in late {
            settling::answer(&self.desk, settle, Err(SettleError::Stopped));
        }
        // Settling in vain has used up the time: then one try, not as much time again.
        let deadline =
            self.give_up_at.unwrap_or_else(|| Instant::now() + self.rules.lease.min(5 * LONGEST_PARK));
        while let Err(error) = self.release().await {
            if Instant::now() >= deadline {
                tracing::warn!(queue = %self.desk.queue, %error, "left without giving back; others reclaim after the lease");
                break;
            }
            tokio::time::sleep(self.backoff.next()).await;
        }
        self.link.close().await;
    }

    /// What a park has moved waits in `woken` for consumers of ours; claimed, and then released to the public list,
    /// plain consumers see it too. Only a courtesy: nothing is lost without it.
    async fn clear_woken(&mut self) {
        let length = Command::new("LLEN").key(self.keys.woken());
        let Ok(Ok(woken)) = self.link.execute(length).await.map(number) else { return };
        if woken > 0 {
            let want = usize::try_from(woken).unwrap_or(usize::MAX).min(MOST_SETTLES);
            let _ = self.call_take(want, &Settles::default()).await;
        }
    }

    /// Moves what `dead` held to where it can be taken again.
    pub(super) async fn reap(&mut self, dead: &str) {
        let keys = &self.keys;
        let call = scripts::REAP
            .call()
            .key(keys.consumers())
            .key(keys.control())
            .key(keys.inflight(dead))
            .key(keys.redo())
            .key(keys.dead())
            .key(keys.dead_body())
            .key(keys.stats(self.desk.server_ms() / 60_000))
            .key(keys.bell())
            .arg(dead)
            .arg(millis(self.rules.lease))
            .arg(self.rules.max_crashes)
            .arg(MOVE_LIMIT)
            .arg(BYTE_LIMIT)
            .timeout(self.lease.patience(Instant::now()));
        match self.link.invoke(call).await.and_then(Reply::into_array) {
            Ok(reply) => {
                let mut parts = reply.into_iter().skip(2).map(|part| number(part).unwrap_or(0));
                let (moved, buried) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
                if moved + buried > 0 {
                    tracing::info!(queue = %self.desk.queue, consumer = dead, moved, buried, "reclaimed from a dead consumer");
                    self.desk.metrics.lease_expired(moved + buried);
                    self.desk.metrics.dead_lettered(&DeadReason::Crashed, buried);
                }
                // The next take sees what was moved, and names the next dead one.
                self.outlook.knock = true;
                self.look_again(Duration::ZERO);
            }
            Err(error) => {
                tracing::warn!(queue = %self.desk.queue, consumer = dead, %error, "cannot reclaim from a dead consumer yet");
                self.look_again(LOOK_AGAIN);
            }
        }
    }
}

/// Joins under a fresh name.
pub(super) async fn new_life(
    link: &mut DedicatedConnection,
    keys: &QueueKeys,
    desk: &Arc<Desk>,
    rules: &Rules,
) -> Result<(Arc<Epoch>, Lease), JoinError> {
    let cid = uuid::Uuid::now_v7().simple().to_string();
    let sent = Instant::now();
    let call = scripts::JOIN
        .call()
        .key(keys.public())
        .key(keys.lane(Lane::High))
        .key(keys.lane(Lane::Low))
        .key(keys.woken())
        .key(keys.inflight(&cid))
        .key(keys.consumers())
        .key(keys.redo())
        .key(keys.delayed())
        .key(keys.dead())
        .key(keys.dead_body())
        .key(keys.control())
        .arg(cid.as_str())
        .arg(millis(rules.lease))
        .arg(QueueKeys::FORMAT);
    let mut reply = link.invoke(call).await?.into_array()?.into_iter();
    let word = reply.next().map_or(Ok(String::new()), Reply::into_string)?;
    if let Some(now_ms) = reply.next() {
        desk.learn_clock(number(now_ms)?);
    }
    if word == "newer" {
        let found = reply.next().map_or(Ok(String::new()), Reply::into_string)?;
        return Err(JoinError::NewerFormat(found));
    }
    let epoch = Epoch::new(cid, Arc::clone(desk));
    Ok((Arc::new(epoch), Lease::new(rules.lease, rules.heartbeat, sent)))
}
