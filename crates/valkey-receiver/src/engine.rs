//! The engine of one queue: the only task that takes, settles, renews and reaps.
//!
//! It lives on a thread and a runtime of its own, so that no handler can starve the lease. It does one thing at a
//! time; everything else reaches it through the [`Desk`], the park and the bell.

mod candidate;
mod life;
mod recovery;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use valkey_connection::{Command, DedicatedConnection, Error};
use valkey_envelope::{InFlight, QueueKeys};

use crate::desk::{Claimed, Desk, Epoch, Settle};
use crate::error::ReceiveError;
use crate::held::Held;
use crate::lease::Lease;
use crate::outcome::Disposition;
use crate::park::{Bell, Parker};
use crate::settings::ReceiverSettings;
use crate::settling::{self, MOST_SETTLES};
use crate::take::{Claim, Hold, Settles, Take, TakeReply, Taken};

pub(crate) use candidate::Candidate;

/// No settle waits longer than this for a companion.
const LINGER: Duration = Duration::from_millis(2);
/// A take stops popping once it holds so many bytes: a reply of many large messages would block the server.
const BYTE_LIMIT: usize = 1 << 20;
/// However busy or full a consumer is, it takes so often: a public list that its producer lets expire must be saved in time.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);
/// How often a paused, throttled or full consumer looks again, if the server names no time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the engine goes by.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) batch: usize,
    pub(crate) prefetch: usize,
    pub(crate) max_crashes: u32,
    pub(crate) park: Duration,
    /// The list that gets a copy of each dead letter.
    pub(crate) copies: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Engine {
    desk: Arc<Desk>,
    keys: QueueKeys,
    rules: Rules,
    link: DedicatedConnection,
    parker: Parker,
    bell: Bell,
    sink: async_channel::Sender<Claimed>,
    /// The other end of `sink`: what no handler has fetched yet can be handed back.
    unstarted: async_channel::Receiver<Claimed>,
    epoch: Arc<Epoch>,
    lease: Lease,
    take_number: u64,
    held: Held,
    /// Fields in our in-flight hash that are none of ours, nor of anybody's.
    strangers: usize,
    /// Decisions taken off the desk, not yet carried out.
    pending: Vec<Settle>,
    /// Dead letters whose copy could not be made yet, and when to try again.
    postponed: Vec<Settle>,
    outlook: Outlook,
    backoff: Backoff,
    park_backoff: Backoff,
    no_park_until: Instant,
    /// Set when the wish to finish is seen first: what cannot be settled by then is not.
    give_up_at: Option<Instant>,
}

/// What the last answers let expect.
#[derive(Debug)]
struct Outlook {
    /// More work was left behind, as far as known: no need to wait for a sign.
    hot: bool,
    /// A sign came: a park ended, the bell rang, the receiver was resumed.
    knock: bool,
    hold: Hold,
    /// When something becomes due, a foreign lease ends, or a hold may be over.
    look_at: Option<Instant>,
    was_paused: bool,
}

/// Exponential, for a server that does not answer.
#[derive(Debug, Default)]
struct Backoff(u32);

// === impl Rules ===

impl Rules {
    pub(crate) fn of(settings: &ReceiverSettings) -> Self {
        Self {
            lease: settings.lease,
            heartbeat: settings.heartbeat_interval().min(LONGEST_SILENCE),
            batch: settings.batch.get(),
            prefetch: settings.most_held(),
            max_crashes: settings.max_crashes.get(),
            park: settings.park_timeout(),
            copies: settings.dead_letter_queue.as_ref().map(|queue| queue.keys().public().to_owned()),
        }
    }
}

// === impl Engine ===

impl Engine {
    /// Works until told to finish; then settles what is decided, and gives back the rest.
    pub(crate) async fn run(mut self) {
        loop {
            if self.lease.is_spent(Instant::now()) {
                // Also the first thing after this process stood still.
                self.start_over(Vec::new()).await;
            }
            self.heed_wishes().await;
            let done = self.pending.is_empty() && self.postponed.is_empty() && self.desk.waiting() == 0;
            if self.desk.finishing.load(Ordering::Acquire) && done || self.must_give_up() {
                break;
            }
            self.desk.held.send_replace(self.held.len());
            match self.next_take() {
                None => self.take().await,
                Some(until) => self.wait(until).await,
            }
        }
        self.leave().await;
    }

    /// Pause and drain: what no handler has begun goes back.
    async fn heed_wishes(&mut self) {
        if self.desk.takes_no_more() {
            if !self.outlook.was_paused {
                // A park that went on would catch the first message that is handed back.
                self.parker.end().await;
            }
            self.outlook.was_paused = true;
            while let Ok(claimed) = self.unstarted.try_recv() {
                claimed.settle(Disposition::HandBack, None);
            }
        } else if self.outlook.was_paused {
            self.outlook.was_paused = false;
            self.outlook.knock = true;
        }
    }

