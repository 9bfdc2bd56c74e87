//! What is held while the store cannot be asked, one fault after the other: whether there is room, who says so, and how long the
//! caller waited at most. Afterwards the store knows what was held without it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use valkey_connection::{Connection, ConnectionSettings, Mode};
use valkey_ratelimit::{
    Acquired, Full, Health, OnUnavailable, Permit, SlotError, SlotRule, SlotSettings, Slots, Source, Subject,
};
use valkey_testkit::{FaultProxy, TestCluster, TestServer, eventually, unique_name};

/// Longer than a sound server takes on a busy machine.
const DEADLINE: Duration = Duration::from_millis(300);
/// How late a timer may ring on a busy machine, and a task come to its turn.
const SLACK: Duration = Duration::from_millis(300);
/// Five seconds is what is promised; the rest is for starting a server on a busy machine.
const BACK: Duration = Duration::from_secs(15);
/// What each rule leaves to a process that is alone.
const ALONE: u64 = 10;

/// Three rules, one for each way.
struct Rules {
    allow: SlotRule,
    deny: SlotRule,
    local: SlotRule,
    subject: Subject,
}

/// What was asked for, and how long the slowest answer took.
struct Asker<'a> {
    slots: &'a Slots,
    subject: &'a Subject,
    fault: &'a str,
    longest: Duration,
}

impl Rules {
    fn new() -> Self {
        let rule = |most, on_unavailable| {
            SlotRule::new(unique_name("s").parse().unwrap(), most).with_on_unavailable(on_unavailable)
        };
        Self {
            allow: rule(10, OnUnavailable::Allow),
            deny: rule(10, OnUnavailable::Deny),
            // Ten of a thousand for each of a hundred.
            local: rule(1_000, OnUnavailable::Local { nodes: 100.try_into().unwrap() }),
            subject: Subject::text("ada"),
        }
    }

    /// Asks each until the store is taken to be away, and fifty times more. No answer is anything but what the rule says, and none
    /// takes longer than the deadline. What was held is returned.
    async fn face(&self, slots: &Slots, fault: &str) -> Vec<Permit> {
        let mut asker = Asker { slots, subject: &self.subject, fault, longest: Duration::ZERO };
        let (mut allowed, mut shares) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        let mut away = 0;
        while away < 50 {
            assert!(begun.elapsed() < Duration::from_mins(1), "{fault}: {:?}", slots.health());
            away += u32::from(slots.health() == Health::Open);
            match asker.ask(&self.allow).await.unwrap() {
                Ok(permit) => {
                    assert_eq!(permit.source(), Source::Fallback, "{fault}");
                    allowed.push(permit);
                }
                // Whoever holds all there may be by itself has nothing to ask.
                Err(full) => {
                    assert_eq!(
                        (full.held, full.most, full.source),
                        (ALONE, ALONE, Source::Memory),
                        "{fault}"
                    );
                }
            }
            match asker.ask(&self.deny).await {
                Err(error) => assert!(error.is_unavailable(), "{fault}: {error}"),
                Ok(other) => panic!("{fault}: nobody can say whether there is room: {other:?}"),
            }
            match asker.ask(&self.local).await.unwrap() {
                Ok(permit) => {
                    assert_eq!(permit.source(), Source::Local, "{fault}");
                    shares.push(permit);
                }
                Err(full) => {
                    assert_eq!((full.held, full.most, full.source), (ALONE, ALONE, Source::Local), "{fault}");
                }
            }
        }
        assert_eq!((allowed.len() as u64, shares.len() as u64), (ALONE, ALONE), "{fault}: by its own count");
        assert!(asker.longest < DEADLINE + SLACK, "{fault}: {:?}", asker.longest);
        // While it is known to be away nobody waits at all: but for the probes, three hundred take less than one deadline.
        let (begun, mut probes) = (Instant::now(), 0);
        for _ in 0..300 {
            let error = asker.ask(&self.deny).await.unwrap_err();
            probes += u32::from(!matches!(error, SlotError::Away { .. }));
        }
        assert!(
            begun.elapsed() < (DEADLINE + SLACK) * (probes + 1),
            "{fault}: {:?}, {probes} probes",
            begun.elapsed()
        );
        allowed.append(&mut shares);
        allowed
    }

