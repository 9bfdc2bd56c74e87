//! Many consumers that end and start together, again and again, and a server that restarts under all of them: nothing is
//! lost, crashes are counted where there was one, nobody leaves anything behind, and nobody is crowded out.
#![allow(clippy::unwrap_used)]

#[path = "support/child.rs"]
mod child;
#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/rig.rs"]
mod rig;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_envelope::{DeadBody, DeadReason, Envelope, InFlight, QueueName};
use valkey_receiver::{Message, ReceiverSettings};
use valkey_testkit::{Figures, TestServer, TestServerBuilder, progress, unique_name};

use child::{Part, Process, heed, say};
use fleet::{Fleet, Sender};
use ledger::Ledger;
use support::{Bed, PATIENCE, until};

const MEMBERS: usize = 32;
const ROUNDS: usize = 6;
/// With `VALKIT_LONG=1`.
const LONG_ROUNDS: usize = 40;
const LEASE: Duration = Duration::from_secs(6);
/// What recovery may take beyond the lease.
const SLACK: Duration = Duration::from_secs(1);
/// So long that all hands are full: together they finish no more than is sent.
const WORK: Duration = Duration::from_millis(50);
/// Unless set.
const MAX_CRASHES: u32 = 3;

fn settings() -> ReceiverSettings {
    let settings = ReceiverSettings::default().lease(LEASE).prefetch(12.try_into().unwrap());
    settings.max_concurrent_messages(4.try_into().unwrap())
}

