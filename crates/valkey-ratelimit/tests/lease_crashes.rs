//! Token leases under attack: processes that are killed without a word, and others that take their places, while all of them spend
//! the same limit. Never is more admitted than the limit and the share, by the server's clock.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use valkey_connection::{Connection, ConnectionSettings, Mode};
use valkey_ratelimit::{Limiter, Rule, Source, Subject};
use valkey_testkit::{Figures, TestCluster, TestServer, eventually, unique_name};

const NODE: &str = "VALKIT_TEST_CRASHING_NODE";
/// So many processes at a time.
const NODES: usize = 4;
/// And so many who ask in each.
const TASKS: usize = 4;

/// One request that went on. It was decided between two instants, in microseconds of the clock that the server has, too.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    asked: u64,
    answered: u64,
    leased: bool,
}

/// What processes are told to do.
#[derive(Clone, Debug)]
struct Orders {
    addresses: String,
    mode: Mode,
    name: String,
    quota: &'static str,
    share: &'static str,
    /// After each request that went on.
    pause: Duration,
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

impl Orders {
    fn new(addresses: String, mode: Mode, quota: &'static str, share: &'static str) -> Self {
        Self { addresses, mode, name: unique_name("r"), quota, share, pause: Duration::ZERO }
    }

    fn rule(&self) -> Rule {
        Rule::new(self.name.parse().unwrap(), self.quota.parse().unwrap())
            .with_lease(self.share.parse().unwrap())
    }

    /// Also while a primary is gone.
    fn limiter(&self, deadline: Duration) -> Limiter {
        let settings = ConnectionSettings::default().address(self.addresses.parse().unwrap()).mode(self.mode);
        Limiter::new(Connection::connect_later(&settings).unwrap()).with_deadline(deadline)
    }

    /// As a variable, and back.
    fn text(&self) -> String {
        let Self { addresses, mode, name, quota, share, pause } = self;
        format!("{addresses} {} {name} {quota} {share} {}", *mode == Mode::Cluster, pause.as_micros())
    }

    fn parse(text: String) -> Self {
        let text: &'static str = text.leak();
        let [addresses, clustered, name, quota, share, pause] = text.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{text}")
        };
        let mode = if clustered == "true" { Mode::Cluster } else { Mode::Standalone };
        let pause = Duration::from_micros(pause.parse().unwrap());
        Self { addresses: addresses.to_owned(), mode, name: name.to_owned(), quota, share, pause }
    }
}

