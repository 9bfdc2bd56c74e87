//! Random steps, and scenes of several that seldom come about by themselves.

use proptest::collection::vec;
use proptest::prelude::*;
use valkey_envelope::Lane;

use crate::op::{LATER_MS, Number, Op, Pick, PushOp, SLOTS, Settle, TakeOp, Who};
use crate::queue::Place;

/// Two consumers, and then whatever comes.
pub(crate) fn sequences() -> impl Strategy<Value = Vec<Op>> {
    let scene = prop_oneof![
        20 => op().prop_map(|op| vec![op]),
        3 => crash(),
        1 => poison(),
        1 => suspects(),
        1 => restart(),
        1 => throttle(),
        1 => bounded(),
        1 => paused(),
        1 => formats(),
        1 => window(),
    ];
    vec(scene, 1..80).prop_map(|scenes| {
        let joins = [Op::Join(0, 10_000, Some(1)), Op::Join(1, 30_000, Some(1))];
        joins.into_iter().chain(scenes.into_iter().flatten()).collect()
    })
}

/// The whole of it, since messages have to go through several to be suspects: one claims, dies, and is reaped or releases
/// what it finds, at once, or in parts and perhaps not all. It may turn out not to be dead at all.
fn crash() -> impl Strategy<Value = Vec<Op>> {
    let parts = prop_oneof![Just((256_usize, 1_usize)), (1..3_usize, 1..6_usize)];
    let want = prop_oneof![Just(1_usize), 2..5_usize];
    let zombie = prop::option::weighted(0.3, take());
    (0..SLOTS as u8, take(), 1..4_u32, want, parts, prop::bool::weighted(0.2), zombie).prop_map(
        |(slot, take, max_crashes, want, (limit, times), releases, zombie)| {
            let who = Who::Slot(slot);
            let repair = if releases {
                Op::Release(who, limit, 1 << 20)
            } else {
                Op::Reap(who, max_crashes, limit, 1 << 20)
            };
            let repairs = std::iter::repeat_n(repair, times);
            let dies = [Op::PlainPush(2), next_take(slot, take, want), Op::LeaseEnds(who)];
            let wakes = zombie.map(|take| Op::Take(who, take));
            dies.into_iter().chain(repairs).chain(wakes).chain([Op::Join(slot, 10_000, Some(1))]).collect()
        },
    )
}

/// A consumer with empty hands takes one message, and dies of it.
fn poison() -> impl Strategy<Value = Vec<Op>> {
    (0..SLOTS as u8, take(), 1..3_u32).prop_map(|(slot, take, max_crashes)| {
        let (who, join) = (Who::Slot(slot), Op::Join(slot, 10_000, Some(1)));
        let takes = next_take(slot, take, 1);
        let reap = Op::Reap(who, max_crashes, 256, 1 << 20);
        vec![Op::PlainPush(6), join.clone(), takes, Op::LeaseEnds(who), reap, join]
    })
}

/// Two consumers die with the same messages, and another one comes, with empty hands or not.
fn suspects() -> impl Strategy<Value = Vec<Op>> {
    (0..SLOTS as u8, 1..SLOTS as u8, vec(take(), 4)).prop_map(|(slot, further, takes)| {
        let [first, second, third, fourth] = <[TakeOp; 4]>::try_from(takes).expect("as many as asked for");
        let dies = |take| {
            let (who, join) = (Who::Slot(slot), Op::Join(slot, 10_000, Some(1)));
            [next_take(slot, take, 6), Op::LeaseEnds(who), Op::Reap(who, 9, 256, 1 << 20), join]
        };
        let other = (slot + further) % SLOTS as u8;
        let comes = [next_take(other, third, 2), next_take(other, fourth, 6)];
        let deaths = dies(first).into_iter().chain(dies(second));
        [Op::PlainPush(2)].into_iter().chain(deaths).chain(comes).collect()
    })
}

