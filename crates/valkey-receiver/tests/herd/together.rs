//! Consumers in processes of their own, half of which are killed and half drained at one instant, round after round.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use valkey_connection::Command;
use valkey_envelope::{DeadBody, DeadReason, Envelope, InFlight};
use valkey_receiver::Message;
use valkey_testkit::{Figures, TestServer, progress};

use crate::child::{Part, Process, heed, say};
use crate::fleet::Sender;
use crate::ledger::Ledger;
use crate::support::{Bed, PATIENCE};
use crate::{
    LEASE, MEMBERS, WORK, bound_in_flight, lonely_bed, nothing_is_left, server_ms, settings, until_alone,
};

const ROUNDS: usize = 6;
/// With `VALKIT_LONG=1`.
const LONG_ROUNDS: usize = 40;
/// What recovery may take beyond the lease.
const SLACK: Duration = Duration::from_secs(1);
/// Unless set.
const MAX_CRASHES: u32 = 3;

/// What was in flight with consumers that were killed.
#[derive(Default)]
struct Strikes {
    /// Consumers that were seen dead.
    seen: BTreeSet<String>,
    /// How many consumers died with each message.
    by_number: BTreeMap<u32, u32>,
    /// Messages that were alone with the last one that died with them.
    alone: BTreeSet<u32>,
}

impl Strikes {
    /// Reads what the consumers hold that are dead by now, while nobody lives who could move it.
    async fn read(&mut self, bed: &Bed) {
        for cid in bed.consumers().await {
            if !self.seen.insert(cid.clone()) {
                continue;
            }
            let held = bed.ask(Command::new("HGETALL").key(bed.keys.inflight(&cid))).await;
            let claims = held.into_pairs().unwrap().into_iter();
            let claims = claims.filter_map(|(field, value)| {
                InFlight::of_field(&field.into_bytes().unwrap(), value.into_bytes().unwrap())
            });
            let numbers: Vec<u32> = claims.map(|claim| number(&claim.frame.raw)).collect();
            let alone = numbers.len() == 1;
            for number in numbers {
                self.alone.remove(&number);
                if alone {
                    self.alone.insert(number);
                }
                *self.by_number.entry(number).or_default() += 1;
            }
        }
    }
}

fn number(raw: &[u8]) -> u32 {
    Envelope::decode(raw).unwrap().payload_as().unwrap()
}

/// Writes down what they say until `word`, or for so long.
async fn listen(members: &mut [Process], ledger: &Ledger, duration: Duration) -> Vec<String> {
    let deadline = Instant::now() + duration;
    let each = members.iter_mut().map(|member| async move {
        let mut warnings = Vec::new();
        while let Ok(Some(line)) = tokio::time::timeout_at(deadline, member.hear_or_wait()).await {
            note(&line, ledger, &mut warnings);
        }
        warnings
    });
    join_all(each).await.concat()
}

fn note(line: &str, ledger: &Ledger, warnings: &mut Vec<String>) {
    match line.strip_prefix("warned ") {
        Some(warning) => warnings.push(warning.to_owned()),
        None => ledger.read(line),
    }
}

/// Starts all of them at the same instant; returns when each has joined.
async fn gather(bed: &Bed, ledger: &Ledger) -> (Vec<Process>, Vec<String>) {
    let mut members: Vec<_> = (0..MEMBERS).map(|_| Process::spawn(bed, "herd")).collect();
    join_all(members.iter_mut().map(|member| member.until("ready"))).await;
    join_all(members.iter_mut().map(|member| member.tell("go"))).await;
    let said = join_all(members.iter_mut().map(|member| member.until("joined"))).await;
    let mut warnings = Vec::new();
    said.iter().flatten().for_each(|line| note(line, ledger, &mut warnings));
    (members, warnings)
}

