//! What each rule says while the store cannot be asked, one fault after the other: the decision, who made it, and how long the
//! caller waited at most.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use valkey_connection::{Connection, ConnectionSettings, Mode};
use valkey_ratelimit::{Decision, Health, LimitError, Limiter, OnUnavailable, Rule, Source, Subject};
use valkey_testkit::{FaultProxy, TestCluster, TestServer, eventually, unique_name};

/// Longer than a sound server takes on a busy machine.
const DEADLINE: Duration = Duration::from_millis(300);
/// How late a timer may ring on a busy machine, and a task come to its turn.
const SLACK: Duration = Duration::from_millis(300);

/// Three rules, one for each way.
struct Rules {
    allow: Rule,
    deny: Rule,
    local: Rule,
    subject: Subject,
}

impl Rules {
    fn new() -> Self {
        let rule = |on_unavailable| {
            Rule::new(unique_name("r").parse().unwrap(), "1000/10day".parse().unwrap())
                .with_on_unavailable(on_unavailable)
        };
        Self {
            allow: rule(OnUnavailable::Allow),
            deny: rule(OnUnavailable::Deny),
            // Ten of a thousand for each of a hundred.
            local: rule(OnUnavailable::Local { nodes: 100.try_into().unwrap() }),
            subject: Subject::text("ada"),
        }
    }

    /// Asks each until the store is taken to be away, and a hundred times more. No answer is anything but what the rule says, and
    /// none takes longer than the deadline.
    async fn face(&self, limiter: &Limiter, fault: &str) {
        let mut longest = Duration::ZERO;
        let mut local = (0, 0);
        let begun = Instant::now();
        let mut away = 0;
        while away < 100 {
            assert!(begun.elapsed() < Duration::from_mins(1), "{fault}: {:?}", limiter.health());
            away += u32::from(limiter.health() == Health::Open);
            let mut check = async |rule: &Rule| {
                let asked = Instant::now();
                let decision = limiter.check(rule, &self.subject, 1).await;
                longest = longest.max(asked.elapsed());
                decision
            };
            let allow = check(&self.allow).await.unwrap();
            assert_eq!((allow.is_allowed(), allow.source()), (true, Source::Fallback), "{fault}");
            match check(&self.deny).await {
                Err(error) => assert!(error.is_unavailable(), "{fault}: {error}"),
                Ok(decision) => panic!("{fault}: nobody is over a limit: {decision:?}"),
            }
            let counted = check(&self.local).await.unwrap();
            assert_eq!(counted.source(), Source::Local, "{fault}");
            if counted.is_allowed() { local.0 += 1 } else { local.1 += 1 }
        }
        assert_eq!(local.0, 10, "{fault}: its share, {} were denied", local.1);
        assert!(longest < DEADLINE + SLACK, "{fault}: {longest:?}");
        // While it is known to be away nobody waits at all: but for the probes, three hundred take less than one deadline.
        let (begun, mut probes) = (Instant::now(), 0);
        for _ in 0..300 {
            let asked = limiter.check(&self.deny, &self.subject, 1).await.unwrap_err();
            probes += u32::from(!matches!(asked, LimitError::Away { .. }));
        }
        assert!(
            begun.elapsed() < (DEADLINE + SLACK) * (probes + 1),
            "{fault}: {:?}, {probes} probes",
            begun.elapsed()
        );
    }

    /// All go to the store again, within so long.
    async fn recovers(&self, limiter: &Limiter, fault: &str, within: Duration) {
        let begun = Instant::now();
        eventually(&format!("{fault}: the store decides again"), async || {
            let decided = limiter.check(&self.deny, &self.subject, 1).await;
            let by_store = decided.is_ok_and(|decision| decision.source() == Source::Store);
            (by_store && limiter.health() == Health::Healthy).then_some(())
        })
        .await;
        assert!(begun.elapsed() < within, "{fault}: {:?}", begun.elapsed());
        let decision = limiter.check(&self.local, &self.subject, 1).await.unwrap();
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Store), "{fault}");
    }
}

/// Five seconds is what is promised; the rest is for starting a server on a busy machine.
const BACK: Duration = Duration::from_secs(15);