/// What was in flight with consumers that were killed.
#[derive(Default)]
struct Strikes {
    /// Consumers that were seen dead.
    seen: BTreeSet<String>,
    /// How many consumers died with each message.
    by_number: BTreeMap<u32, u32>,
    /// Messages that were alone with one when it died.
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
            let claims = claims.filter_map(|(_, value)| InFlight::decode(value.into_bytes().unwrap()).ok());
            let numbers: Vec<u32> = claims.map(|claim| number(&claim.frame.raw)).collect();
            if let [alone] = numbers[..] {
                self.alone.insert(alone);
            }
            for number in numbers {
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

async fn server_ms(bed: &Bed) -> i64 {
    let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
    time[0].as_int().unwrap() * 1000 + time[1].as_int().unwrap() / 1000
}

/// Whom everybody here comes in as: a client of something else, which had its server under this address before, is told
/// apart.
const USER: &str = "herd";

/// A queue on a server of its own, with one connection to it.
async fn lonely_bed(server: TestServerBuilder, name: &str) -> Bed {
    let server = server.acl_user(USER, "pw", "~* &* +@all").start().await.unwrap();
    // Ended with the process.
    let server: &'static TestServer = Box::leak(Box::new(server));
    let settings = ConnectionSettings::from_url(&server.url()).unwrap().pool_size(1);
    let connection = Connection::connect(&settings).await.unwrap();
    let queue: QueueName = unique_name(name).parse().unwrap();
    let bed = Bed { server, connection, keys: queue.keys(), queue };
    until_alone(&bed).await;
    bed
}

/// Waits until nobody here has a connection but the bed.
async fn until_alone(bed: &Bed) {
    let ours = format!(" user={USER} ");
    until("the end of all other connections", async || {
        let clients = bed.ask(Command::new("CLIENT").arg("LIST")).await.into_string().unwrap();
        (clients.lines().filter(|client| client.contains(&ours)).count() == 1).then_some(())
    })
    .await;
}

/// Lets each consumer write down how many it holds: so wide a bound holds up nobody.
async fn bound_in_flight(bed: &Bed) {
    let bound = Command::new("HSET").key(bed.keys.control()).args(["max_in_flight", "1000000"]);
    bed.ask(bound).await;
}

/// Nothing is left that only one consumer knew: no name, no hash, no count.
async fn nothing_is_left(bed: &Bed) {
    bed.until_clean().await;
    let control = bed.ask(Command::new("HKEYS").key(bed.keys.control())).await.into_array().unwrap();
    let counts = control.into_iter().map(|field| field.into_string().unwrap());
    assert_eq!(counts.filter(|field| field.starts_with("n:")).collect::<Vec<_>>(), [""; 0]);
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

/// The dead letters are to stay.
async fn nothing_is_left_but(bed: &Bed, dead: &[DeadBody]) {
    if !dead.is_empty() {
        bed.ask(Command::new("DEL").key(bed.keys.dead())).await;
        bed.ask(Command::new("DEL").key(bed.keys.dead_body())).await;
    }
    nothing_is_left(bed).await;
}

/// The consumers of the first test, each in a process of its own.
#[test]
fn consumer_process() {
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

    let Some(part) = Part::given() else { return };
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

/// Long enough that nobody loses it by waiting for a turn.
const LONG_LEASE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_many_consumers_is_found_by_all_and_nobody_is_taken_for_dead() {
    let bed = lonely_bed(TestServer::builder().append_only(true), "herd-restart").await;
    bound_in_flight(&bed).await;
    let connection = ConnectionSettings::from_url(&bed.server.url()).unwrap().pool_size(1);
    let settings = settings().lease(LONG_LEASE);
    let fleet = Fleet::start(&bed, &connection, MEMBERS, &settings, WORK).await;
    let way = Connection::connect(&connection).await.unwrap();
    let sender = Sender::in_batches(&bed, way, 20, Duration::from_millis(10));
    let names: BTreeSet<String> = bed.consumers().await.into_iter().collect();
    assert_eq!(names.len(), MEMBERS);

    let (mut recovery, mut refusals, mut dials) = (Duration::ZERO, BTreeMap::new(), 0);
    for kill in [false, true, false] {
        let before = fleet.ledger.finished();
        until("work", async || (fleet.ledger.finished() > before + 500).then_some(())).await;
        if kill {
            bed.server.kill().await.unwrap();
        }
        bed.server.restart().await.unwrap();
        let restarted = Instant::now();
        until("the server", async || bed.connection.ping().await.ok()).await;
        let since_ms = server_ms(&bed).await;
        until("all of them", async || (renewed_since(&bed, since_ms).await == MEMBERS).then_some(())).await;
        recovery = recovery.max(restarted.elapsed());
        let now: BTreeSet<String> = bed.consumers().await.into_iter().collect();
        assert_eq!(now, names, "each is back within its lease, under its name");
        for (refusal, count) in refused(&bed).await {
            *refusals.entry(refusal).or_insert(0) += count;
        }
        dials = dials.max(stat(&bed, "stats", "total_connections_received:").await);
    }
    let confirmed = sender.confirmed();
    until("more work", async || (sender.confirmed() > confirmed + 500).then_some(())).await;
    let sent = sender.stop().await;
    bed.until_empty().await;
    assert!(fleet.is_whole());
    let ledger = fleet.ledger.clone();
    let report = fleet.drain().await;
    let again = ledger.handed_out_more_than_once();
    sent.figures(Figures::new(), &ledger)
        .recovery(recovery)
        .note(format!(
            "{MEMBERS} consumers; recovery: until all had renewed; at most {dials} connections made after one restart; {}",
            sent.unknown()
        ))
        .publish();
    eprintln!("confirmed {}, {recovery:?}, {dials} connections, {refusals:?}; {report}", sent.confirmed());
    assert_eq!(sent.lost(&ledger), [0; 0]);
    assert!(again.is_empty(), "{again:?}: an answer that was lost is asked for again, not handed out again");
    assert_eq!((ledger.most_crashes(), bed.dead().await), (0, vec![]));
    assert!(report.is_clean(), "{report}");
    // A consumer has four: its pool, its takes, its parks, its bell.
    assert!(dials <= 4 * 4 * MEMBERS as u64, "{dials} connections were made after one restart");
    // A server that has just started does not know the scripts, and says so while it loads: nothing else is refused.
    refusals.retain(|refusal, _| !["NOSCRIPT", "LOADING"].contains(&refusal.as_str()));
    assert_eq!(refusals, BTreeMap::new());
    nothing_is_left(&bed).await;
}

/// How many consumers have renewed their lease at this time of the server's or later.
async fn renewed_since(bed: &Bed, since_ms: i64) -> usize {
    let least = since_ms + i64::try_from(LONG_LEASE.as_millis()).unwrap();
    let count = Command::new("ZCOUNT").key(bed.keys.consumers()).arg(least).arg("+inf");
    usize::try_from(bed.ask(count).await.as_int().unwrap()).unwrap()
}

/// What the server has refused since its start, by the first word of its answer.
async fn refused(bed: &Bed) -> Vec<(String, u64)> {
    let errors = bed.ask(Command::new("INFO").arg("errorstats")).await.into_string().unwrap();
    let lines = errors.lines().filter_map(|line| line.strip_prefix("errorstat_")?.split_once(":count="));
    lines.map(|(refusal, count)| (refusal.to_owned(), count.trim().parse().unwrap())).collect()
}

async fn stat(bed: &Bed, section: &'static str, name: &str) -> u64 {
    let info = bed.ask(Command::new("INFO").arg(section)).await.into_string().unwrap();
    info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}
