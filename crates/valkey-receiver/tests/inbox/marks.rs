//! What an inbox makes of a message, by the mark it finds and by what the handler says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use valkey_connection::{Command, Connection, ConnectionSettings, Script};
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::inbox::{IN_DOUBT, Mark, OnDoubt, OnMissingKey, ValkeyInbox, Write, Writes};
use valkey_receiver::{Handler, Message, Outcome};
use valkey_testkit::{Cut, CutOutcome, FaultProxy, Figures};

use crate::consumer::settings;
use crate::support::{Bed, soon, until};

/// Counts how often it is run, and answers each time what it is told to.
#[derive(Clone)]
struct Counted {
    runs: Arc<AtomicU32>,
    answer: Outcome,
    takes: Duration,
}

impl Counted {
    fn answering(answer: Outcome) -> Self {
        Self { runs: Arc::default(), answer, takes: Duration::ZERO }
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    /// Shares the count.
    fn now_answering(&self, answer: Outcome) -> Self {
        Self { answer, ..self.clone() }
    }
}

impl Handler for Counted {
    async fn handle(&self, _: Message) -> Outcome {
        self.runs.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.answer.clone()
    }
}

fn message(bed: &Bed, id: &str) -> Message {
    Message::detached(Envelope::new(&7).unwrap().with_id(id), &bed.queue)
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::DeadLetter { reason, .. } => reason.as_str(),
        other => other.name(),
    }
}

/// How often the effect of each message has happened.
fn publish_effects(times: &[u32]) {
    let (lost, twice) = (times.iter().filter(|times| **times == 0), times.iter().filter(|times| **times > 1));
    let figures = Figures::new().sent(times.len() as u64).lost(lost.count() as u64);
    figures.twice(twice.count() as u64).publish();
}

#[tokio::test]
async fn of_an_effect_that_happened_every_later_delivery_is_acked_without_it() {
    let bed = Bed::new("inbox").await;
    let (inbox, work) = (ValkeyInbox::new(&bed.connection), Counted::answering(Outcome::Ack));
    for on_doubt in [OnDoubt::DeadLetter, OnDoubt::RunAgain] {
        let guard = inbox.clone().guard(on_doubt, work.clone());
        for _ in 0..3 {
            assert_eq!(guard.handle(message(&bed, "a")).await, Outcome::Ack);
        }
    }
    let ran = work.runs();
    publish_effects(&[ran]);
    assert_eq!(ran, 1);
    assert_eq!(inbox.mark(&bed.queue, "a").await.unwrap(), Some(Mark::Done));
    assert_eq!(inbox.mark(&bed.queue, "b").await.unwrap(), None);
}

#[tokio::test]
async fn what_the_handler_refused_is_run_again() {
    let bed = Bed::new("inbox").await;
    let inbox = ValkeyInbox::new(&bed.connection);
    let work = Counted::answering(Outcome::Ack);
    let refusals = [
        Outcome::nack("busy"),
        Outcome::snooze(Duration::from_secs(1)),
        Outcome::dead_letter("no such user"),
    ];
    for refusal in refusals {
        let guard = inbox.clone().guard(OnDoubt::DeadLetter, work.now_answering(refusal.clone()));
        assert_eq!(guard.handle(message(&bed, "a")).await, refusal);
        assert_eq!(inbox.mark(&bed.queue, "a").await.unwrap(), None, "{refusal:?}");
    }
    let guard = inbox.guard(OnDoubt::DeadLetter, work.clone());
    assert_eq!(guard.handle(message(&bed, "a")).await, Outcome::Ack);
    assert_eq!(work.runs(), 4);
}