    /// The store decides again, and it knows what was held without it; when that is let go, it knows, too.
    async fn recovers(&self, slots: &Slots, held: Vec<Permit>, other: &Slots, fault: &str) {
        let begun = Instant::now();
        eventually(&format!("{fault}: the store decides again"), async || {
            let wanted = [(self.deny.clone(), self.subject.clone())];
            let Ok(Acquired::Held(permit)) = slots.acquire(&wanted).await else { return None };
            (permit.source() == Source::Store && slots.health() == Health::Healthy).then_some(())
        })
        .await;
        let known = async |count| {
            eventually(&format!("{fault}: the store knows of {count} held"), async || {
                let allow = other.held(&self.allow, &self.subject).await.ok()?;
                let local = other.held(&self.local, &self.subject).await.ok()?;
                ((allow, local) == (count, count)).then_some(())
            })
            .await;
        };
        known(ALONE).await;
        assert!(begun.elapsed() < BACK, "{fault}: {:?}", begun.elapsed());
        let full = other.acquire(&[(self.allow.clone(), self.subject.clone())]).await.unwrap();
        let Acquired::Full(full) = full else { panic!("{fault}: another process was let in as well") };
        assert_eq!((full.held, full.source), (ALONE, Source::Store), "{fault}");
        drop(held);
        known(0).await;
        assert!(slots.holdings().is_empty(), "{fault}");
    }
}

impl Asker<'_> {
    async fn ask(&mut self, rule: &SlotRule) -> Result<Result<Permit, Full>, SlotError> {
        let wanted = [(rule.clone(), self.subject.clone())];
        let asked = Instant::now();
        let answer = self.slots.acquire(&wanted).await;
        self.longest = self.longest.max(asked.elapsed());
        match answer? {
            Acquired::Held(permit) => Ok(Ok(permit)),
            Acquired::Full(full) => Ok(Err(full)),
        }
    }

    /// One slot, by the store.
    async fn by_store(&mut self, rule: &SlotRule) -> Permit {
        let permit = self.ask(rule).await.unwrap().unwrap();
        assert_eq!(permit.source(), Source::Store, "{}", self.fault);
        permit
    }
}

async fn slots_at(url: &str, node: &str, deadline: Duration) -> Slots {
    let connection = Connection::connect(&ConnectionSettings::from_url(url).unwrap()).await.unwrap();
    Slots::new(connection, node.parse().unwrap(), SlotSettings::default().with_deadline(deadline))
}