    /// `None`: take now. Otherwise: nothing to do before that moment, unless somebody wakes the engine.
    fn next_take(&mut self) -> Option<Instant> {
        self.clear_desk();
        let now = Instant::now();
        let settling = self.pending.len();
        let want = self.want(settling);
        let outlook = &self.outlook;

        let oldest = self.pending.first().map(|settle| settle.since);
        let settle_now = settling >= self.rules.batch
            // Nobody is working on anything else: no companion can come.
            || (settling > 0 && settling >= self.held.len())
            || oldest.is_some_and(|since| now.saturating_duration_since(since) >= LINGER);
        let enough = self.rules.batch.min(self.rules.prefetch.div_ceil(2));
        let take_now = want > 0 && (outlook.knock || (outlook.hot && want >= enough))
            || outlook.hold == Hold::Suspect && self.held.is_empty();
        let look_now = outlook.look_at.is_some_and(|at| now >= at);
        if settle_now || take_now || look_now || now >= self.lease.renew_at() {
            return None;
        }
        let idle = want > 0 && !outlook.hot && outlook.hold == Hold::Nothing && now >= self.no_park_until;
        if idle {
            self.parker.park(self.rules.park);
        }
        let linger = oldest.map(|since| since + LINGER);
        [linger, self.outlook.look_at].into_iter().flatten().chain([self.lease.renew_at()]).min()
    }

    /// Takes the decisions off the desk. Those about an earlier life come too late: their fields mean nothing, or other
    /// messages, under the name of this one.
    fn clear_desk(&mut self) {
        for settle in self.desk.clear() {
            if Arc::ptr_eq(&settle.epoch, &self.epoch) {
                self.pending.push(settle);
            } else {
                let too_late = settle.epoch.too_late();
                settling::answer(&self.desk, settle, Err(too_late));
            }
        }
    }

    /// How many messages there is room for once `settling` are settled.
    fn want(&self, settling: usize) -> usize {
        if self.desk.takes_no_more() || self.held.has_suspect() {
            return 0;
        }
        if self.outlook.hold == Hold::Suspect && self.held.len() > settling {
            return 0;
        }
        let holding = self.held.len().saturating_sub(settling);
        self.rules.prefetch.saturating_sub(holding).min(self.rules.batch)
    }