#[tokio::test]
async fn an_effect_in_doubt_waits_for_a_person_or_is_run_again_as_said() {
    let bed = Bed::new("inbox").await;
    let inbox = ValkeyInbox::new(&bed.connection);
    let work = Counted::answering(Outcome::Ack);
    let unsure = Outcome::dead_letter_as(IN_DOUBT.into(), "the gateway did not answer");
    let guard = inbox.clone().guard(OnDoubt::DeadLetter, work.now_answering(unsure.clone()));
    assert_eq!(guard.handle(message(&bed, "a")).await, unsure);
    assert_eq!(inbox.mark(&bed.queue, "a").await.unwrap(), Some(Mark::InDoubt));

    // Replayed, it is in doubt again, and not run.
    let guard = inbox.clone().guard(OnDoubt::DeadLetter, work.clone());
    assert_eq!(reason(&guard.handle(message(&bed, "a")).await), IN_DOUBT);
    assert_eq!(work.runs(), 1);
    // A person found out that it did not happen.
    assert!(inbox.forget(&bed.queue, "a").await.unwrap());
    assert!(!inbox.forget(&bed.queue, "a").await.unwrap());
    assert_eq!(guard.handle(message(&bed, "a")).await, Outcome::Ack);
    assert_eq!(work.runs(), 2);

    let guard = inbox.clone().guard(OnDoubt::RunAgain, work.now_answering(unsure));
    let _ = guard.handle(message(&bed, "b")).await;
    let guard = inbox.clone().guard(OnDoubt::RunAgain, work.clone());
    assert_eq!(guard.handle(message(&bed, "b")).await, Outcome::Ack);
    assert_eq!(work.runs(), 4);
    assert_eq!(inbox.mark(&bed.queue, "b").await.unwrap(), Some(Mark::Done));
}

#[tokio::test]
async fn a_run_that_outlasts_its_lease_is_dropped_and_in_doubt() {
    let bed = Bed::new("inbox").await;
    let inbox = ValkeyInbox::new(&bed.connection).lease(Duration::from_millis(300));
    let slow = Counted { takes: Duration::from_mins(1), ..Counted::answering(Outcome::Ack) };
    let guard = inbox.clone().guard(OnDoubt::DeadLetter, slow.clone());
    let outcome = soon("the end of the run", guard.handle(message(&bed, "a"))).await;
    assert_eq!(outcome.name(), "nack", "{outcome:?}");
    until("the end of the claim", async || {
        (inbox.mark(&bed.queue, "a").await.unwrap() == Some(Mark::InDoubt)).then_some(())
    })
    .await;
    assert_eq!(reason(&guard.handle(message(&bed, "a")).await), IN_DOUBT);
    assert_eq!(slow.runs(), 1);
}

#[tokio::test]
async fn duplicates_wait_for_the_run_that_is_under_way_and_none_runs_beside_it() {
    const IDS: usize = 50;
    let bed = Bed::new("inbox").await;
    let (running, most, runs) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let receiver = bed.receiver(settings()).await;
    let end = receiver.handle();
    let work = {
        let (running, most, runs) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&runs));
        move |_: Message| {
            let (running, most, runs) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&runs));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                runs.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    // All of one key, so that at most one may run.
    let inbox = ValkeyInbox::new(&bed.connection).lease(Duration::from_millis(200));
    let guard = inbox.key(|_| Some("the only one".to_owned())).guard(OnDoubt::RunAgain, work);
    for id in 0..IDS {
        bed.push(&Envelope::new(&id).unwrap()).await;
    }
    let service = tokio::spawn(receiver.serve(guard).into_future());
    bed.until_empty().await;
    end.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    // What was acked is finished: the others are on the server, or lost.
    let left: u64 = bed.census().await.values().sum();
    let lost = (IDS as u64).saturating_sub(report.acked + left);
    let twice = u64::from(runs.load(Ordering::SeqCst).saturating_sub(1));
    Figures::new().sent(IDS as u64).lost(lost).twice(twice).note("effects twice").publish();
    assert_eq!((runs.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (1, 1));
    assert_eq!((report.acked, report.dead), (IDS as u64, 0), "{report}");
    assert!(report.retried > 0, "some came while the first was at work: {report}");
}