/// Not a test by itself: one of the processes of the tests below, when they start it. It goes on until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    let Ok(orders) = std::env::var(NODE) else { return };
    let orders = Orders::parse(orders);
    let limiter = orders.limiter(Duration::from_millis(500));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (limiter, rule, pause) = (limiter.clone(), orders.rule(), orders.pause);
        tasks.spawn(async move {
            let subject = Subject::text("everybody");
            loop {
                let asked = micros();
                let decision = limiter.check(&rule, &subject, 1).await;
                let answered = micros();
                match decision {
                    Ok(decision) if decision.is_allowed() => {
                        let leased = decision.source() == Source::Lease;
                        // One write, which nobody who is killed takes back.
                        let line = format!("admitted {asked} {answered} {leased}\n");
                        if std::io::stdout().write_all(line.as_bytes()).is_err() {
                            return;
                        }
                        tokio::time::sleep(pause).await;
                    }
                    Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(error) => {
                        assert!(error.is_unavailable(), "{error}");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        });
    }
    tasks.join_all().await;
}

/// Processes, and what they have admitted.
struct Attack {
    orders: Orders,
    nodes: Vec<(Child, JoinHandle<()>)>,
    told: (Sender<Admitted>, Receiver<Admitted>),
    dice: StdRng,
    kills: u32,
}

impl Attack {
    fn begin(orders: &Orders) -> Self {
        let seed = rand::random();
        println!("the dice begin with {seed}");
        let dice = StdRng::seed_from_u64(seed);
        let mut attack = Self { orders: orders.clone(), nodes: Vec::new(), told: channel(), dice, kills: 0 };
        for _ in 0..NODES {
            let node = attack.start();
            attack.nodes.push(node);
        }
        attack
    }

    fn start(&self) -> (Child, JoinHandle<()>) {
        let mut node = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "node", "--nocapture"])
            .env(NODE, self.orders.text())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, told) = (node.stdout.take().unwrap(), self.told.0.clone());
        let read = move || {
            for line in BufReader::new(output).lines() {
                let line = line.unwrap();
                let Some(line) = line.strip_prefix("admitted ") else { continue };
                let [asked, answered, leased] = line.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                let (asked, answered) = (asked.parse().unwrap(), answered.parse().unwrap());
                told.send(Admitted { asked, answered, leased: leased == "true" }).unwrap();
            }
        };
        (node, std::thread::spawn(read))
    }

    /// Kills one after the other, whichever it is, and starts another in its place, for so long.
    async fn rage(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let pause = self.dice.random_range(10..400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let victim = self.dice.random_range(0..NODES);
            let successor = self.start();
            end(std::mem::replace(&mut self.nodes[victim], successor));
            self.kills += 1;
        }
    }

    /// Kills all; gives what was admitted, in the order in which it was asked for.
    fn end(self) -> Vec<Admitted> {
        let Self { nodes, told: (sender, told), .. } = self;
        nodes.into_iter().for_each(end);
        drop(sender);
        let mut admitted: Vec<Admitted> = told.into_iter().collect();
        admitted.sort_unstable_by_key(|one| one.asked);
        admitted
    }
}

fn end((mut node, reader): (Child, JoinHandle<()>)) {
    node.kill().unwrap();
    let status = node.wait().unwrap();
    assert_eq!(status.code(), None, "it ended by itself: {status}");
    reader.join().unwrap();
}

/// The most that were decided within one window: those of which it is certain.
fn most_in_a_window(admitted: &[Admitted], window: Duration) -> usize {
    let window = window.as_micros() as u64;
    let within = |first: &Admitted| {
        let (from, until) = (first.asked, first.asked + window);
        let begins = admitted.partition_point(|one| one.asked < from);
        let candidates =
            &admitted[begins..begins + admitted[begins..].partition_point(|one| one.asked < until)];
        candidates.iter().filter(|one| one.answered < until).count()
    };
    admitted.iter().map(within).max().unwrap_or(0)
}

/// The server's clock is ours: then so are the instants of its decisions.
async fn is_our_clock(server: &TestServer) {
    let before = micros();
    let time = server.cli(&["TIME"]).await.unwrap();
    let after = micros();
    let (seconds, rest) = time.trim().split_once('\n').unwrap();
    let (seconds, rest): (u64, u64) = (seconds.trim().parse().unwrap(), rest.trim().parse().unwrap());
    let there = seconds * 1_000_000 + rest;
    assert!((before..=after).contains(&there), "{before} {there} {after}");
}

fn leased(admitted: &[Admitted]) -> usize {
    admitted.iter().filter(|one| one.leased).count()
}

