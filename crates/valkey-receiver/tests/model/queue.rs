//! What a queue is, as a plain value: where each message is, who has a lease, and what each transition does.
//!
//! This is the specification that the Lua scripts are held against. It knows no keys and no bytes of the server
//! (`image.rs` does), and it has no clock: `now` comes in with each call.
//!
//! ```text
//!   push ----> lanes ---------\                         /--- ack ----> gone
//!     \          | park        \                       |
//!      \       woken ---------- take ----> in flight --+--- retry ---> delayed | redo
//!       \        ^ promote     /              |        |
//!        `--> delayed ------> redo <-- reap --+         \-- dead ----> dead letters --- replay ---> lanes
//!                              ^---- release, hand-back of a take: back to the head it came from
//! ```

mod operate;
mod push;
mod repair;
mod take;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use valkey_envelope::{Delayed, Frame, InFlight, Lane};

use crate::call::{Answer, Call, answer};
use crate::clock::Moment;

/// A claimed message: the number of the take, and which of its messages.
pub(crate) type Field = (u64, u64);

/// A consumer whose lease ends at this time can never come back.
pub(crate) const FENCED: u64 = 0;

/// No lease is longer, whatever `control` says.
pub(crate) const LONGEST_LEASE_MS: u64 = 3_600_000;

/// The whole state. The front of a list is its head: what is taken next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// The public list, which everybody may push to and pop from.
    pub(crate) normal: VecDeque<Bytes>,
    pub(crate) high: VecDeque<Bytes>,
    pub(crate) low: VecDeque<Bytes>,
    /// What the blocking move of an idle consumer has taken off the public list.
    pub(crate) woken: VecDeque<Bytes>,
    /// What is to be delivered again.
    pub(crate) redo: VecDeque<Frame>,
    /// What waits for its time: by due time, then by the bytes of the member.
    pub(crate) delayed: BTreeMap<(u64, Bytes), Delayed>,
    /// Who has joined, and until when the lease lasts.
    pub(crate) consumers: BTreeMap<String, u64>,
    /// What each of them holds. A hand outlives its lease until it is empty.
    pub(crate) hands: BTreeMap<String, Hand>,
    /// Given up: by time and id.
    pub(crate) dead: BTreeMap<(u64, String), Dead>,
    /// Ids of messages pushed in each generation of the dedup window, and when they are forgotten.
    pub(crate) seen: BTreeMap<u64, Seen>,
    pub(crate) control: Control,
    /// Counters for graphs.
    pub(crate) stats: BTreeMap<&'static str, u64>,
    /// When somebody lets the public list expire; our scripts take that off.
    pub(crate) public_expiry: Option<u64>,
    /// Which run of the server this is.
    pub(crate) run_id: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Hand {
    pub(crate) last_take: Option<u64>,
    /// How many were held together when its consumer died; unknown as long as nobody has reaped.
    pub(crate) crowd: Option<usize>,
    pub(crate) held: BTreeMap<Field, Held>,
}

/// A message in a hand.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) frame: Frame,
    pub(crate) claimed_ms: u64,
    /// It stands there without a header.
    pub(crate) bare: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) story: String,
    pub(crate) raw: Bytes,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ids: BTreeSet<String>,
    pub(crate) until_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    /// What an operator sets: `paused`, `max_length`, `max_in_flight`, `rate`, `burst`.
    pub(crate) settings: BTreeMap<String, String>,
    /// How far into the future the rate has been used up, in microseconds.
    pub(crate) used_up_to_us: Option<f64>,
    /// The longest lease in use.
    pub(crate) lease_ms: Option<u64>,
    /// The run of the server that last joins and reaps have seen.
    pub(crate) run_id: Option<String>,
    /// How many each consumer held after its last take under `max_in_flight`.
    pub(crate) shares: BTreeMap<String, u64>,
}

/// A list or set of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Normal,
    High,
    Low,
    Woken,
    Redo,
    Delayed,
}

