//! The server's state is rolled back under consumers that live, to an older snapshot or by the loss of the end of its
//! append-only file. What becomes of an effect then depends on where its mark is: with the effect, or on the server alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use valkey_connection::Command;
use valkey_envelope::Envelope;
use valkey_receiver::inbox::{IN_DOUBT, OnDoubt, ValkeyInbox, Write, Writes, in_transaction};
use valkey_receiver::{Handler, Message, Outcome, ReceiverSettings};
use valkey_testkit::{Figures, TestServer};

use crate::store::{FileStore, FileTx};
use crate::support::{Bed, soon, until};

/// Handled and settled before the state that comes back.
const BEFORE: Range<u32> = 1..21;
/// In the middle of its effect in the state that comes back.
const UNDER_WAY: u32 = 21;
/// Waiting in it, and handled after it.
const WAITING: Range<u32> = 22..42;
/// Sent after it, and handled.
const AFTER: Range<u32> = 42..62;
/// Sent after it, and never handled.
const UNSEEN: Range<u32> = 62..72;
const SENT: u32 = UNSEEN.end - 1;

/// Of the claims of a guard: longer than the effect under way is held up.
const CLAIM: Duration = Duration::from_secs(5);

/// By what the state is rolled back.
#[derive(Clone, Copy, Debug)]
enum Way {
    Snapshot,
    FileWithoutItsEnd,
}

/// Holds up the effect that is to be under way, the first time.
#[derive(Clone)]
struct Gate(Arc<(watch::Sender<bool>, watch::Sender<bool>)>);

/// How often effects happened that are not on the server.
#[derive(Clone, Default)]
struct Elsewhere(Arc<Mutex<BTreeMap<u32, u32>>>);

/// How often each effect has happened in the end, and which messages are dead letters.
#[derive(Debug, PartialEq, Eq)]
struct Aftermath {
    effects: BTreeMap<u32, u32>,
    in_doubt: BTreeSet<u32>,
}

// === impl Way ===

impl Way {
    const BOTH: [Self; 2] = [Self::Snapshot, Self::FileWithoutItsEnd];

    const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "older snapshot",
            Self::FileWithoutItsEnd => "end of the append-only file lost",
        }
    }

    async fn bed(self) -> Bed {
        let server = match self {
            Self::Snapshot => TestServer::builder(),
            Self::FileWithoutItsEnd => TestServer::builder().append_only(true),
        };
        Bed::on(Box::leak(Box::new(server.start().await.unwrap())), "inbox").await
    }

    /// This state is to come back: how long its file is, if that is what decides.
    async fn remember(self, bed: &Bed) -> usize {
        match self {
            Self::Snapshot => {
                bed.server.cli(&["SAVE"]).await.unwrap();
                0
            }
            Self::FileWithoutItsEnd => bed.server.append_only_file().await.unwrap().len(),
        }
    }

    /// The server dies, and comes up again with what it was to remember.
    async fn roll_back(self, bed: &Bed, remembered: usize) {
        bed.server.kill().await.unwrap();
        if let Self::FileWithoutItsEnd = self {
            let written = bed.server.append_only_file().await.unwrap().len();
            bed.server.lose_append_only_tail((written - remembered) as u64).await.unwrap();
        }
        bed.server.restart().await.unwrap();
        until("the server", async || bed.connection.ping().await.ok()).await;
    }
}

// === impl Gate ===

impl Gate {
    fn new() -> Self {
        Self(Arc::new((watch::Sender::new(false), watch::Sender::new(false))))
    }

    /// Passed by whoever works on a message.
    async fn pass(&self, number: u32) {
        if number == UNDER_WAY {
            self.0.0.send_replace(true);
            self.0.1.subscribe().wait_for(|open| *open).await.unwrap();
        }
    }

    async fn until_somebody_waits(&self) {
        soon("the effect to be under way", self.0.0.subscribe().wait_for(|there| *there)).await.unwrap();
    }

    fn open(&self) {
        self.0.1.send_replace(true);
    }
}

async fn pause(bed: &Bed, paused: bool) {
    let control = bed.keys.control();
    bed.ask(if paused {
        Command::new("HSET").key(control).arg("paused").arg("1")
    } else {
        Command::new("HDEL").key(control).arg("paused")
    })
    .await;
}

async fn push(bed: &Bed, numbers: Range<u32>) {
    for number in numbers {
        bed.push(&Envelope::new(&number).unwrap()).await;
    }
}

/// Lets `handler` work through the whole of it; `effects` counts them in the end.
async fn roll_back_under(
    bed: &Bed,
    way: Way,
    gate: &Gate,
    handler: impl Handler,
    effects: impl AsyncFnOnce() -> BTreeMap<u32, u32>,
) -> Aftermath {
    let receiver = bed.receiver(ReceiverSettings::default()).await;
    let end = receiver.handle();
    let service = tokio::spawn(receiver.serve(handler).into_future());
    push(bed, BEFORE).await;
    bed.until_empty().await;
    push(bed, UNDER_WAY..UNDER_WAY + 1).await;
    gate.until_somebody_waits().await;
    pause(bed, true).await;
    push(bed, WAITING).await;
    let remembered = way.remember(bed).await;

    pause(bed, false).await;
    gate.open();
    push(bed, AFTER).await;
    bed.until_empty().await;
    pause(bed, true).await;
    push(bed, UNSEEN).await;
    way.roll_back(bed, remembered).await;
    let again = bed.held_anywhere().await;
    let (all, unseen) = ((WAITING.end - UNDER_WAY).into(), (UNSEEN.end - UNSEEN.start).into());
    assert!(again > unseen && again <= all, "{again} are there again");
    pause(bed, false).await;
    bed.until_empty().await;
    end.drain();
    let report = soon("the end", service).await.unwrap().unwrap();

    let dead = bed.dead().await;
    assert!(dead.iter().all(|dead| dead.meta.reason.as_str() == IN_DOUBT), "{dead:?}");
    let number = |raw: &[u8]| Envelope::decode(raw).unwrap().payload_as::<u32>().unwrap();
    let in_doubt = dead.iter().map(|dead| number(&dead.raw)).collect();
    let aftermath = Aftermath { effects: effects().await, in_doubt };
    eprintln!("{}: {report}", way.name());
    aftermath
}

