//! A consumer that stands still in the middle of an effect, and wakes up when others have taken over.

use std::time::Duration;

use valkey_connection::Command;
use valkey_envelope::Envelope;
use valkey_receiver::inbox::{IN_DOUBT, Mark, OnDoubt, ValkeyInbox};
use valkey_testkit::Figures;

use crate::child::Process;
use crate::consumer::{Effects, Kind, LEASE, serve};
use crate::store::FileStore;
use crate::support::{Bed, until};

/// One message whose consumer is stopped in the handler, before the effect, until another one has settled it; then it
/// wakes up and its effect happens. How often in the end.
async fn sleep_through(on_doubt: OnDoubt) -> (Bed, Effects, String, u32) {
    let bed = Bed::new("inbox").await;
    let envelope = Envelope::new(&1).unwrap();
    bed.push(&envelope).await;
    let effects = Effects::new(&bed.connection, &bed.keys);
    let kind = Kind::Guard(on_doubt);
    let mut sleeper = Process::spawn(&bed, &kind.role("dwell", 0));
    sleeper.until("ready").await;
    sleeper.tell("go").await;
    sleeper.until("in").await;
    sleeper.signal("STOP").await;
    let other = serve(&bed, &kind).await;
    bed.until_empty().await;
    sleeper.signal("CONT").await;
    sleeper.until("out").await;
    until("the effect of the sleeper", async || effects.happened().await.contains_key(&1).then_some(()))
        .await;
    sleeper.signal("KILL").await;
    sleeper.end().await;
    let happened = effects.happened().await.get(&1).copied().unwrap_or_default();
    other.drain();
    (bed, effects, envelope.id().as_str().to_owned(), happened)
}

/// How often the effect of the one message has happened.
fn publish(happened: u32) {
    let figures = Figures::new().sent(1).lost(u64::from(happened == 0)).twice(u64::from(happened > 1));
    figures.note("effects twice").publish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sleeps_through_its_lease_is_the_only_run_where_doubt_is_a_dead_letter() {
    let (bed, effects, _, happened) = sleep_through(OnDoubt::DeadLetter).await;
    let [dead] = <[_; 1]>::try_from(bed.dead().await).unwrap();
    publish(happened);
    assert_eq!(dead.meta.reason.as_str(), IN_DOUBT);
    assert_eq!((effects.begun().await[&1], happened), (1, 1));

    // Replayed by somebody who did not look: it is marked by now, or in doubt again. It is not run.
    bed.push_raw(dead.raw).await;
    let other = serve(&bed, &Kind::Guard(OnDoubt::DeadLetter)).await;
    bed.until_empty().await;
    other.drain();
    assert_eq!((effects.begun().await[&1], effects.happened().await[&1]), (1, 1));
}

/// The limit of every lease: nobody can stop who stands still. What can be promised is that its mark does not undo the
/// other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sleeps_through_its_lease_doubles_an_effect_where_doubt_is_run_again() {
    let (bed, effects, id, happened) = sleep_through(OnDoubt::RunAgain).await;
    publish(happened);
    assert_eq!((effects.begun().await[&1], happened), (2, 2));
    assert!(bed.dead().await.is_empty());
    let mark = ValkeyInbox::new(&bed.connection).mark(&bed.queue, &id).await.unwrap();
    assert_eq!(mark, Some(Mark::Done));
    let left = bed.ask(Command::new("GET").key(ValkeyInbox::mark_key(&bed.queue, &id))).await;
    assert_eq!(left.into_string().unwrap(), "d");
}

/// A row that is locked by somebody who stands still is nobody's failed attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sleeps_in_its_transaction_costs_its_message_time_and_no_attempt() {
    let bed = Bed::new("inbox").await;
    let file = std::env::temp_dir().join(format!("{}.txt", valkey_testkit::unique_name("inbox")));
    let store = FileStore::new(file.clone());
    bed.push(&Envelope::new(&1).unwrap()).await;
    let kind = Kind::Transaction(file.clone());
    let mut sleeper = Process::spawn(&bed, &kind.role("dwell", 0));
    sleeper.until("ready").await;
    sleeper.tell("go").await;
    sleeper.until("in").await;
    sleeper.signal("STOP").await;

    let other = serve(&bed, &kind).await;
    // By now the message is the other's, and has been found locked more often than it may fail.
    tokio::time::sleep(LEASE + Duration::from_secs(6)).await;
    assert!(bed.dead().await.is_empty());
    assert!(store.effects().is_empty());

    sleeper.signal("KILL").await;
    sleeper.end().await;
    bed.until_empty().await;
    other.drain();
    let happened = store.effects();
    std::fs::remove_file(file).unwrap();
    assert_eq!((happened.as_slice(), bed.dead().await.len()), (&[1][..], 0));
    publish(happened.len() as u32);
}