impl Queue {
    /// Carries out a call that ran at `now`, and tells what it has to answer.
    pub(crate) fn apply(&mut self, now: Moment, call: &Call) -> Answer {
        self.seen.retain(|_, seen| seen.until_ms > now.ms());
        let answer = match call {
            Call::Join(join) => self.join(now.ms(), join),
            Call::Take(take) => self.take(now, take),
            Call::Reap(reap) => self.reap(now.ms(), reap),
            Call::Release(release) => self.release(release),
            Call::Push(push) => self.push(now.ms(), push),
            Call::Control(pairs) => self.set_control(pairs),
            Call::Replay(pairs) => self.replay(pairs),
            Call::DeadRemove(ids) => self.remove_dead(ids),
            Call::Purge { place, most } => answer![self.purge(*place, *most)],
            Call::HandBack(back) => self.hand_back(now.ms(), back),
            Call::HandBackRaw { place, most } => answer![self.hand_back_raw(*place, *most)],
            Call::PlainPush(all) => {
                self.normal.extend(all.iter().cloned());
                answer![self.normal.len()]
            }
            Call::PlainPop => self.normal.pop_front().into_iter().collect(),
            Call::Park => {
                let moved = self.normal.pop_front();
                self.woken.extend(moved.clone());
                moved.into_iter().collect()
            }
            Call::LeaseEnds { cid, at_ms } => {
                if let Some(deadline) = self.consumers.get_mut(cid) {
                    *deadline = *at_ms;
                }
                answer![]
            }
            Call::Due { member, at_ms } => {
                if let Some(key) = self.delayed_key(member) {
                    let delayed = self.delayed.remove(&key).expect("it was found");
                    self.delayed.insert((*at_ms, key.1), delayed);
                }
                answer![]
            }
            Call::PublicExpires { at_ms } => {
                self.public_expiry = Some(*at_ms);
                answer![]
            }
            Call::ServerRestarted { known } => {
                self.control.run_id = Some(known.clone());
                answer![]
            }
            Call::WindowPasses { generation, window_ms } => {
                self.window_passes(*generation, *window_ms);
                answer![]
            }
            Call::ForgetScripts => answer![],
        };
        if self.normal.is_empty() {
            // An empty list is none, and none has no expiry.
            self.public_expiry = None;
        }
        answer
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut VecDeque<Bytes> {
        match lane {
            Lane::High => &mut self.high,
            Lane::Normal => &mut self.normal,
            Lane::Low => &mut self.low,
        }
    }

    /// Goes back to where it came from, to be taken next.
    pub(crate) fn back_to_head(&mut self, frame: Frame) {
        if frame.is_fresh() {
            self.lane(frame.lane).push_front(frame.raw);
        } else {
            self.redo.push_front(frame);
        }
    }

    pub(crate) fn delay(&mut self, due_ms: u64, id: String, frame: Frame) {
        let delayed = Delayed { id, frame };
        let member = delayed.encode().expect("ids of ours have no `|`");
        self.delayed.insert((due_ms, member), delayed);
    }

    pub(crate) fn delayed_key(&self, member: &Bytes) -> Option<(u64, Bytes)> {
        self.delayed.keys().find(|(_, key)| key == member).cloned()
    }

    /// When the first delayed message is due, 0 if there is none.
    pub(crate) fn next_due_ms(&self) -> u64 {
        self.delayed.keys().next().map_or(0, |(due, _)| *due)
    }

    pub(crate) fn bury(&mut self, now_ms: u64, (take, item): Field, cid: &str, story: String, raw: Bytes) {
        self.dead.insert((now_ms, format!("{take}-{item}-{cid}")), Dead { story, raw });
    }

    pub(crate) fn dead_key(&self, id: &str) -> Option<(u64, String)> {
        self.dead.keys().find(|(_, key)| key == id).cloned()
    }

    pub(crate) fn hand(&self, cid: &str) -> Option<&Hand> {
        self.hands.get(cid)
    }

    pub(crate) fn held(&self, cid: &str) -> usize {
        self.hand(cid).map_or(0, |hand| hand.held.len())
    }

    pub(crate) fn release_field(&mut self, cid: &str, field: Field) -> Option<Held> {
        self.hands.get_mut(cid)?.held.remove(&field)
    }

    /// A consumer that holds nothing any more is forgotten, and with it that it ever was.
    pub(crate) fn forget(&mut self, cid: &str) {
        self.hands.remove(cid);
        self.consumers.remove(cid);
        self.control.shares.remove(cid);
    }

    /// By the end of their lease, first to end first.
    pub(crate) fn by_deadline(&self) -> BTreeSet<(u64, &str)> {
        self.consumers.iter().map(|(cid, deadline)| (*deadline, cid.as_str())).collect()
    }

    pub(crate) fn count(&mut self, what: &'static str, how_many: usize) {
        if how_many > 0 {
            *self.stats.entry(what).or_default() += how_many as u64;
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.normal.len() + self.high.len() + self.low.len() + self.woken.len() + self.redo.len()
    }
}

impl Held {
    /// As it stands in the hash.
    pub(crate) fn value(&self) -> Bytes {
        let Self { frame, claimed_ms, bare } = self.clone();
        if bare { frame.raw } else { InFlight { claimed_ms, frame }.encode() }
    }
}

impl Control {
    /// A setting as a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.settings.get(name)?.parse().ok()
    }
}