impl Aftermath {
    /// Effects that happened so often, and what is in doubt.
    fn expected(effects: &[(Range<u32>, u32)], in_doubt: &[u32]) -> Self {
        let each = effects.iter().flat_map(|(numbers, times)| numbers.clone().map(|number| (number, *times)));
        Self { effects: each.collect(), in_doubt: in_doubt.iter().copied().collect() }
    }

    fn publish(&self, kind: &str, way: Way) {
        let lost =
            (1..=SENT).filter(|number| !self.effects.contains_key(number) && !self.in_doubt.contains(number));
        let twice = self.effects.values().filter(|times| **times > 1).count();
        Figures::case(format!("{kind}, {}", way.name()))
            .sent(SENT.into())
            .lost(lost.count() as u64)
            .twice(twice as u64)
            .note(format!("effects twice; {} in doubt", self.in_doubt.len()))
            .publish();
    }
}

/// Whoever has the mark where the effect is loses both or neither: what comes again is done again exactly if it was undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rollback_writes_to_valkey_have_happened_once_or_are_undone_with_their_message() {
    for way in Way::BOTH {
        let (bed, gate) = (way.bed().await, Gate::new());
        let happened = bed.keys.app("happened");
        let (key, at) = (happened.clone(), gate.clone());
        let handler = ValkeyInbox::new(&bed.connection).apply(move |message: Message| {
            let (key, gate) = (key.clone(), at.clone());
            async move {
                let number: u32 = message.payload_as().unwrap();
                gate.pass(number).await;
                Ok::<_, Outcome>(Writes::from(Write::new("HINCRBY").key(key).arg(number).arg(1_u32)))
            }
        });
        let effects = async || {
            let all = bed.ask(Command::new("HGETALL").key(happened.as_str())).await.into_pairs().unwrap();
            let number = |reply: &valkey_connection::Reply| u32::try_from(reply.as_int().unwrap()).unwrap();
            all.iter().map(|(name, times)| (number(name), number(times))).collect()
        };
        let aftermath = roll_back_under(&bed, way, &gate, handler, effects).await;
        aftermath.publish("apply", way);
        assert_eq!(aftermath, Aftermath::expected(&[(BEFORE.start..WAITING.end, 1)], &[]), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rollback_effects_in_a_database_have_happened_once() {
    for way in Way::BOTH {
        let (bed, gate) = (way.bed().await, Gate::new());
        let file = std::env::temp_dir().join(format!("{}.txt", valkey_testkit::unique_name("inbox")));
        let store = FileStore::new(file.clone());
        let at = gate.clone();
        let handler = in_transaction(store.clone(), move |message: Message, mut tx: FileTx| {
            let gate = at.clone();
            async move {
                let number: u32 = message.payload_as().unwrap();
                gate.pass(number).await;
                tx.put(number);
                Ok::<_, Outcome>(tx)
            }
        });
        let effects = async || {
            let mut effects = BTreeMap::new();
            for number in store.effects() {
                *effects.entry(number).or_default() += 1;
            }
            effects
        };
        let aftermath = roll_back_under(&bed, way, &gate, handler, effects).await;
        std::fs::remove_file(file).unwrap();
        aftermath.publish("transaction", way);
        assert_eq!(aftermath, Aftermath::expected(&[(BEFORE.start..AFTER.end, 1)], &[]), "{way:?}");
    }
}

/// The mark is on the server and the effect is not: what the server has forgotten happens again, whatever was to become of
/// doubt. There is doubt only where it remembers that a run began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rollback_effects_elsewhere_happen_again_where_their_mark_is_undone() {
    for (on_doubt, kind) in
        [(OnDoubt::DeadLetter, "guard, dead letter"), (OnDoubt::RunAgain, "guard, run again")]
    {
        for way in Way::BOTH {
            let (bed, gate, elsewhere) = (way.bed().await, Gate::new(), Elsewhere::default());
            let (at, happened) = (gate.clone(), elsewhere.clone());
            let handler =
                ValkeyInbox::new(&bed.connection).lease(CLAIM).guard(on_doubt, move |message: Message| {
                    let (gate, happened) = (at.clone(), happened.clone());
                    async move {
                        let number: u32 = message.payload_as().unwrap();
                        gate.pass(number).await;
                        *happened.0.lock().unwrap().entry(number).or_default() += 1;
                    }
                });
            let effects = async || elsewhere.0.lock().unwrap().clone();
            let aftermath = roll_back_under(&bed, way, &gate, handler, effects).await;
            aftermath.publish(kind, way);
            let under_way = UNDER_WAY..UNDER_WAY + 1;
            let (times, in_doubt) = match on_doubt {
                OnDoubt::DeadLetter => (1, &[UNDER_WAY][..]),
                OnDoubt::RunAgain => (2, &[][..]),
            };
            let expected = [(BEFORE, 1), (under_way, times), (WAITING, 2), (AFTER, 1)];
            assert_eq!(aftermath, Aftermath::expected(&expected, in_doubt), "{kind}, {way:?}");
        }
    }
}