    async fn wait(&mut self, until: Instant) {
        let parked = self.parker.is_parked();
        tokio::select! {
            () = self.desk.wake.notified() => {}
            returned = self.parker.returned(), if parked => match returned {
                // Also an empty return is followed by a take: the bell may have been lost.
                Ok(_) => {
                    self.park_backoff.clear();
                    self.outlook.knock = true;
                }
                Err(error) => {
                    // A full server refuses the move, an absent one everything: look by takes for a while.
                    tracing::debug!(queue = %self.desk.queue, %error, "cannot park");
                    let pause = self.park_backoff.next();
                    self.no_park_until = Instant::now() + pause;
                    self.look_again(pause);
                }
            },
            () = self.bell.rung() => self.outlook.knock = true,
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }

    fn note_refusal(&self, source: Error) {
        self.desk.note_refusal(ReceiveError::Unserved { queue: self.desk.queue.clone(), source });
    }

    fn look_again(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.outlook.look_at = Some(self.outlook.look_at.map_or(at, |known| known.min(at)));
    }

    async fn take(&mut self) {
        let settles = self.draw_settles().await;
        let want = self.want(settles.len());
        let groups = settling::groups(&settles, self.desk.server_ms());
        let sent = Instant::now();
        match self.call_take(want, &groups).await {
            Ok(TakeReply::Taken(taken)) => {
                let answered = Instant::now();
                self.lease.renew(sent, answered);
                self.lease.hear_clock(taken.now_ms, sent, answered);
                self.backoff.clear();
                self.desk.serves();
                for settle in &settles {
                    self.held.remove(settle.claim.field);
                }
                settling::confirm(&self.desk, settles, taken.acked, taken.others);
                let in_flight = taken.in_flight;
                self.absorb(taken, want).await;
                if in_flight != self.held.len() + self.strangers {
                    // The server has lost what it last did, and with it settles that were confirmed, or claims: what is
                    // in flight there and not here would wait for as long as this consumer lives.
                    tracing::warn!(queue = %self.desk.queue, in_flight, held = self.held.len(), "the server's state was rolled back; reading it again");
                    self.recover(Vec::new()).await;
                }
            }
            Ok(TakeReply::Fenced { known }) => {
                self.note_fence(known);
                self.start_over(settles).await;
            }
            Ok(TakeReply::Stale(last)) => {
                self.take_number = self.take_number.max(last);
                self.recover(settles).await;
            }
            Err(error) => {
                tracing::warn!(queue = %self.desk.queue, %error, "take failed; nothing is lost, asking again");
                self.note_refusal(error);
                self.recover(settles).await;
            }
        }
    }

    async fn call_take(&mut self, want: usize, settles: &Settles) -> Result<TakeReply, Error> {
        self.take_number = InFlight::take_after(self.take_number, self.desk.server_ms());
        let take = Take {
            cid: &self.epoch.cid,
            number: self.take_number,
            lease_ms: millis(self.rules.lease),
            want,
            byte_limit: BYTE_LIMIT,
            minute: self.desk.server_ms() / 60_000,
            settles,
        };
        let call = take.call(&self.keys).timeout(self.lease.patience(Instant::now()));
        let reply = self.link.invoke(call).await?;
        take.read(reply)
    }

    /// The settles of the next take; dead letters only once their copy is safe.
    async fn draw_settles(&mut self) -> Vec<Settle> {
        self.pending.append(&mut self.postponed);
        let rest = self.pending.split_off(self.pending.len().min(MOST_SETTLES));
        let drawn = std::mem::replace(&mut self.pending, rest);
        let Some(list) = self.rules.copies.clone() else { return drawn };
        let mut ready = Vec::with_capacity(drawn.len());
        // Copies are made one by one, and the lease does not wait for them.
        let mut stopped = false;
        for settle in drawn {
            if !matches!(settle.disposition, Disposition::Dead { .. }) {
                ready.push(settle);
                continue;
            }
            let now = Instant::now();
            stopped = stopped || now >= self.lease.renew_at();
            if !stopped {
                let copy = Command::new("LPUSH").key(list.as_str()).arg(settle.claim.frame.raw.clone());
                match self.link.execute(copy.timeout(self.lease.patience(now))).await {
                    Ok(_) => {
                        ready.push(settle);
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(queue = %self.desk.queue, %error, list, "no copy of a dead letter yet; it stays in flight");
                        stopped = true;
                    }
                }
            }
            self.postponed.push(settle);
        }
        ready
    }

    async fn absorb(&mut self, taken: Taken, wanted: usize) {
        let Taken { now_ms, next_due_ms, foreign_deadline_ms, expired, mut hold, left, claims, .. } = taken;
        if wanted == 0 && self.outlook.hold == Hold::Suspect && !self.held.is_empty() {
            // Who wants nothing is told of no suspect, but it still waits for these hands to be empty.
            hold = Hold::Suspect;
        }
        self.desk.learn_clock(now_ms);
        self.deliver(claims);
        let now = Instant::now();
        let after = |ms: u64| now + Duration::from_millis(ms.saturating_sub(now_ms).saturating_add(1));
        self.outlook.knock = false;
        self.outlook.hold = hold;
        self.outlook.hot = left && hold == Hold::Nothing;
        // What is due needs somebody with free hands; a foreign lease that ended needs anybody.
        let due = next_due_ms.filter(|_| hold == Hold::Nothing && !self.desk.takes_no_more()).map(after);
        self.outlook.look_at = due.into_iter().chain(foreign_deadline_ms.map(after)).min();
        match hold {
            Hold::Rate(ms) => self.look_again(Duration::from_millis(ms)),
            Hold::Paused | Hold::Full => self.look_again(LOOK_AGAIN),
            Hold::Nothing | Hold::Suspect => {}
        }
        if !self.postponed.is_empty() {
            self.look_again(LOOK_AGAIN);
        }
        if let Some(dead) = expired {
            if self.lease.may_reap(now) {
                self.reap(&dead).await;
            } else {
                self.look_again(LOOK_AGAIN);
            }
        }
    }

    fn deliver(&mut self, claims: Vec<Claim>) {
        for claim in &claims {
            self.held.insert(claim);
        }
        // Before the first one is out: who has fetched a message must not be told that nothing is held.
        self.desk.held.send_replace(self.held.len());
        for claim in claims {
            let claimed = Claimed { claim, epoch: Arc::clone(&self.epoch) };
            if let Err(refused) = self.sink.try_send(claimed) {
                // Nobody will ever fetch it: the receiver is gone.
                refused.into_inner().settle(Disposition::HandBack, None);
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// === impl Backoff ===

impl Backoff {
    fn next(&mut self) -> Duration {
        self.0 = (self.0 + 1).min(7);
        // 10 ms, doubled to about a second; half of it drawn, so that a fleet does not come back in step.
        let full = Duration::from_millis(8 << self.0);
        full / 2 + (full / 2).mul_f64(rand::random())
    }

    fn clear(&mut self) {
        self.0 = 0;
    }
}