/// One that the server heeds.
fn next_take(slot: u8, mut take: TakeOp, want: usize) -> Op {
    (take.want, take.number) = (want, Number::After(1));
    Op::Take(Who::Slot(slot), take)
}

/// The server restarts, and somebody notices.
fn restart() -> impl Strategy<Value = Vec<Op>> {
    let join = (0..SLOTS as u8).prop_map(|slot| Op::Join(slot, 10_000, Some(1)));
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

/// There is more than may be in flight, for two.
fn bounded() -> impl Strategy<Value = Vec<Op>> {
    let bound = prop::sample::select(vec!["1", "5", "12"]).prop_map(|bound| Op::Set("max_in_flight", bound));
    let take = || (who(), take()).prop_map(|(who, take)| Op::Take(who, take));
    (bound, take(), take()).prop_map(|(bound, one, other)| vec![bound, Op::PlainPush(8), one, other])
}

/// Nothing is to be had for a while, although something is there.
fn paused() -> impl Strategy<Value = Vec<Op>> {
    (who(), take()).prop_map(|(who, take)| {
        vec![Op::Set("paused", "1"), Op::PlainPush(2), Op::Take(who, take), Op::Set("paused", "")]
    })
}

/// The same ids come again and again, a window of deduplication later and two.
fn window() -> impl Strategy<Value = Vec<Op>> {
    let deduplicated = || push().prop_map(|push| Op::Push(PushOp { dedup: true, room: None, ..push }));
    (deduplicated(), deduplicated(), deduplicated())
        .prop_map(|(before, within, after)| vec![before, Op::WindowPasses, within, Op::WindowPasses, after])
}

/// The queue is of this format or that, and consumers come that know it, or only older ones.
fn formats() -> impl Strategy<Value = Vec<Op>> {
    let format = prop::sample::select(vec!["1", "2", "3", "1.5", "2.0-beta", "nan"]);
    let again = (who(), knows()).prop_map(|(who, knows)| Op::JoinAgain(who, knows));
    let join = prop_oneof![3 => join(), 1 => again];
    (format, vec(join, 1..4)).prop_map(|(format, joins)| {
        let set = |format| [Op::Set("version", format)];
        set(format).into_iter().chain(joins).chain(set("")).collect()
    })
}

fn join() -> impl Strategy<Value = Op> {
    let lease = prop_oneof![Just(10_000_u64), Just(30_000), Just(60_000)];
    (0..SLOTS as u8, lease, knows()).prop_map(|(slot, lease, knows)| Op::Join(slot, lease, knows))
}

/// The newest format that a consumer knows; the first ones did not say.
fn knows() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![1 => Just(None), 3 => (1..4_u32).prop_map(Some)]
}

fn op() -> impl Strategy<Value = Op> {
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
        4 => join(),
        1 => (who(), knows()).prop_map(|(who, knows)| Op::JoinAgain(who, knows)),
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
        2 => Just(Op::PublicExpires),
        3 => setting().prop_map(|(name, value)| Op::Set(name, value)),
        2 => vec(any::<u8>(), 1..4).prop_map(Op::Replay),
        2 => vec(any::<u8>(), 1..3).prop_map(Op::DeadRemove),
        2 => (place, few()).prop_map(|(place, most)| Op::Purge(place, most)),
        2 => few().prop_map(Op::HandBackRedo),
        1 => vec(any::<u8>(), 1..4).prop_map(Op::HandBackDelayed),
        2 => (who(), few()).prop_map(|(who, most)| Op::HandBackInFlight(who, most)),
        2 => (raw_place, few()).prop_map(|(place, most)| Op::HandBackRaw(place, most)),
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
    let room = prop_oneof![5 => Just(None), 1 => (-2..10_isize).prop_map(Some)];
    (any::<bool>(), prop::bool::weighted(0.1), room, vec((lane, due, id), 1..12))
        .prop_map(|(dedup, wrong_generation, room, items)| PushOp { dedup, wrong_generation, room, items })
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
        1 => Just(("version", "1")),
    ]
}