async fn limiter(url: &str) -> Limiter {
    let settings = ConnectionSettings::from_url(url).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(DEADLINE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_or_paused() {
    let server = TestServer::start().await.unwrap();
    let limiter = limiter(&server.url()).await;
    let rules = Rules::new();
    server.kill().await.unwrap();
    rules.face(&limiter, "killed").await;
    server.restart().await.unwrap();
    rules.recovers(&limiter, "killed", BACK).await;
    let rules = Rules::new();
    server.pause().await.unwrap();
    rules.face(&limiter, "paused").await;
    server.resume().await.unwrap();
    rules.recovers(&limiter, "paused", BACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_swallows_or_crawls() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let limiter = limiter(&format!("valkey://{}", proxy.address())).await;
    let rules = Rules::new();
    proxy.black_hole();
    rules.face(&limiter, "black-holed").await;
    proxy.heal().await.unwrap();
    rules.recovers(&limiter, "black-holed", BACK).await;
    let rules = Rules::new();
    proxy.delay(DEADLINE * 2);
    rules.face(&limiter, "slow").await;
    proxy.heal().await.unwrap();
    rules.recovers(&limiter, "slow", BACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_or_a_replica_or_has_another_password() {
    let server = TestServer::start().await.unwrap();
    let limiter = limiter(&server.url()).await;
    let config = async |name: &str, value: &str| {
        assert_eq!(server.cli(&["CONFIG", "SET", name, value]).await.unwrap(), "OK");
    };
    let rules = Rules::new();
    config("maxmemory", "1").await;
    rules.face(&limiter, "OOM").await;
    config("maxmemory", "0").await;
    rules.recovers(&limiter, "OOM", BACK).await;

    let rules = Rules::new();
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    rules.face(&limiter, "READONLY").await;
    server.cli(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    rules.recovers(&limiter, "READONLY", BACK).await;

    let rules = Rules::new();
    config("requirepass", "another").await;
    server
        .cli(&["-a", "another", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await
        .unwrap();
    rules.face(&limiter, "wrong password").await;
    server.cli(&["-a", "another", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""]).await.unwrap();
    rules.recovers(&limiter, "wrong password", BACK).await;
}

/// The script is sent again within the same check: nobody falls back, and nobody is charged twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_its_scripts() {
    let server = TestServer::start().await.unwrap();
    let limiter = limiter(&server.url()).await;
    let rules = Rules::new();
    for round in 1..=5_u64 {
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await.unwrap(), "OK");
        let decision = limiter.check(&rules.allow, &rules.subject, 1).await.unwrap();
        assert_eq!((decision.source(), decision.remaining()), (Source::Store, 1_000 - round));
    }
    assert_eq!(limiter.health(), Health::Healthy);
}

/// A primary dies and its replica takes over: until then each rule decides, afterwards the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_fails_over() {
    let node = TestServer::builder().config("cluster-node-timeout", "2000");
    let cluster = TestCluster::builder().primaries(3).replicas(1).node(node).start().await.unwrap();
    let addresses = cluster.addresses().join(",").parse().unwrap();
    let settings = ConnectionSettings::default().address(addresses).mode(Mode::Cluster);
    let limiter = Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(DEADLINE);
    let rules = Rules::new();
    let slot = cluster.slot_of(&rules.deny.key(&rules.subject)).await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    assert_eq!(limiter.check(&rules.deny, &rules.subject, 1).await.unwrap().source(), Source::Store);
    cluster.nodes()[owner].kill().await.unwrap();
    let (mut longest, mut undecided, begun) = (Duration::ZERO, 0, Instant::now());
    // All three are in one slot. What they say is what the rule says, until the replica is the primary.
    loop {
        let mut by_store = 0;
        for rule in [&rules.allow, &rules.deny, &rules.local] {
            let asked = Instant::now();
            let decision = limiter.check(rule, &rules.subject, 1).await;
            longest = longest.max(asked.elapsed());
            match (rule.on_unavailable(), decision) {
                (_, Ok(Decision::Allowed(allowed))) if allowed.source == Source::Store => by_store += 1,
                (OnUnavailable::Allow, Ok(decision)) => assert_eq!(decision.source(), Source::Fallback),
                (OnUnavailable::Local { .. }, Ok(decision)) => assert_eq!(decision.source(), Source::Local),
                (OnUnavailable::Deny, Err(error)) => {
                    assert!(error.is_unavailable(), "{error}");
                    undecided += 1;
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        if by_store == 3 && undecided > 0 && limiter.health() == Health::Healthy {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}, {undecided} undecided", limiter.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(longest < DEADLINE + SLACK, "{longest:?}");
}