#[tokio::test]
async fn a_message_without_an_id_is_kept_or_runs_each_time_as_said() {
    let bed = Bed::new("inbox").await;
    bed.push_raw(r#"{"payload":1}"#).await;
    let receiver = bed.receiver(settings()).await;
    let end = receiver.handle();
    let work = Counted::answering(Outcome::Ack);
    let guard = ValkeyInbox::new(&bed.connection).guard(OnDoubt::DeadLetter, work.clone());
    let service = tokio::spawn(receiver.serve(guard).into_future());
    let [dead] = <[_; 1]>::try_from(bed.until_dead(1).await).unwrap();
    assert_eq!(dead.meta.reason, DeadReason::from("no_inbox_key"));
    assert_eq!(dead.raw, r#"{"payload":1}"#);
    end.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    let left: u64 = bed.census().await.values().sum();
    Figures::new().sent(1).lost(1_u64.saturating_sub(report.acked + left)).publish();
    assert_eq!((report.dead, work.runs()), (1, 0));

    let each = ValkeyInbox::new(&bed.connection).on_missing_key(OnMissingKey::RunEachTime);
    let guard = each.guard(OnDoubt::DeadLetter, work.clone());
    for runs in 1..=2 {
        assert_eq!(guard.handle(message(&bed, "")).await, Outcome::Ack);
        assert_eq!(work.runs(), runs);
    }
}

#[tokio::test]
async fn a_mark_is_kept_for_the_retention_and_costs_what_is_written() {
    let bed = Bed::new("inbox-of-20-").await;
    let inbox = ValkeyInbox::new(&bed.connection).retention(Duration::from_secs(1));
    let inbox = inbox.lease(Duration::from_millis(100));
    let work = Counted::answering(Outcome::Ack);
    let guard = inbox.guard(OnDoubt::DeadLetter, work.clone());
    let id = "0198a3c2-7b1e-7cc3-98c4-dc0c0c07398f";
    assert_eq!(guard.handle(message(&bed, id)).await, Outcome::Ack);
    let key = ValkeyInbox::mark_key(&bed.queue, id);
    let ttl = bed.ask(Command::new("PTTL").key(key.as_str())).await.as_int().unwrap();
    assert!((1..=1000).contains(&ttl), "{ttl}");
    until("the end of the retention", async || {
        let exists = bed.ask(Command::new("EXISTS").key(key.as_str())).await;
        (exists.as_int().unwrap() == 0).then_some(())
    })
    .await;
    assert_eq!(guard.handle(message(&bed, id)).await, Outcome::Ack);
    assert_eq!(work.runs(), 2, "a message that comes after the retention is a new one");
}

/// On a server of its own, whose memory nobody else uses.
#[tokio::test]
async fn ten_thousand_marks_fit_into_what_the_documents_say() {
    const MARKS: i64 = 10_000;
    let server = Box::leak(Box::new(valkey_testkit::TestServer::start().await.unwrap()));
    let bed = Bed::on(server, "marks").await;
    let used = async || {
        let info = bed.ask(Command::new("INFO").arg("memory")).await.into_string().unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        used.trim().parse::<i64>().unwrap()
    };
    let guard =
        ValkeyInbox::new(&bed.connection).guard(OnDoubt::DeadLetter, Counted::answering(Outcome::Ack));
    let fresh = || Message::detached(Envelope::new(&7).unwrap(), &bed.queue);
    assert_eq!(guard.handle(fresh()).await, Outcome::Ack);
    let before = used().await;
    for _ in 0..MARKS / 100 {
        let some = (0..100).map(|_| guard.handle(fresh()));
        assert!(futures::future::join_all(some).await.iter().all(|outcome| *outcome == Outcome::Ack));
    }
    let keys = bed.ask(Command::new("DBSIZE")).await.as_int().unwrap();
    assert!(keys > MARKS, "{keys}");
    let each = (used().await - before) / MARKS;
    eprintln!("{each} bytes a mark, queue {}", bed.queue);
    Figures::new().note(format!("{each} bytes of the server's memory a mark")).publish();
    assert!((50..=220).contains(&each), "{each} bytes");
}

#[tokio::test]
async fn a_squatter_on_a_mark_is_left_alone_and_the_message_waits() {
    let bed = Bed::new("inbox").await;
    let key = ValkeyInbox::mark_key(&bed.queue, "a");
    let work = Counted::answering(Outcome::Ack);
    let inbox = ValkeyInbox::new(&bed.connection);
    let guard = inbox.clone().guard(OnDoubt::DeadLetter, work.clone());
    let apply = inbox.apply(async |_: Message| Ok::<_, Outcome>(Writes::from(Write::new("PING"))));
    for put in [
        Command::new("RPUSH").key(key.as_str()).arg("foreign"),
        Command::new("SET").key(key.as_str()).arg("foreign"),
    ] {
        bed.ask(put).await;
        assert_eq!(guard.handle(message(&bed, "a")).await.name(), "snooze");
        let outcome = apply.handle(message(&bed, "a")).await;
        assert!(matches!(outcome.name(), "snooze" | "nack"), "{outcome:?}");
        assert_eq!(bed.ask(Command::new("EXISTS").key(key.as_str())).await.as_int().unwrap(), 1);
        bed.ask(Command::new("DEL").key(key.as_str())).await;
    }
    assert_eq!(work.runs(), 0);
    assert_eq!(guard.handle(message(&bed, "a")).await, Outcome::Ack);
    publish_effects(&[work.runs()]);
    assert_eq!(work.runs(), 1);
}

/// Cuts the inbox's connection in each of its scripts: on the way there after some bytes, and before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_of_an_inbox_neither_doubles_an_effect_nor_leaves_it_in_doubt() {
    static SCRIPTS: [Script; 3] = [
        Script::new("claim", include_str!("../../lua/inbox_claim.lua")),
        Script::new("finish", include_str!("../../lua/inbox_finish.lua")),
        Script::new("apply", include_str!("../../lua/inbox_apply.lua")),
    ];
    let bed = Bed::new("inbox").await;
    let proxy = FaultProxy::start(&bed.server.address()).await.unwrap();
    let url = format!("valkey://{}", proxy.address());
    let through = ConnectionSettings::from_url(&url).unwrap().pool_size(1);
    let through = Connection::connect(&through).await.unwrap();
    let effects = bed.keys.app("effects");
    let direct = bed.connection.clone();
    let inbox = ValkeyInbox::new(&through);
    let guard = inbox.clone().guard(OnDoubt::DeadLetter, {
        let effects = effects.clone();
        move |message: Message| {
            let add = Command::new("HINCRBY").key(effects.as_str());
            let add = add.arg(message.envelope().id().as_str()).arg(1_u32);
            let direct = direct.clone();
            async move { direct.execute(add).await.map(drop) }
        }
    });
    let apply = inbox.apply({
        let effects = effects.clone();
        move |message: Message| {
            let write = Write::new("HINCRBY").key(effects.as_str());
            let write = write.arg(message.envelope().id().as_str()).arg(1_u32);
            async move { Ok::<_, Outcome>(Writes::from(write)) }
        }
    });
    let (mut cuts, mut handled) = (0, Vec::new());
    // Put off, as a receiver would do it.
    let mut handle_one = async |script: &Script| {
        let id = format!("{}-{}", script.name(), handled.len());
        handled.push(id.clone());
        loop {
            let message = message(&bed, &id);
            let outcome = if script.name() == "apply" {
                soon("an answer", apply.handle(message)).await
            } else {
                soon("an answer", guard.handle(message)).await
            };
            assert!(matches!(outcome.name(), "ack" | "snooze"), "{id}: {outcome:?}");
            if outcome == Outcome::Ack {
                break;
            }
        }
    };
    for (script, step) in SCRIPTS.iter().zip([31_usize, 31, 41]) {
        for side in [Cut::request_after, Cut::reply_before] {
            for bytes in (0..).step_by(step) {
                let mut cut = proxy.arm(side(bytes).of_command(script.sha().to_owned()));
                // What was meant may have travelled in two pieces: then once more.
                let mut became = None;
                for _ in 0..20 {
                    handle_one(script).await;
                    became = tokio::time::timeout(Duration::from_millis(200), cut.wait()).await.ok();
                    if became.is_some() {
                        break;
                    }
                }
                match became.expect("the command is sent") {
                    CutOutcome::Missed => break,
                    _ => cuts += 1,
                }
            }
        }
    }
    let pairs = bed.ask(Command::new("HGETALL").key(effects)).await.into_pairs().unwrap();
    let happened: BTreeMap<String, i64> =
        pairs.into_iter().map(|(id, times)| (id.into_string().unwrap(), times.as_int().unwrap())).collect();
    let lost = handled.iter().filter(|id| !happened.contains_key(*id)).count();
    let twice = happened.values().filter(|times| **times > 1).count();
    Figures::new()
        .sent(handled.len() as u64)
        .lost(lost as u64)
        .twice(twice as u64)
        .note(format!("{cuts} cuts"))
        .publish();
    eprintln!("{cuts} cuts, {} effects", happened.len());
    assert!(cuts >= 20, "{cuts}");
    assert!(happened.len() > cuts, "{} effects of {cuts} cuts", happened.len());
    assert_eq!((lost, twice), (0, 0));
}
