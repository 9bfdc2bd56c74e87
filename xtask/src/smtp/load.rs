//! Load as real mail traffic has it, on the policy service and on the gates: how much, and what a check costs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::fleet::{Fleet, NODES, until};
use super::mail::Session;
use super::traffic::{self, LOUD, Traffic};
use super::{metrics, scenes, settings};
use crate::books::Books;
use crate::interrupt::interrupted;
use crate::{http, run};

const SCENE: &str = "load";

/// Where the policy service listens inside a node.
const POLICY: u16 = 10040;

/// Where `smtp-sink` listens inside a node: a mail server that does nothing, so that it is the gate that is measured.
const SINK: u16 = 10026;

/// Messages that one client may send in a minute.
const QUOTA: u64 = 100;

/// Connections to each policy service: as many as Postfix has processes at work.
const ASKERS: usize = 32;

/// Checks a second that each node has to do.
const ENOUGH: f64 = 10_000.0;

/// The settings under load: whoever generates it may say whose connection it is.
fn settings_for(fleet: &dyn Fleet) -> Result<String> {
    let trusted = format!("\"{}\"", fleet.clients());
    let listen = format!("\"0.0.0.0:{POLICY}\"");
    let backend = format!("\"127.0.0.1:{SINK}\"");
    let quota = format!("\"{QUOTA}/1m\"");
    settings::with(
        &settings::base()?,
        &[
            ("gate.trusted_proxies", &trusted),
            ("gate.backend", &backend),
            ("gate.backend_proxy", "false"),
            // On a busy machine an answer may be late, and the client then passes: right, but the books are of the limit.
            ("gate.check_timeout", "\"3s\""),
            ("policy.listen", &listen),
            ("policy.limits.sender.per", "\"client\""),
            ("policy.limits.sender.quota", &quota),
        ],
    )
}

/// Runs all of it.
pub(crate) fn run(fleet: &mut dyn Fleet, books: &mut Books, quick: bool) -> Result<()> {
    let lasting = Duration::from_secs(if quick { 2 } else { 10 });
    let settings = settings_for(fleet)?;
    policy(fleet, books, &settings, lasting, quick)?;
    gate(fleet, books, &settings, lasting)
}

fn policy(
    fleet: &mut dyn Fleet,
    books: &mut Books,
    settings: &str,
    lasting: Duration,
    quick: bool,
) -> Result<()> {
    run::step("policy service: one question after another on one connection a node");
    scenes::begin(fleet, settings)?;
    let pace = Duration::from_millis(5);
    let valkey = fleet.valkey_address()?;
    let until = Instant::now() + lasting;
    let bare = (0..NODES).map(|_| std::thread::spawn(move || pinger(valkey, until, pace))).collect();
    let light = ask(fleet, &[0, 1, 2], 1, lasting, Some(pace), 1)?;
    let bare = gather(bare)?;
    books.figure("bare round trip to Valkey at the same time: p50", bare.percentile(50), "ms");
    books.figure("bare round trip to Valkey at the same time: p99", bare.percentile(99), "ms");
    books.figure("policy service, 200 checks/s a node: p50", light.percentile(50), "ms");
    books.figure("policy service, 200 checks/s a node: p99", light.percentile(99), "ms");

    run::step(format_args!("policy service: {ASKERS} connections to one node"));
    scenes::begin(fleet, settings)?;
    let one = ask(fleet, &[0], ASKERS, lasting, None, 1_000)?;
    report(books, "policy service, one node", &one);

    run::step(format_args!("policy service: {ASKERS} connections to each of three nodes"));
    scenes::begin(fleet, settings)?;
    let before = pages(fleet)?;
    let all = ask(fleet, &[0, 1, 2], ASKERS, lasting, None, 2_000)?;
    report(books, "policy service, three nodes", &all);
    let after = pages(fleet)?;
    let buckets = metrics::buckets(&before, &after, "valkey_check_duration_seconds");
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        if let Some(bound) = metrics::quantile(&buckets, share) {
            books.figure(
                format!("valkey_check_duration_seconds under that load: {name} <="),
                bound * 1e3,
                "ms",
            );
        }
    }
    // A window has not passed since the first of them: of each loud client just the quota passes, on all nodes together.
    books.equal(SCENE, "messages that passed of each loud client", &[QUOTA; LOUD as usize], &all.passed);
    if !quick {
        let rate = one.rate();
        books.holds(SCENE, "checks/s of one node", ">= 10000", format_args!("{rate:.0}"), rate >= ENOUGH);
    }
    Ok(())
}