/// Within one window: what is held was charged, so not one more than the limit is admitted, whoever dies holding some.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_killed_admit_no_more_than_was_charged() {
    let server = TestServer::start().await.unwrap();
    let orders = Orders::new(server.address(), Mode::Standalone, "20000/10day", "3%");
    let mut attack = Attack::begin(&orders);
    attack.rage(Duration::from_secs(8)).await;
    let kills = attack.kills;
    let admitted = attack.end();
    let limiter = orders.limiter(Duration::from_secs(10));
    let peek = async || limiter.peek(&orders.rule(), &Subject::text("everybody"), 1).await.ok();
    let left = eventually("what is left", peek).await.remaining;
    let (count, leased) = (admitted.len() as u64, leased(&admitted));
    println!("{count} admitted, {leased} of them by lease, {left} left, {kills} killed");
    assert!(count + left <= 20_000, "{count} admitted, and {left} are left");
    assert!(kills >= 10 && leased >= 500, "{kills} killed, {leased} of {count} by lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_trailing_window_do_processes_that_are_killed_admit_more_than_limit_and_share() {
    let server = TestServer::start().await.unwrap();
    is_our_clock(&server).await;
    let orders = Orders::new(server.address(), Mode::Standalone, "2000/2s", "10%");
    let mut attack = Attack::begin(&orders);
    attack.rage(Duration::from_secs(10)).await;
    let kills = attack.kills;
    let admitted = attack.end();
    is_our_clock(&server).await;
    let (most, leased) = (most_in_a_window(&admitted, Duration::from_secs(2)), leased(&admitted));
    println!("{} admitted, {leased} by lease, {most} in a window, {kills} killed", admitted.len());
    assert!(most <= 2_200, "{most} in a window");
    assert!(admitted.len() >= 3 * 1_000, "{} in more than four windows", admitted.len());
    assert!(kills >= 10 && leased > 0, "{kills} killed, {leased} by lease");
    Figures::new().note(format!("{most} of at most 2,200 in a window, {kills} processes killed")).publish();
}

/// A replica that takes over has not seen the last charges, and admits as much again: that, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_failover_no_more_is_admitted_again_than_was_charged_last() {
    const LIMIT: u64 = 20_000;
    const SHARE: u64 = 200;
    /// Replication is behind by less.
    const BEHIND: Duration = Duration::from_secs(1);
    let node = TestServer::builder().config("cluster-node-timeout", "2000");
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    let mut orders = Orders::new(cluster.addresses().join(","), Mode::Cluster, "20000/10day", "1%");
    // So that there is something left of the limit when the primary dies, and nothing in the end.
    orders.pause = Duration::from_millis(4);
    let (rule, subject) = (orders.rule(), Subject::text("everybody"));
    let slot = cluster.slot_of(&rule.key(&subject)).await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    let limiter = orders.limiter(Duration::from_secs(2));
    let peek = async || Some(limiter.peek(&rule, &subject, 1).await.ok()?.remaining);
    let mut attack = Attack::begin(&orders);
    attack.rage(Duration::from_secs(3)).await;
    let killed = micros();
    cluster.nodes()[owner].kill().await.unwrap();
    // Nobody but its replica answers for the key from now on.
    let left = eventually("the replica is the primary", async || {
        attack.rage(Duration::from_millis(100)).await;
        peek().await
    })
    .await;
    let seen = micros();
    attack.orders.pause = Duration::ZERO;
    eventually("the limit is used up", async || {
        attack.rage(Duration::from_millis(500)).await;
        (peek().await? == 0).then_some(())
    })
    .await;
    let (kills, admitted) = (attack.kills, attack.end());
    let count =
        |is_meant: &dyn Fn(&Admitted) -> bool| admitted.iter().filter(|one| is_meant(one)).count() as u64;
    let before = count(&|one| one.answered < killed);
    let last = count(&|one| (killed - BEHIND.as_micros() as u64..killed).contains(&one.answered));
    let after = count(&|one| one.asked > seen);
    println!(
        "{before} before the primary died, {last} of them last; {left} left; {after} after; {} in all, {kills} killed",
        admitted.len()
    );
    // The replica knows of all but the last, which are admitted again; and then it counts as exactly as any. What was held when
    // it took over, and was charged before, is still spent.
    assert!(before <= LIMIT - left + last, "{before} before, and the replica knows of {}", LIMIT - left);
    assert!(after <= left + SHARE, "{after} after, and {left} were left");
    assert!(before > 1_000 && after > 1_000 && last < before, "{before} before, {after} after");
    let again = (admitted.len() as u64).saturating_sub(LIMIT);
    Figures::new()
        .note(format!("{again} more than the limit of {LIMIT}, {kills} processes killed"))
        .publish();
}