/// The one whose store goes away, and one who looks and has patience.
async fn two(url: &str, looking_at: &str) -> (Slots, Slots) {
    (slots_at(url, "a", DEADLINE).await, slots_at(looking_at, "b", Duration::from_secs(10)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_or_paused() {
    let server = TestServer::start().await.unwrap();
    let (slots, other) = two(&server.url(), &server.url()).await;
    let rules = Rules::new();
    server.kill().await.unwrap();
    let held = rules.face(&slots, "killed").await;
    server.restart().await.unwrap();
    rules.recovers(&slots, held, &other, "killed").await;
    let rules = Rules::new();
    server.pause().await.unwrap();
    let held = rules.face(&slots, "paused").await;
    server.resume().await.unwrap();
    rules.recovers(&slots, held, &other, "paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_swallows_or_crawls() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let (slots, other) = two(&format!("valkey://{}", proxy.address()), &server.url()).await;
    let rules = Rules::new();
    proxy.black_hole();
    let held = rules.face(&slots, "black-holed").await;
    proxy.heal().await.unwrap();
    rules.recovers(&slots, held, &other, "black-holed").await;
    let rules = Rules::new();
    proxy.delay(DEADLINE * 2);
    let held = rules.face(&slots, "slow").await;
    proxy.heal().await.unwrap();
    rules.recovers(&slots, held, &other, "slow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_a_replica_or_has_another_password() {
    let server = TestServer::start().await.unwrap();
    let (slots, other) = two(&server.url(), &server.url()).await;
    let rules = Rules::new();
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let held = rules.face(&slots, "READONLY").await;
    server.cli(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    rules.recovers(&slots, held, &other, "READONLY").await;

    let rules = Rules::new();
    let admin = async |command: &[&str]| {
        let command = [&["-a", "another", "--no-auth-warning"], command].concat();
        server.cli(&command).await.unwrap()
    };
    assert_eq!(server.cli(&["CONFIG", "SET", "requirepass", "another"]).await.unwrap(), "OK");
    admin(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    let held = rules.face(&slots, "wrong password").await;
    admin(&["CONFIG", "SET", "requirepass", ""]).await;
    rules.recovers(&slots, held, &other, "wrong password").await;
}

/// Who may not even say that it holds less could never let go: a full server goes on deciding, and nobody falls back.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_decides_all_the_same() {
    let server = TestServer::start().await.unwrap();
    let (slots, other) = two(&server.url(), &server.url()).await;
    let rules = Rules::new();
    let mut asker = Asker { slots: &slots, subject: &rules.subject, fault: "OOM", longest: Duration::ZERO };
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap(), "OK");
    let refused = server.cli(&["SET", "a", "b"]).await;
    assert!(format!("{refused:?}").contains("OOM"), "it is full: {refused:?}");
    let mut held = Vec::new();
    for rule in [&rules.allow, &rules.deny] {
        for _ in 0..5 {
            held.push(asker.by_store(rule).await);
        }
        for _ in 0..5 {
            let wanted = [(rule.clone(), rules.subject.clone())];
            let Acquired::Held(permit) = other.acquire(&wanted).await.unwrap() else {
                panic!("there is room")
            };
            held.push(permit);
        }
        let full = asker.ask(rule).await.unwrap().unwrap_err();
        assert_eq!((full.held, full.source), (ALONE, Source::Store));
    }
    assert!(asker.longest < DEADLINE + SLACK, "{:?}", asker.longest);
    drop(held);
    assert!(slots.flush().await && other.flush().await, "it is told what is let go");
    assert_eq!(other.held(&rules.deny, &rules.subject).await.unwrap(), 0);
    assert_eq!(slots.health(), Health::Healthy);
}

/// The script is sent again within the same call: nobody falls back, and nobody holds twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_its_scripts() {
    let server = TestServer::start().await.unwrap();
    let (slots, other) = two(&server.url(), &server.url()).await;
    let rules = Rules::new();
    let fault = "SCRIPT FLUSH";
    let mut asker = Asker { slots: &slots, subject: &rules.subject, fault, longest: Duration::ZERO };
    let mut held = Vec::new();
    for round in 1..=5 {
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await.unwrap(), "OK");
        held.push(asker.by_store(&rules.allow).await);
        assert_eq!(other.held(&rules.allow, &rules.subject).await.unwrap(), round);
    }
    assert!(asker.longest < DEADLINE + SLACK, "{:?}", asker.longest);
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await.unwrap(), "OK");
    drop(held);
    assert!(slots.flush().await);
    assert_eq!(other.held(&rules.allow, &rules.subject).await.unwrap(), 0);
    assert_eq!(slots.health(), Health::Healthy);
}

/// A primary dies and its replica takes over: until then each rule decides, afterwards the store, which knows what is held, also of
/// what it was told while nobody was primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_fails_over() {
    let node = TestServer::builder().config("cluster-node-timeout", "2000");
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    let addresses: String = cluster.addresses().join(",");
    let connect = async |node: &str, deadline| {
        let settings = ConnectionSettings::default().address(addresses.parse().unwrap()).mode(Mode::Cluster);
        let connection = Connection::connect(&settings).await.unwrap();
        Slots::new(connection, node.parse().unwrap(), SlotSettings::default().with_deadline(deadline))
    };
    let (slots, other) = (connect("a", DEADLINE).await, connect("b", Duration::from_secs(10)).await);
    let rules = Rules::new();
    let slot = cluster.slot_of(&rules.deny.key(&rules.subject)).await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    let fault = "failover";
    let mut asker = Asker { slots: &slots, subject: &rules.subject, fault, longest: Duration::ZERO };
    // Three of each are held from before; of two the replica may not have heard.
    let mut held = Vec::new();
    for rule in [&rules.allow, &rules.deny, &rules.local] {
        for _ in 0..3 {
            held.push(asker.by_store(rule).await);
        }
    }
    cluster.nodes()[owner].kill().await.unwrap();
    let (mut counts, mut undecided, begun) = ([3_u64; 3], 0, Instant::now());
    // All three are in one slot. What they say is what the rule says, until the replica is the primary.
    loop {
        let mut by_store = 0;
        for (rule, count) in [&rules.allow, &rules.deny, &rules.local].into_iter().zip(&mut counts) {
            let most_alone = ALONE - 1;
            match (rule.on_unavailable(), asker.ask(rule).await) {
                (_, Ok(Ok(permit))) if permit.source() == Source::Store => {
                    by_store += 1;
                    permit.release().await;
                }
                (OnUnavailable::Allow, Ok(Ok(permit))) => {
                    assert_eq!(permit.source(), Source::Fallback);
                    // One place is left for the store to give when it is back.
                    if *count < most_alone {
                        *count += 1;
                        held.push(permit);
                    }
                }
                (OnUnavailable::Local { .. }, Ok(Ok(permit))) => {
                    assert_eq!(permit.source(), Source::Local);
                    if *count < most_alone {
                        *count += 1;
                        held.push(permit);
                    }
                }
                (OnUnavailable::Deny, Err(error)) => {
                    assert!(error.is_unavailable(), "{error}");
                    undecided += 1;
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        if by_store == 3 && undecided > 0 && slots.health() == Health::Healthy {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}, {undecided} undecided", slots.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(asker.longest < DEADLINE + SLACK, "{:?}", asker.longest);
    assert!(counts[0] == ALONE - 1 && counts[2] == ALONE - 1, "{counts:?} held without the store");
    for (rule, count) in [&rules.allow, &rules.deny, &rules.local].into_iter().zip(counts) {
        eventually("the new primary knows what is held", async || {
            (other.held(rule, &rules.subject).await.ok()? == count).then_some(())
        })
        .await;
    }
    drop(held);
    for rule in [&rules.allow, &rules.deny, &rules.local] {
        eventually("and what is let go", async || {
            (other.held(rule, &rules.subject).await.ok()? == 0).then_some(())
        })
        .await;
    }
}
