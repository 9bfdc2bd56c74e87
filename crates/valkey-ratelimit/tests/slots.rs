//! Slots on a real server: never more than there may be, whoever asks; and what is left of those who are gone.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use valkey_connection::{Command, Connection, ConnectionSettings, Mode};
use valkey_ratelimit::{
    Acquired, Full, OnUnavailable, Permit, SlotError, SlotRule, SlotSettings, Slots, Source, Subject,
};
use valkey_testkit::{FaultProxy, Figures, TestCluster, TestServer, eventually, soon, unique_name};

/// Longer than a sound server takes on a busy machine.
const DEADLINE: Duration = Duration::from_millis(500);

fn settings() -> SlotSettings {
    SlotSettings::default().with_deadline(Duration::from_secs(10))
}

async fn slots_at(address: &str, node: &str, settings: SlotSettings) -> Slots {
    let connection = ConnectionSettings::from_url(&format!("valkey://{address}")).unwrap();
    Slots::new(Connection::connect(&connection).await.unwrap(), node.parse().unwrap(), settings)
}

async fn slots(node: &str) -> Slots {
    slots_at(&TestServer::shared().await.address(), node, settings()).await
}

fn rule(most: u32) -> SlotRule {
    SlotRule::new(unique_name("s").parse().unwrap(), most)
}

fn ada() -> Subject {
    Subject::text("ada")
}

async fn acquire(slots: &Slots, rule: &SlotRule) -> Result<Permit, Full> {
    match slots.acquire(&[(rule.clone(), ada())]).await.unwrap() {
        Acquired::Held(permit) => Ok(permit),
        Acquired::Full(full) => Err(full),
    }
}

