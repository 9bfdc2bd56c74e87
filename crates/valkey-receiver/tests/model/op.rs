//! Random steps, and how each finds its place in the state it meets: an op says "the third message in hand", so that it
//! still means something after others before it were taken away to make a failure shorter.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use valkey_envelope::{Frame, Lane};

use crate::call::{Call, HandBack, Item, Join, Push, Reap, Release, Source, Take};
use crate::queue::{Field, Place, Queue};

/// The window of deduplication: so long that it ends by itself once an hour at most.
const WINDOW_MS: u64 = 3_600_000;

/// Longer than any run, so that it ends when an op says so.
const LATER_MS: u64 = 600_000;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A fresh consumer in this slot. Whoever was there has crashed, or is a zombie.
    Join(u8, u64),
    /// A join under a name that was used before.
    JoinAgain(Who),
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
    number: Number,
    want: usize,
    lease_ms: u64,
    byte_limit: usize,
    settles: Vec<(Settle, Pick)>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    /// The last one and so many more.
    After(u64),
    /// The next that this divides: other lanes lead.
    Multiple(u64),
    /// The last one once more.
    Same,
    First,
}

#[derive(Clone, Copy, Debug)]
enum Settle {
    Ack,
    Retry { delay_ms: u64, counted: bool },
    Dead,
    Back,
}

/// Which message is settled.
#[derive(Clone, Copy, Debug)]
enum Pick {
    Mine(u8),
    /// Of another consumer: what a former life of this one held.
    Foreign(u8),
    Never,
}

#[derive(Clone, Debug)]
pub(crate) struct PushOp {
    dedup: bool,
    wrong_generation: bool,
    max_length: Option<usize>,
    items: Vec<(Lane, Option<i64>, Option<u8>)>,
}

/// Who is at work. Grows while ops are resolved.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    slots: [Option<usize>; SLOTS],
    names: usize,
    messages: usize,
}

const SLOTS: usize = 4;

/// Two consumers, and then whatever comes.
pub(crate) fn sequences() -> impl Strategy<Value = Vec<Op>> {
    let scene =
        prop_oneof![20 => op().prop_map(|op| vec![op]), 3 => crash(), 1 => restart(), 1 => throttle()];
    vec(scene, 1..80).prop_map(|scenes| {
        let joins = [Op::Join(0, 10_000), Op::Join(1, 30_000)];
        joins.into_iter().chain(scenes.into_iter().flatten()).collect()
    })
}

/// The whole of it, since messages have to go through several to be suspects: one claims, dies, and is reaped or releases
/// what it finds, wholly or in part.
fn crash() -> impl Strategy<Value = Vec<Op>> {
    let limit = prop_oneof![2 => Just(256_usize), 1 => 1..4_usize];
    (0..SLOTS as u8, take(), 1..4_u32, 1..5_usize, limit, prop::bool::weighted(0.2)).prop_map(
        |(slot, mut take, max_crashes, want, limit, releases)| {
            let who = Who::Slot(slot);
            (take.want, take.number) = (want, Number::After(1));
            let repair = if releases {
                Op::Release(who, limit, 1 << 20)
            } else {
                Op::Reap(who, max_crashes, limit, 1 << 20)
            };
            vec![Op::Take(who, take), Op::LeaseEnds(who), repair, Op::Join(slot, 10_000)]
        },
    )
}

/// The server restarts, and somebody notices.
fn restart() -> impl Strategy<Value = Vec<Op>> {
    let join = (0..SLOTS as u8).prop_map(|slot| Op::Join(slot, 10_000));
    let notice = prop_oneof![join, who().prop_map(|who| Op::Reap(who, 3, 256, 1 << 20))];
    notice.prop_map(|notice| vec![Op::ServerRestarted, notice])
}

/// A rate is kept, and then another one is set.
fn throttle() -> impl Strategy<Value = Vec<Op>> {
    (who(), take()).prop_map(|(who, take)| {
        let take = Op::Take(who, take);
        vec![Op::Set("rate", "0.3"), Op::PlainPush(4), take, Op::Set("rate", "1"), Op::Set("rate", "")]
    })
}

fn op() -> impl Strategy<Value = Op> {
    let lease = prop_oneof![Just(10_000_u64), Just(30_000), Just(60_000)];
    let place = prop_oneof![
        Just(Place::Normal),
        Just(Place::High),
        Just(Place::Low),
        Just(Place::Woken),
        Just(Place::Redo),
        Just(Place::Delayed),
    ];
    let raw_place = prop_oneof![Just(Place::High), Just(Place::Low), Just(Place::Woken)];
    let few = || 1..6_usize;
    let bytes = || prop_oneof![4 => Just(1_usize << 20), 1 => 1..200_usize];
    prop_oneof![
        24 => (who(), take()).prop_map(|(who, take)| Op::Take(who, take)),
        12 => push().prop_map(Op::Push),
        4 => (0..SLOTS as u8, lease).prop_map(|(slot, lease)| Op::Join(slot, lease)),
        1 => who().prop_map(Op::JoinAgain),
        8 => (who(), 1..4_u32, prop_oneof![few(), Just(256)], bytes())
            .prop_map(|(who, crashes, limit, bytes)| Op::Reap(who, crashes, limit, bytes)),
        2 => (who(), prop_oneof![few(), Just(256)], bytes())
            .prop_map(|(who, limit, bytes)| Op::Release(who, limit, bytes)),
        6 => who().prop_map(Op::LeaseEnds),
        1 => who().prop_map(Op::LeaseFarAhead),
        1 => Just(Op::ServerRestarted),
        4 => (1..12_u8).prop_map(Op::PlainPush),
        1 => Just(Op::PlainPop),
        3 => Just(Op::Park),
        4 => any::<u8>().prop_map(Op::Due),
        1 => Just(Op::WindowPasses),
        1 => Just(Op::PublicExpires),
        3 => setting().prop_map(|(name, value)| Op::Set(name, value)),
        2 => vec(any::<u8>(), 1..4).prop_map(Op::Replay),
        1 => vec(any::<u8>(), 1..3).prop_map(Op::DeadRemove),
        1 => (place, few()).prop_map(|(place, most)| Op::Purge(place, most)),
        1 => few().prop_map(Op::HandBackRedo),
        1 => vec(any::<u8>(), 1..4).prop_map(Op::HandBackDelayed),
        2 => (who(), few()).prop_map(|(who, most)| Op::HandBackInFlight(who, most)),
        1 => (raw_place, few()).prop_map(|(place, most)| Op::HandBackRaw(place, most)),
        1 => Just(Op::ForgetScripts),
    ]
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![5 => (0..SLOTS as u8).prop_map(Who::Slot), 1 => any::<u8>().prop_map(Who::Ever)]
}