fn gate(fleet: &mut dyn Fleet, books: &mut Books, settings: &str, lasting: Duration) -> Result<()> {
    run::step("gate: sessions to a mail server that does nothing, without and with the gate");
    for node in 0..NODES {
        let listen = format!("0.0.0.0:{SINK}");
        fleet.start_on(node, &["smtp-sink", "-u", "postfix", &listen, "1024"])?;
    }
    scenes::begin(fleet, settings)?;
    let sink = fleet.inner(0, SINK);
    until(Duration::from_secs(10), || Session::open(sink, b"").map(Session::quit))?;
    let gates: Vec<SocketAddr> = (0..NODES).map(|node| fleet.gate(node)).collect();

    let count = if lasting > Duration::from_secs(5) { 2_000 } else { 400 };
    let (mut direct, mut guarded) = (Tally::default(), Tally::default());
    let mut traffic = Traffic::new(3_000);
    for i in 0..count {
        direct.enter(Session::open(sink, b"")?);
        guarded.enter(Session::open(gates[i % NODES], &traffic::proxy_header(traffic.next().address))?);
    }
    for percent in [50, 99] {
        books.figure(format!("gate, greeting without it: p{percent}"), direct.percentile(percent), "ms");
        books.figure(format!("gate, greeting with it: p{percent}"), guarded.percentile(percent), "ms");
    }

    run::step("gate: as many sessions as go");
    let until = Instant::now() + lasting;
    let clients: Vec<_> = (0..NODES * 8)
        .map(|i| {
            let gate = gates[i % NODES];
            std::thread::spawn(move || -> Result<Tally> {
                let mut tally = Tally::default();
                let mut traffic = Traffic::new(4_000 + i as u64);
                let started = Instant::now();
                while Instant::now() < until && !interrupted() {
                    let header = traffic::proxy_header(traffic.next().address);
                    tally.enter(Session::open(gate, &header)?);
                }
                tally.lasted = started.elapsed();
                Ok(tally)
            })
        })
        .collect();
    let tally = gather(clients)?;
    books.figure("gate, three nodes: connections/s", tally.rate(), "/s");
    books.figure("gate, three nodes: of those refused", tally.refused as f64, "");
    books.figure("gate, three nodes: greeting p50", tally.percentile(50), "ms");
    books.figure("gate, three nodes: greeting p99", tally.percentile(99), "ms");
    Ok(())
}

/// What some clients saw.
#[derive(Debug, Default)]
struct Tally {
    /// Microseconds from question to answer.
    took: Vec<u32>,
    refused: u64,
    /// Messages that passed, of each loud client.
    passed: [u64; LOUD as usize],
    lasted: Duration,
}

impl Tally {
    fn enter(&mut self, session: Session) {
        self.took.push(session.took.as_micros() as u32);
        self.refused += u64::from(!session.admitted());
        session.quit();
    }

    fn rate(&self) -> f64 {
        self.took.len() as f64 / self.lasted.as_secs_f64()
    }

    /// In milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let index = took.len() * percent / 100;
        took.get(index.min(took.len().saturating_sub(1))).map_or(0.0, |took| f64::from(*took) / 1e3)
    }
}

fn gather(clients: Vec<std::thread::JoinHandle<Result<Tally>>>) -> Result<Tally> {
    let mut sum = Tally::default();
    for client in clients {
        let tally = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        sum.took.extend(tally.took);
        sum.refused += tally.refused;
        for (sum, passed) in sum.passed.iter_mut().zip(tally.passed) {
            *sum += passed;
        }
        sum.lasted = sum.lasted.max(tally.lasted);
    }
    Ok(sum)
}