/// Hears them out, and sees how they end.
async fn bury(members: Vec<Process>, killed: bool, ledger: &Ledger) -> Vec<String> {
    let each = members.into_iter().map(|mut member| async move {
        let mut warnings = Vec::new();
        while let Some(line) = member.hear().await {
            note(&line, ledger, &mut warnings);
        }
        let status = member.end().await;
        assert_eq!(
            (status.signal() == Some(9), status.success()),
            (killed, !killed),
            "{status}: {warnings:?}"
        );
        warnings
    });
    join_all(each).await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_consumers_that_end_and_start_together_lose_nothing_and_leave_nothing_behind() {
    let seed =
        std::env::var("VALKIT_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("herd: VALKIT_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bed = lonely_bed(TestServer::builder(), "herd").await;
    bound_in_flight(&bed).await;
    let (ledger, mut strikes, mut warnings) = (Ledger::default(), Strikes::default(), Vec::new());
    let sender = Sender::in_batches(&bed, bed.connection.clone(), 60, Duration::from_millis(10));

    let rounds = if valkey_testkit::is_long() { LONG_ROUNDS } else { ROUNDS };
    let (mut killed_ms, mut fresh) = (0, BTreeSet::new());
    for round in 1..=rounds {
        progress(format_args!("round {round} of {rounds}"));
        let (mut members, warned) = gather(&bed, &ledger).await;
        warnings.extend(warned);
        let lives = Duration::from_millis(random.random_range(200..900));
        warnings.extend(listen(&mut members, &ledger, lives).await);
        members.shuffle(&mut random);
        let mut drained = members.split_off(MEMBERS / 2);
        let tell = join_all(drained.iter_mut().map(|member| member.tell("drain")));
        tokio::join!(Process::signal_all(&members, "KILL"), tell);
        let buried = tokio::join!(bury(members, true, &ledger), bury(drained, false, &ledger));
        warnings.extend(buried.0.into_iter().chain(buried.1));
        // What a dead one has sent at last is carried out once its connections are gone.
        until_alone(&bed).await;
        killed_ms = server_ms(&bed).await;
        let known = strikes.seen.clone();
        strikes.read(&bed).await;
        fresh = strikes.seen.difference(&known).cloned().collect();
        assert!(fresh.len() <= MEMBERS / 2, "who drains leaves no name: {fresh:?}");
    }

    let (mut members, warned) = gather(&bed, &ledger).await;
    warnings.extend(warned);
    let mut recovered = None;
    while recovered.is_none() {
        warnings.extend(listen(&mut members, &ledger, Duration::from_millis(10)).await);
        let there: BTreeSet<String> = bed.consumers().await.into_iter().collect();
        let took = Duration::from_millis((server_ms(&bed).await - killed_ms).unsigned_abs());
        recovered = there.is_disjoint(&fresh).then_some(took);
        assert!(took <= LEASE + SLACK, "what the last ones held is not free after {took:?}");
    }
    let sent = sender.stop().await;
    let deadline = Instant::now() + 2 * PATIENCE;
    while bed.held_anywhere().await > 0 {
        assert!(Instant::now() < deadline, "the queue is emptied");
        warnings.extend(listen(&mut members, &ledger, Duration::from_millis(50)).await);
    }
    join_all(members.iter_mut().map(|member| member.tell("drain"))).await;
    warnings.extend(bury(members, false, &ledger).await);

    let dead = bed.dead().await;
    let condemned: BTreeSet<u32> = dead.iter().map(|body| number(&body.raw)).collect();
    let missing = sent.lost(&ledger).into_iter().filter(|number| !condemned.contains(number));
    let lost: Vec<u32> = missing.collect();
    let most = strikes.by_number.values().copied().max().unwrap_or_default();
    let note = format!(
        "{rounds} rounds of {MEMBERS}, {} killed; {} messages struck, the worst {most} times; {} warnings, {} dead letters",
        strikes.seen.len(),
        strikes.by_number.len(),
        warnings.len(),
        dead.len()
    );
    let again = ledger.handed_out_more_than_once();
    let figures = Figures::new().sent(sent.tried() as u64).lost(lost.len() as u64).twice(again.len() as u64);
    figures.recovery(recovered.unwrap()).note(note).publish();
    eprintln!("confirmed {}, struck {}, recovered {recovered:?}", sent.confirmed(), strikes.by_number.len());
    assert_eq!(lost, [0; 0]);
    assert_eq!(warnings, [""; 0], "no take fails because many are made");
    // A crash is counted for what was in flight at one, and for nothing else.
    let mut counted = ledger.crashes();
    let mut struck = strikes.by_number.clone();
    for DeadBody { meta, raw } in &dead {
        let number = number(raw);
        assert_eq!(meta.reason, DeadReason::Crashed);
        assert!(meta.crashes >= MAX_CRASHES && strikes.alone.contains(&number), "{meta:?} did no harm");
        assert_eq!(struck.remove(&number), Some(meta.crashes));
        counted.remove(&number);
    }
    assert_eq!(counted, struck);
    assert!(struck.len() >= MEMBERS, "{} messages are no storm", struck.len());
    assert!(again.iter().all(|number| strikes.by_number.contains_key(number)), "twice only what was struck");
    until_alone(&bed).await;
    nothing_is_left_but(&bed, &dead).await;
}

/// The dead letters stay, for a person to look at; here somebody has.
async fn nothing_is_left_but(bed: &Bed, dead: &[DeadBody]) {
    if !dead.is_empty() {
        bed.ask(Command::new("DEL").key(bed.keys.dead())).await;
        bed.ask(Command::new("DEL").key(bed.keys.dead_body())).await;
    }
    nothing_is_left(bed).await;
}

/// A consumer in a process of its own.
pub(crate) fn play(part: Part) {
    /// Each warning is a line for the parent.
    struct Aloud;

    impl Write for Aloud {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            say(format_args!("warned {}", String::from_utf8_lossy(bytes).trim_end()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    part.play(async |part| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false);
        tracing::subscriber::set_global_default(log.with_writer(|| Aloud).finish()).unwrap();
        say("ready");
        heed().await;
        let receiver = part.receiver(settings()).await;
        say("joined");
        let service = receiver.serve(async |message: Message| {
            let number: u32 = message.payload_as().unwrap();
            say(format_args!("handed {number} {}", message.crashes()));
            tokio::time::sleep(WORK).await;
            say(format_args!("done {number}"));
        });
        let report = service.with_graceful_shutdown(async { drop(heed().await) }).await.unwrap();
        assert!(report.is_clean(), "{report}");
    });
}