async fn fields(server: &TestServer, rule: &SlotRule) -> String {
    server.cli(&["HLEN", &rule.key(&ada())]).await.unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_all_are_held_is_refused_on_every_node() {
    let nodes = [slots("a").await, slots("b").await, slots("c").await];
    let rule = rule(50);
    let mut held = Vec::new();
    for number in 0..50 {
        let permit = acquire(&nodes[number % 3], &rule).await.unwrap();
        assert_eq!(permit.source(), Source::Store);
        held.push(permit);
    }
    for node in &nodes {
        let full = acquire(node, &rule).await.unwrap_err();
        assert_eq!((full.held, full.most, full.source), (50, 50, Source::Store));
        assert_eq!((&full.rule, &full.subject), (rule.name(), &ada()));
        assert_eq!(node.held(&rule, &ada()).await.unwrap(), 50);
    }
    assert_eq!(nodes[0].held_here(&rule, &ada()), 17);
    assert_eq!(nodes[0].holdings(), [(rule.key(&ada()), 17)]);
    assert!(held.pop().unwrap().release().await);
    for node in &nodes[1..] {
        let permit = acquire(node, &rule).await.unwrap();
        assert!(acquire(&nodes[0], &rule).await.is_err());
        assert!(permit.release().await);
    }
    drop(held);
    for node in nodes {
        assert!(node.flush().await);
    }
    assert_eq!(fields(TestServer::shared().await, &rule).await, "0");
}

/// Who alone holds all there may be need not ask.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_is_refused_without_a_round_trip() {
    let slots = slots("a").await;
    let rule = rule(2);
    let held = [acquire(&slots, &rule).await.unwrap(), acquire(&slots, &rule).await.unwrap()];
    assert_eq!(acquire(&slots, &rule).await.unwrap_err().source, Source::Memory);
    drop(held);
    assert!(acquire(&slots, &rule).await.is_ok());
    let none = self::rule(0);
    assert_eq!(acquire(&slots, &none).await.unwrap_err().held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_several_rules_are_held_all_or_none() {
    let (slots, other) = (slots("a").await, slots("b").await);
    let (all, each) = (rule(3), rule(2));
    let wanted = |who: &str| [(all.clone(), Subject::text("all")), (each.clone(), Subject::text(who))];
    let mut held = Vec::new();
    for _ in 0..2 {
        let Acquired::Held(permit) = slots.acquire(&wanted("ada")).await.unwrap() else {
            panic!("there is room")
        };
        held.push(permit);
    }
    let Acquired::Full(full) = other.acquire(&wanted("ada")).await.unwrap() else {
        panic!("no room for ada")
    };
    assert_eq!((full.rule, full.held, full.most), (each.name().clone(), 2, 2));
    assert_eq!(other.held(&all, &Subject::text("all")).await.unwrap(), 2, "nothing was held for her");
    let Acquired::Held(bob) = other.acquire(&wanted("bob")).await.unwrap() else { panic!("there is room") };
    let Acquired::Full(full) = other.acquire(&wanted("bob")).await.unwrap() else { panic!("all are held") };
    assert_eq!((full.rule, full.held, full.most), (all.name().clone(), 3, 3));
    assert!(bob.release().await);
    assert_eq!(slots.held(&each, &Subject::text("bob")).await.unwrap(), 0);

    let twice = [wanted("ada")[0].clone(), wanted("ada")[0].clone()];
    assert!(matches!(slots.acquire(&twice).await, Err(SlotError::Demands { .. })));
    assert!(matches!(slots.acquire(&[]).await, Ok(Acquired::Held(_))));
}

/// All who have no name would share their slots, and a prefix must not move the hash tag.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_a_slot_and_no_key_begins_as_it_likes() {
    let slots = slots("a").await;
    let (rule, nobody) = (rule(3), Subject::text(""));
    let error = slots.acquire(&[(self::rule(3), ada()), (rule.clone(), nobody.clone())]).await.unwrap_err();
    assert!(matches!(error, SlotError::NoSubject { .. }) && !error.is_unavailable(), "{error}");
    assert!(matches!(slots.held(&rule, &nobody).await, Err(SlotError::NoSubject { .. })));
    for prefix in ["", "{mine}:", "mine\n"] {
        let error = slots.acquire(&[(rule.clone().with_prefix(prefix), ada())]).await.unwrap_err();
        assert!(matches!(error, SlotError::Prefix { .. }), "{prefix:?}: {error}");
        assert!(error.to_string().contains(rule.name().as_str()), "{error}");
    }
    assert!(slots.holdings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_race_never_too_many_hold() {
    let nodes = [slots("a").await, slots("b").await, slots("c").await];
    let (all, each) = (rule(50), rule(20));
    let (holding, most_seen, granted) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let of_each: Arc<[AtomicU64; 5]> = Arc::default();
    let mut tasks = JoinSet::new();
    for number in 0..200_usize {
        let (slots, who) = (nodes[number % 3].clone(), number % 5);
        let wanted = [(all.clone(), ada()), (each.clone(), Subject::text(format!("client-{who}")))];
        let (holding, most_seen, granted, of_each) =
            (Arc::clone(&holding), Arc::clone(&most_seen), Arc::clone(&granted), Arc::clone(&of_each));
        tasks.spawn(async move {
            for _ in 0..10 {
                let Acquired::Held(permit) = slots.acquire(&wanted).await.unwrap() else { continue };
                // Between grant and release, and so within the time in which the server counts it.
                let now = holding.fetch_add(1, Ordering::SeqCst) + 1;
                let here = of_each[who].fetch_add(1, Ordering::SeqCst) + 1;
                most_seen.fetch_max(now, Ordering::SeqCst);
                granted.fetch_add(1, Ordering::SeqCst);
                assert!(now <= 50 && here <= 20, "{now} hold, {here} of client {who}");
                tokio::time::sleep(Duration::from_millis(2)).await;
                of_each[who].fetch_sub(1, Ordering::SeqCst);
                holding.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(most_seen.load(Ordering::SeqCst) > 40, "{most_seen:?} at once: nobody was in anybody's way");
    assert!(granted.load(Ordering::SeqCst) > 200, "{granted:?}");
    for node in &nodes {
        assert!(node.flush().await);
        assert!(node.holdings().is_empty());
    }
    assert_eq!(nodes[0].held(&all, &ada()).await.unwrap(), 0);
    let server = TestServer::shared().await;
    assert_eq!(server.cli(&["EXISTS", &all.key(&ada())]).await.unwrap().trim(), "0");
}

/// Who gives up waiting holds nothing, at whatever moment.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_waiting_holds_nothing() {
    let slots = slots("a").await;
    let rule = rule(1_000);
    let wanted = [(rule.clone(), ada())];
    for micros in (0..2_000).step_by(10) {
        let limit = Duration::from_micros(micros);
        drop(tokio::time::timeout(limit, slots.acquire(&wanted)).await);
    }
    eventually("nothing is held", async || (slots.held_here(&rule, &ada()) == 0).then_some(())).await;
    assert!(slots.flush().await);
    assert_eq!(slots.held(&rule, &ada()).await.unwrap(), 0);
}

/// A process that is gone without a word, and its successor of the same name meanwhile.
#[test]
fn a_crash_frees_the_slots_after_the_lease() {
    let lease = Duration::from_secs(2);
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (crashing, rule) = (runtime(), rule(10));
    let held = crashing.block_on(async {
        let address = TestServer::shared().await.address();
        let slots = slots_at(&address, "node", settings().with_lease(lease)).await;
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push(acquire(&slots, &rule).await.unwrap());
        }
        // Longer than the lease: it is renewed.
        tokio::time::sleep(lease * 3 / 2).await;
        assert_eq!(slots.held(&rule, &ada()).await.unwrap(), 7);
        held
    });
    // All of its tasks end here, with no release.
    crashing.shutdown_background();
    let crashed = Instant::now();
    runtime().block_on(async {
        let slots =
            slots_at(&TestServer::shared().await.address(), "node", settings().with_lease(lease)).await;
        let successor = acquire(&slots, &rule).await.unwrap();
        let full = async {
            let mut held = Vec::new();
            loop {
                match acquire(&slots, &rule).await {
                    Ok(permit) => held.push(permit),
                    Err(_) => return held,
                }
            }
        };
        let others = full.await;
        assert_eq!(others.len(), 2, "of the successor's own, which are not those of the crashed one");
        let freed = eventually("its slots are free", async || acquire(&slots, &rule).await.ok()).await;
        assert!(crashed.elapsed() < lease + Duration::from_secs(1), "{:?}", crashed.elapsed());
        drop((others, successor, freed));
        assert!(slots.flush().await);
        assert_eq!(
            fields(TestServer::shared().await, &rule).await,
            "0",
            "nothing is left of the crashed one"
        );
    });
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_goes_by_itself_when_all_are_gone() {
    let rule = rule(10);
    let server = TestServer::shared().await;
    let slots = slots_at(&server.address(), "a", settings().with_lease(Duration::from_secs(20))).await;
    let long = slots_at(&server.address(), "b", settings().with_lease(Duration::from_secs(200))).await;
    let held = [acquire(&long, &rule).await.unwrap(), acquire(&slots, &rule).await.unwrap()];
    let left: i64 = server.cli(&["PTTL", &rule.key(&ada())]).await.unwrap().trim().parse().unwrap();
    assert!((100_000..=200_000).contains(&left), "as long as the longest lease: {left}");
    drop(held);
}

/// The store comes back empty: within a second of the first answer it knows again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_its_data_is_told_again() {
    let server = TestServer::start().await.unwrap();
    let rules: Vec<SlotRule> = (0..100).map(|_| rule(10)).collect();
    let slots = slots_at(&server.address(), "a", settings().with_deadline(DEADLINE)).await;
    let other = slots_at(&server.address(), "b", settings().with_deadline(DEADLINE)).await;
    let mut held = Vec::new();
    for rule in &rules {
        held.push(acquire(&slots, rule).await.unwrap());
        held.push(acquire(&slots, rule).await.unwrap());
    }
    held.push(acquire(&other, &rules[0]).await.unwrap());
    server.kill().await.unwrap();
    // One is freed meanwhile.
    drop(held.swap_remove(0));
    server.restart().await.unwrap();
    let look = ConnectionSettings::from_url(&server.url()).unwrap();
    let look = Connection::connect(&look).await.unwrap();
    eventually("the store answers", async || slots.held(&rules[1], &ada()).await.ok()).await;
    let answered = Instant::now();
    for (number, rule) in rules.iter().enumerate() {
        // `held` adds what this process holds itself: look at the fields.
        eventually("it is told", async || {
            let values = look.execute(Command::new("HVALS").key(rule.key(&ada()))).await.ok()?;
            let values = values.into_array().unwrap().into_iter().map(|value| value.into_string().unwrap());
            let mut counts: Vec<String> =
                values.map(|value| value.split(':').next().unwrap().to_owned()).collect();
            counts.sort_unstable();
            (counts == if number == 0 { vec!["1", "1"] } else { vec!["2"] }).then_some(())
        })
        .await;
    }
    // A second is promised; the machine may be busy.
    let told = answered.elapsed();
    assert!(told < Duration::from_secs(3), "{told:?}");
    Figures::new().recovery(told).publish();
}

/// What was forgotten while the server ran on is noticed, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_somebody_removes_is_there_again() {
    let server = TestServer::start().await.unwrap();
    let slots = slots_at(&server.address(), "a", settings()).await;
    let rules = [rule(10), rule(10), rule(10)];
    let mut held = Vec::new();
    for rule in &rules {
        held.push(acquire(&slots, rule).await.unwrap());
    }
    server.cli(&["FLUSHALL"]).await.unwrap();
    let begun = Instant::now();
    for rule in &rules {
        eventually("it is told", async || (fields(&server, rule).await == "1").then_some(())).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "not only when the lease is renewed: {:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_each_rule_does_what_it_says_and_nobody_waits_longer_than_the_deadline() {
    let server = TestServer::start().await.unwrap();
    let slots = slots_at(&server.address(), "a", settings().with_deadline(DEADLINE)).await;
    let nodes = NonZeroU32::new(4).unwrap();
    let open = rule(5).with_on_unavailable(OnUnavailable::Allow);
    let (shut, local) = (rule(5), rule(9).with_on_unavailable(OnUnavailable::Local { nodes }));
    let before = acquire(&slots, &open).await.unwrap();
    server.pause().await.unwrap();
    let mut held = Vec::new();
    let mut refused = None;
    for _ in 0..10 {
        let begun = Instant::now();
        match acquire(&slots, &open).await {
            Ok(permit) => held.push(permit),
            Err(full) => refused = Some(full),
        }
        assert!(begun.elapsed() < DEADLINE + Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    assert_eq!(held.len(), 4, "as many as there may be, by its own count");
    assert!(held.iter().all(|permit| permit.source() == Source::Fallback));
    assert_eq!(refused.unwrap().held, 5);
    for _ in 0..3 {
        let error = slots.acquire(&[(shut.clone(), ada())]).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        let wanted = [(open.clone(), Subject::text("bob")), (shut.clone(), ada())];
        assert!(slots.acquire(&wanted).await.is_err(), "one that denies is enough");
    }
    let shares = [acquire(&slots, &local).await.unwrap(), acquire(&slots, &local).await.unwrap()];
    assert!(shares.iter().all(|permit| permit.source() == Source::Local));
    let full = acquire(&slots, &local).await.unwrap_err();
    assert_eq!((full.held, full.most, full.source), (2, 2, Source::Local), "a fourth of nine");
    drop(before);
    server.resume().await.unwrap();

    let other = slots_at(&server.address(), "b", settings()).await;
    eventually("the store knows of what was held without it", async || {
        let known = (other.held(&open, &ada()).await.ok()?, other.held(&local, &ada()).await.ok()?);
        (known == (4, 2)).then_some(())
    })
    .await;
    eventually("it is asked again", async || {
        let permit = acquire(&slots, &open).await.ok()?;
        (permit.source() == Source::Store).then_some(())
    })
    .await;
    drop((held, shares));
    eventually("all is free", async || (other.held(&open, &ada()).await.ok()? == 0).then_some(())).await;
}

/// An answer is lost: whoever asked holds nothing, and the store is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_leaves_nothing_behind() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let slots = slots_at(&proxy.address(), "a", settings().with_deadline(DEADLINE)).await;
    let rule = rule(10);
    let one = acquire(&slots, &rule).await.unwrap();
    proxy.stall_replies();
    let error = slots.acquire(&[(rule.clone(), ada())]).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    proxy.heal().await.unwrap();
    let other = slots_at(&server.address(), "b", settings()).await;
    eventually("the store knows that there is one", async || {
        (other.held(&rule, &ada()).await.ok()? == 1).then_some(())
    })
    .await;
    drop(one);
    eventually("and then none", async || (other.held(&rule, &ada()).await.ok()? == 0).then_some(())).await;
}

/// Nobody heard of it for longer than its lease, as if it had been stopped: its connections are still open, and it says so.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_heard_again_after_its_lease_still_holds_what_it_holds() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let settings = settings().with_lease(Duration::from_secs(1));
    let slots = slots_at(&proxy.address(), "a", settings.clone().with_deadline(DEADLINE)).await;
    let other = slots_at(&server.address(), "b", settings).await;
    let rule = rule(10);
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(acquire(&slots, &rule).await.unwrap());
    }
    proxy.stall();
    let mut others = Vec::new();
    while others.len() < 10 {
        others.push(eventually("room", async || acquire(&other, &rule).await.ok()).await);
    }
    proxy.heal().await.unwrap();
    eventually("all are counted", async || (other.held(&rule, &ada()).await.unwrap() == 17).then_some(()))
        .await;
    assert_eq!(slots.held_here(&rule, &ada()), 7, "nobody is thrown out");
    others.drain(..7);
    assert!(other.flush().await);
    assert_eq!(acquire(&other, &rule).await.unwrap_err().held, 10);
    held.clear();
    eventually("room again", async || acquire(&other, &rule).await.ok().map(|permit| others.push(permit)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_holds_something_else_is_named() {
    let slots = slots("a").await;
    let rule = rule(10);
    let server = TestServer::shared().await;
    let key = rule.key(&ada());
    server.cli(&["SET", &key, "text"]).await.unwrap();
    let error = slots.acquire(&[(rule.clone(), ada())]).await.unwrap_err();
    assert!(matches!(error, SlotError::ForeignKey { .. }) && error.to_string().contains(&key), "{error}");
    server.cli(&["DEL", &key]).await.unwrap();
    // It looks like ours, with numbers that nobody can have said: the script failed in the middle of its writes.
    for value in [
        "1:99999999999999999999:5000:1",
        "1:4102444800000:99999999999999999999:1",
        "99999999999:4102444800000:5000:1",
    ] {
        server.cli(&["HSET", &key, "other", value]).await.unwrap();
        let error = slots.acquire(&[(rule.clone(), ada())]).await.unwrap_err();
        assert!(matches!(error, SlotError::ForeignKey { .. }), "{value}: {error}");
        assert_eq!(server.cli(&["HLEN", &key]).await.unwrap(), "1", "{value}");
    }
    server.cli(&["DEL", &key]).await.unwrap();
    assert!(acquire(&slots, &rule).await.is_ok());
    eventually("it is free", async || (fields(server, &rule).await == "0").then_some(())).await;
    let mut command = vec!["HSET".to_owned(), key.clone()];
    for number in 0..1_025 {
        command.extend([format!("p{number}"), "1:1:1:1".to_owned()]);
    }
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    server.cli(&command).await.unwrap();
    let error = slots.held(&rule, &ada()).await.unwrap_err();
    assert!(matches!(error, SlotError::Crowded { .. }) && error.to_string().contains(&key), "{error}");
    server.cli(&["DEL", &key]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_rules_on_several_nodes_are_held_all_or_none() {
    let cluster = TestCluster::start(3).await.unwrap();
    let connect = async |node: &str| {
        let settings = ConnectionSettings::from_url(&cluster.urls()[0])
            .unwrap()
            .mode(Mode::Cluster)
            .read_timeout(Duration::from_secs(10));
        let connection = Connection::connect(&settings).await.unwrap();
        Slots::new(connection, node.parse().unwrap(), self::settings())
    };
    let nodes = [connect("a").await, connect("b").await];
    let (all, each) = (rule(30), rule(4));
    let mut tasks = JoinSet::new();
    for number in 0..100_u32 {
        let slots = nodes[number as usize % 2].clone();
        let wanted =
            [(all.clone(), Subject::text("all")), (each.clone(), Subject::text(format!("c{}", number % 10)))];
        tasks.spawn(async move {
            match slots.acquire(&wanted).await.unwrap() {
                Acquired::Held(permit) => Some((number % 10, permit)),
                Acquired::Full(_) => None,
            }
        });
    }
    let held: Vec<(u32, Permit)> = tasks.join_all().await.into_iter().flatten().collect();
    // Who is refused by the second rule keeps others out of the first for a moment.
    assert!((20..=30).contains(&held.len()), "{}", held.len());
    for client in 0..10 {
        assert!(held.iter().filter(|(who, _)| *who == client).count() <= 4);
    }
    for node in &nodes {
        assert!(node.flush().await);
    }
    assert_eq!(nodes[0].held(&all, &Subject::text("all")).await.unwrap(), held.len() as u64);
    drop(held);
    for node in &nodes {
        assert!(node.flush().await);
    }
    assert_eq!(nodes[0].held(&all, &Subject::text("all")).await.unwrap(), 0);
    for client in 0..10 {
        let subject = Subject::text(format!("c{client}"));
        assert_eq!(nodes[0].held(&each, &subject).await.unwrap(), 0);
    }
}

/// Nothing goes on when the last handle and the last slot are gone.
#[tokio::test(flavor = "multi_thread")]
async fn renewing_ends_with_the_last_slot() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let slots = slots_at(&proxy.address(), "a", settings()).await;
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    let permit = acquire(&slots, &rule(1)).await.unwrap();
    drop(slots);
    let traffic = proxy.traffic();
    soon("a pulse", async {
        while proxy.traffic() == traffic {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(tasks.num_alive_tasks() > before);
    drop(permit);
    eventually("nothing goes on", async || (tasks.num_alive_tasks() <= before).then_some(())).await;
}