fn take() -> impl Strategy<Value = TakeOp> {
    let number = prop_oneof![
        12 => Just(Number::After(1)),
        1 => (2..9_u64).prop_map(Number::After),
        3 => Just(Number::Multiple(4)),
        3 => Just(Number::Multiple(16)),
        1 => Just(Number::Same),
        1 => Just(Number::First),
    ];
    let delay = prop_oneof![3 => Just(0_u64), 1 => 1..4_u64, 2 => Just(LATER_MS)];
    let settle = prop_oneof![
        3 => Just(Settle::Ack),
        4 => (delay, any::<bool>()).prop_map(|(delay_ms, counted)| Settle::Retry { delay_ms, counted }),
        1 => Just(Settle::Dead),
        2 => Just(Settle::Back),
    ];
    let pick = prop_oneof![
        8 => any::<u8>().prop_map(Pick::Mine),
        1 => any::<u8>().prop_map(Pick::Foreign),
        1 => Just(Pick::Never),
    ];
    let want = prop_oneof![2 => Just(0_usize), 3 => Just(1), 6 => 2..9_usize, 2 => 9..40_usize];
    let bytes = prop_oneof![6 => Just(1_usize << 20), 1 => 1..200_usize];
    let lease = prop_oneof![Just(10_000_u64), Just(60_000)];
    (number, want, lease, bytes, vec((settle, pick), 0..6)).prop_map(
        |(number, want, lease_ms, byte_limit, settles)| TakeOp {
            number,
            want,
            lease_ms,
            byte_limit,
            settles,
        },
    )
}

fn push() -> impl Strategy<Value = PushOp> {
    let lane = prop_oneof![2 => Just(Lane::Normal), 1 => Just(Lane::High), 1 => Just(Lane::Low)];
    let due = prop_oneof![
        6 => Just(None),
        1 => (-5..4_i64).prop_map(Some),
        2 => (0..3_i64).prop_map(|n| Some(LATER_MS.cast_signed() + n)),
    ];
    let id = prop_oneof![1 => Just(None), 2 => (0..20_u8).prop_map(Some)];
    let max_length = prop_oneof![5 => Just(None), 1 => (0..20_usize).prop_map(Some)];
    (any::<bool>(), prop::bool::weighted(0.1), max_length, vec((lane, due, id), 1..12)).prop_map(
        |(dedup, wrong_generation, max_length, items)| PushOp { dedup, wrong_generation, max_length, items },
    )
}

fn setting() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        1 => Just(("paused", "1")),
        4 => Just(("paused", "")),
        1 => prop::sample::select(vec!["0", "3", "12", "30"]).prop_map(|limit| ("max_length", limit)),
        2 => Just(("max_length", "")),
        4 => prop::sample::select(vec!["0", "1", "5", "12", "30"]).prop_map(|cap| ("max_in_flight", cap)),
        1 => Just(("max_in_flight", "")),
        1 => prop::sample::select(vec!["0.01", "0.3", "1"]).prop_map(|rate| ("rate", rate)),
        2 => Just(("rate", "")),
        1 => prop::sample::select(vec!["4", "9", ""]).prop_map(|burst| ("burst", burst)),
    ]
}

impl Cast {
    /// What this op means here; `None`: nothing.
    pub(crate) fn call(&mut self, op: &Op, queue: &Queue, now_ms: u64) -> Option<Call> {
        Some(match op {
            Op::Join(slot, lease_ms) => {
                self.slots[usize::from(*slot)] = Some(self.names);
                self.names += 1;
                Call::Join(Join { cid: name(self.names - 1), lease_ms: *lease_ms })
            }
            Op::JoinAgain(who) => Call::Join(Join { cid: self.name(*who), lease_ms: 10_000 }),
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
            Op::Push(push) => Call::Push(self.push(push, now_ms)),
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

    fn push(&mut self, push: &PushOp, now_ms: u64) -> Push {
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
            max_length: push.max_length,
        }
    }

    /// Bytes of a producer that knows nothing of us: some look like frames, some are no text.
    fn foreign(&mut self) -> Bytes {
        self.messages += 1;
        let number = self.messages.to_string();
        let before: &[u8] = [&b"7|7|h|"[..], b"", b"|||", b"\xff\x00", b"m1|0|0|n|"][self.messages % 5];
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
