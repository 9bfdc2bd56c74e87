//! Steps, and how each finds its place in the state it meets: an op says "the third message in hand", so that it
//! still means something after others before it were taken away to make a failure shorter.

use bytes::Bytes;
use valkey_envelope::{Frame, Lane};

use crate::call::{Call, HandBack, Item, Join, Push, Reap, Release, Source, Take};
use crate::queue::{Field, Place, Queue};

/// The window of deduplication: so long that it ends by itself once an hour at most.
const WINDOW_MS: u64 = 3_600_000;

/// Longer than any run, so that it ends when an op says so.
pub(crate) const LATER_MS: u64 = 600_000;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A fresh consumer in this slot, its lease, and the newest format it knows. Whoever was there has crashed, or is a
    /// zombie; unless the newcomer is refused.
    Join(u8, u64, Option<u32>),
    /// A join under a name that was used before.
    JoinAgain(Who, Option<u32>),
    Take(Who, TakeOp),
    /// What to reap, crashes allowed, fields and bytes at most.
    Reap(Who, u32, usize, usize),
    Release(Who, usize, usize),
    LeaseEnds(Who),
    /// A lease so long that the clock must have stepped back.
    LeaseFarAhead(Who),
    ServerRestarted,
    Push(PushOp),
    PlainPush(u8),
    PlainPop,
    Park,
    /// A delayed message, by its place in line.
    Due(u8),
    WindowPasses,
    PublicExpires,
    Set(&'static str, &'static str),
    Replay(Vec<u8>),
    DeadRemove(Vec<u8>),
    Purge(Place, usize),
    HandBackRedo(usize),
    HandBackDelayed(Vec<u8>),
    HandBackInFlight(Who, usize),
    HandBackRaw(Place, usize),
    ForgetScripts,
}

/// Which consumer: the present one of a slot, or any that ever was.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Slot(u8),
    Ever(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct TakeOp {
    pub(crate) number: Number,
    pub(crate) want: usize,
    pub(crate) lease_ms: u64,
    pub(crate) byte_limit: usize,
    pub(crate) settles: Vec<(Settle, Pick)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// The last one and so many more.
    After(u64),
    /// The next that this divides: other lanes lead.
    Multiple(u64),
    /// The last one once more.
    Same,
    First,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Settle {
    Ack,
    Retry { delay_ms: u64, counted: bool },
    Dead,
    Back,
}

/// Which message is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pick {
    Mine(u8),
    /// Of another consumer: what a former life of this one held.
    Foreign(u8),
    Never,
}

#[derive(Clone, Debug)]
pub(crate) struct PushOp {
    pub(crate) dedup: bool,
    pub(crate) wrong_generation: bool,
    /// A limit that leaves room for so many.
    pub(crate) room: Option<isize>,
    pub(crate) items: Vec<(Lane, Option<i64>, Option<u8>)>,
}

/// Who is at work. Grows while ops are resolved.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    slots: [Option<usize>; SLOTS],
    names: usize,
    messages: usize,
}

pub(crate) const SLOTS: usize = 4;