fn report(books: &mut Books, what: &str, tally: &Tally) {
    books.figure(format!("{what}: checks/s"), tally.rate(), "/s");
    books.figure(format!("{what}: refused"), tally.refused as f64 / tally.took.len() as f64 * 100.0, "%");
    books.figure(format!("{what}: p50"), tally.percentile(50), "ms");
    books.figure(format!("{what}: p99"), tally.percentile(99), "ms");
}

/// Asks the policy services of these nodes over so many connections each, each with one question at a time, as Postfix
/// does; with a pace, one each such time.
fn ask(
    fleet: &dyn Fleet,
    nodes: &[usize],
    connections: usize,
    lasting: Duration,
    pace: Option<Duration>,
    seed: u64,
) -> Result<Tally> {
    let until = Instant::now() + lasting;
    let instances = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for node in nodes {
        for i in 0..connections {
            let server = fleet.inner(*node, POLICY);
            let instances = Arc::clone(&instances);
            let seed = seed + (node * connections + i) as u64;
            clients.push(std::thread::spawn(move || asker(server, &instances, seed, until, pace)));
        }
    }
    gather(clients)
}

fn asker(
    server: SocketAddr,
    instances: &AtomicU64,
    seed: u64,
    until: Instant,
    pace: Option<Duration>,
) -> Result<Tally> {
    let mut stream = TcpStream::connect(server).with_context(|| format!("policy service {server}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut traffic = Traffic::new(seed);
    let mut tally = Tally::default();
    let (mut question, mut answer) = (String::new(), [0; 512]);
    let started = Instant::now();
    while Instant::now() < until && !interrupted() {
        let client = traffic.next();
        let instance = format!("load.{seed}.{}", instances.fetch_add(1, Ordering::Relaxed));
        traffic::policy_request(client.address, &instance, &mut question);
        let asked = Instant::now();
        stream.write_all(question.as_bytes())?;
        let mut got = 0;
        while !answer[..got].ends_with(b"\n\n") {
            match stream.read(&mut answer[got..])? {
                0 => bail!("the policy service closed the connection after {} questions", traffic.count()),
                read => got += read,
            }
        }
        let took = asked.elapsed();
        tally.took.push(took.as_micros() as u32);
        match &answer[..got] {
            b"action=DUNNO\n\n" => {
                if let Some(loud) = client.loud {
                    tally.passed[loud as usize] += 1;
                }
            }
            answer if answer.starts_with(b"action=450 ") => tally.refused += 1,
            other => bail!("the policy service says {:?}", String::from_utf8_lossy(other)),
        }
        if let Some(rest) = pace.and_then(|pace| pace.checked_sub(took)) {
            std::thread::sleep(rest);
        }
    }
    tally.lasted = started.elapsed();
    Ok(tally)
}

/// What the way to Valkey takes without us: what is beside it is what a check adds, on this machine as busy as it is.
fn pinger(valkey: SocketAddr, until: Instant, pace: Duration) -> Result<Tally> {
    let mut stream = TcpStream::connect(valkey).context("Valkey")?;
    stream.set_nodelay(true)?;
    let mut tally = Tally::default();
    let mut answer = [0; 7];
    let started = Instant::now();
    while Instant::now() < until && !interrupted() {
        let asked = Instant::now();
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut answer)?;
        let took = asked.elapsed();
        tally.took.push(took.as_micros() as u32);
        if let Some(rest) = pace.checked_sub(took) {
            std::thread::sleep(rest);
        }
    }
    tally.lasted = started.elapsed();
    Ok(tally)
}

/// The metrics of all nodes, one after the other.
fn pages(fleet: &dyn Fleet) -> Result<String> {
    (0..NODES).map(|node| http::get(fleet.metrics(node), "/metrics")).collect()
}