impl Cast {
    /// What this op means here; `None`: nothing.
    pub(crate) fn call(&mut self, op: &Op, queue: &Queue, now_ms: u64) -> Option<Call> {
        Some(match op {
            Op::Join(slot, lease_ms, knows) => {
                if queue.format_beyond(*knows).is_none() {
                    self.slots[usize::from(*slot)] = Some(self.names);
                }
                self.names += 1;
                Call::Join(Join { cid: name(self.names - 1), lease_ms: *lease_ms, knows: *knows })
            }
            Op::JoinAgain(who, knows) => {
                Call::Join(Join { cid: self.name(*who), lease_ms: 10_000, knows: *knows })
            }
            Op::Take(who, take) => Call::Take(take.resolve(self.name(*who), queue)),
            Op::Reap(who, max_crashes, limit, byte_limit) => {
                let (max_crashes, limit, byte_limit) = (*max_crashes, *limit, *byte_limit);
                Call::Reap(Reap { cid: self.name(*who), lease_ms: 10_000, max_crashes, limit, byte_limit })
            }
            Op::Release(who, limit, byte_limit) => {
                Call::Release(Release { cid: self.name(*who), limit: *limit, byte_limit: *byte_limit })
            }
            Op::LeaseEnds(who) | Op::LeaseFarAhead(who) => {
                let cid = self.name(*who);
                queue.consumers.get(&cid).filter(|deadline| **deadline > 0)?;
                let ended = matches!(op, Op::LeaseEnds(_));
                Call::LeaseEnds { cid, at_ms: if ended { now_ms - 1 } else { now_ms + 20 * LATER_MS } }
            }
            Op::ServerRestarted => Call::ServerRestarted { known: "0".repeat(40) },
            Op::Push(push) => Call::Push(self.push(push, queue, now_ms)),
            Op::PlainPush(count) => Call::PlainPush((0..*count).map(|_| self.foreign()).collect()),
            Op::PlainPop => Call::PlainPop,
            Op::Park => Call::Park,
            Op::Due(nth) => {
                let member = nth_of(queue.delayed.keys(), *nth)?.1.clone();
                Call::Due { member, at_ms: now_ms - u64::from(*nth) }
            }
            Op::WindowPasses => Call::WindowPasses { generation: now_ms / WINDOW_MS, window_ms: WINDOW_MS },
            Op::PublicExpires if queue.normal.is_empty() => return None,
            Op::PublicExpires => Call::PublicExpires { at_ms: now_ms + LATER_MS },
            Op::Set(setting, value) => Call::Control(vec![((*setting).to_owned(), (*value).to_owned())]),
            Op::Replay(all) => {
                let lanes = [Lane::Normal, Lane::High, Lane::Low];
                let id = |nth: &u8| (dead_id(queue, *nth), lanes[usize::from(*nth) % 3]);
                Call::Replay(all.iter().map(id).collect())
            }
            Op::DeadRemove(all) => Call::DeadRemove(all.iter().map(|nth| dead_id(queue, *nth)).collect()),
            Op::Purge(place, most) => Call::Purge { place: *place, most: *most },
            Op::HandBackRedo(most) => {
                let frames = queue.redo.iter().rev().take(*most);
                hand_back(Source::Redo, frames.map(|frame| (frame.encode(), plain(frame))).collect())
            }
            Op::HandBackDelayed(all) => {
                let picked = all.iter().filter_map(|nth| nth_of(queue.delayed.iter(), *nth));
                let pairs = picked.map(|((_, member), delayed)| (member.clone(), plain(&delayed.frame)));
                hand_back(Source::Delayed, pairs.collect())
            }
            Op::HandBackInFlight(who, most) => {
                let cid = self.name(*who);
                let held = queue.hand(&cid).into_iter().flat_map(|hand| hand.held.iter().rev()).take(*most);
                let held =
                    held.map(|((take, item), held)| (format!("{take}-{item}").into(), plain(&held.frame)));
                let pairs = held.collect();
                hand_back(Source::InFlight(cid), pairs)
            }
            Op::HandBackRaw(place, most) => Call::HandBackRaw { place: *place, most: *most },
            Op::ForgetScripts => Call::ForgetScripts,
        })
    }

    fn name(&self, who: Who) -> String {
        name(match who {
            Who::Slot(slot) => self.slots[usize::from(slot)].unwrap_or(usize::from(slot) + 1_000),
            Who::Ever(nth) => usize::from(nth) % self.names.max(1),
        })
    }

    fn push(&mut self, push: &PushOp, queue: &Queue, now_ms: u64) -> Push {
        let waiting = queue.waiting() + queue.delayed.len();
        let items = push.items.iter().map(|(lane, due, id)| {
            self.messages += 1;
            Item {
                lane: *lane,
                due_ms: due.map_or(0, |after| now_ms.saturating_add_signed(after)),
                member_id: format!("m{}", self.messages),
                dedup: id.map(|id| format!("id-{id}")),
                raw: format!(r#"{{"payload":{}}}"#, self.messages).into(),
            }
        });
        Push {
            items: items.collect(),
            window_ms: if push.dedup { WINDOW_MS } else { 0 },
            generation: now_ms / WINDOW_MS - u64::from(push.wrong_generation),
            max_length: push.room.map(|room| waiting.saturating_add_signed(room)),
        }
    }

    /// Bytes of a producer that knows nothing of us: some look like frames, some are no text.
    fn foreign(&mut self) -> Bytes {
        self.messages += 1;
        let number = self.messages.to_string();
        let before: &[u8] = [&b"7|7|h|"[..], b"", b"|||", b"\xff\x00", b"m1|0|0|n|", b"{"][self.messages % 6];
        [before, number.as_bytes()].concat().into()
    }
}

impl TakeOp {
    fn resolve(&self, cid: String, queue: &Queue) -> Take {
        let hand = queue.hand(&cid);
        let last = hand.and_then(|hand| hand.last_take).unwrap_or(0);
        let number = match self.number {
            Number::After(more) => last + more,
            Number::Multiple(of) => (last / of + 1) * of,
            Number::Same => last,
            Number::First => 1,
        };
        let mine: Vec<Field> = hand.into_iter().flat_map(|hand| hand.held.keys().copied()).collect();
        let hands = queue.hands.iter().filter(|(other, _)| **other != cid);
        let foreign: Vec<Field> = hands.flat_map(|(_, hand)| hand.held.keys().copied()).collect();
        let Self { want, lease_ms, byte_limit, .. } = *self;
        let mut take = Take {
            cid,
            number,
            lease_ms,
            want,
            byte_limit,
            acks: Vec::new(),
            retries: Vec::new(),
            deads: Vec::new(),
            backs: Vec::new(),
        };
        for (settle, pick) in &self.settles {
            let picked = match pick {
                Pick::Mine(nth) => nth_of(mine.iter(), *nth).copied(),
                Pick::Foreign(nth) => nth_of(foreign.iter(), *nth).copied(),
                Pick::Never => Some((99, 1)),
            };
            let Some(field) = picked else { continue };
            match settle {
                Settle::Ack => take.acks.push(field),
                Settle::Retry { delay_ms, counted } => take.retries.push((field, *delay_ms, *counted)),
                Settle::Dead => take.deads.push((field, r#"{"reason":"rejected"}"#.to_owned())),
                Settle::Back => take.backs.push(field),
            }
        }
        take
    }
}

/// As uuids are: of one length, and not in the order in which they were made.
fn name(number: usize) -> String {
    let scrambled = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{scrambled:016x}{number:016x}")
}

fn nth_of<T>(all: impl ExactSizeIterator<Item = T>, nth: u8) -> Option<T> {
    let count = all.len();
    (count > 0).then(|| all.into_iter().nth(usize::from(nth) % count)).flatten()
}

/// Of one that is there, or now and then of none.
fn dead_id(queue: &Queue, nth: u8) -> String {
    let there = nth_of(queue.dead.keys(), nth).filter(|_| nth != 0);
    there.map_or_else(|| "none".to_owned(), |(_, id)| id.clone())
}

fn hand_back(source: Source, mut elements: Vec<(Bytes, Bytes)>) -> Call {
    if elements.is_empty() {
        // A page that was read before somebody else emptied the place.
        elements.push(("98-1".into(), "gone".into()));
    }
    Call::HandBack(HandBack { source, elements })
}

/// What a plain consumer is to find: the bytes as they were pushed.
fn plain(frame: &Frame) -> Bytes {
    frame.raw.clone()
}
