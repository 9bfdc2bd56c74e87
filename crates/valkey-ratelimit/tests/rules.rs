//! What a rule says beside its quota: networks, allow lists, shadows, corrections, and each mistake told.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::task::JoinSet;
use valkey_connection::{Connection, ConnectionSettings, Mode};
use valkey_ratelimit::{
    Algorithm, AllowList, Decision, Demand, InvalidRule, LimitError, Limiter, Network, Rule, Source, Subject,
};
use valkey_testkit::{TestCluster, TestServer, unique_name};

async fn limiter() -> Limiter {
    let settings = ConnectionSettings::from_url(&TestServer::shared().await.url()).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(Duration::from_secs(10))
}

fn rule(quota: &str) -> Rule {
    Rule::new(unique_name("r").parse().unwrap(), quota.parse().unwrap())
}

fn ip(address: &str) -> Subject {
    Subject::ip(address.parse().unwrap())
}

fn network(v4: u8, v6: u8, quota: &str) -> Network {
    Network { v4, v6, quota: quota.parse().unwrap() }
}

#[tokio::test]
async fn whoever_has_many_addresses_is_met_by_the_wider_steps() {
    let limiter = limiter().await;
    for algorithm in [Algorithm::SlidingWindow, Algorithm::SlidingLog, Algorithm::FixedWindow] {
        let rule = rule("3/10day")
            .with_algorithm(algorithm)
            .with_address_bits(32, 64)
            .with_network(network(24, 56, "10/10day"))
            .with_network(network(16, 48, "12/10day"));
        for (prefix, of_another_network) in
            [("192.0.2.", "192.0.77.1"), ("2001:db8:1:7", "2001:db8:1:ff00::1")]
        {
            let mut allowed = 0;
            let mut last = None;
            for number in 0..20_u32 {
                // Each of them three times at most: addresses of one /24, or /64s of one /56.
                let text = if prefix.contains(':') {
                    format!("{prefix}{number:02x}::9")
                } else {
                    format!("{prefix}{number}")
                };
                let subject = ip(&text);
                match limiter.check(&rule, &subject, 1).await.unwrap() {
                    Decision::Allowed(_) => allowed += 1,
                    Decision::Denied(denied) => last = Some(denied),
                }
            }
            assert_eq!(allowed, 10, "{algorithm:?} {prefix}");
            let denied = last.unwrap();
            let wide = if prefix.contains(':') { "2001:db8:1:700::/56" } else { "192.0.2.0/24" };
            assert_eq!(denied.subject.as_str(), wide, "{algorithm:?}: it says who used it up");
            assert!(denied.retry_after > Duration::ZERO);
            // The refused ones cost the widest step nothing: two are left of it.
            let other = ip(of_another_network);
            assert_eq!(limiter.peek(&rule, &other, 1).await.unwrap().remaining, 2, "{algorithm:?} {prefix}");
        }
    }
}

#[tokio::test]
async fn a_ticket_of_several_steps_gives_back_to_each() {
    let limiter = limiter().await;
    let rule = rule("5/10day").with_network(network(24, 48, "20/10day"));
    let subject = ip("192.0.2.1");
    let Decision::Allowed(allowed) = limiter.check(&rule, &subject, 4).await.unwrap() else {
        panic!("there is room")
    };
    assert_eq!(limiter.refund(allowed.into_ticket().unwrap(), 3).await.unwrap(), 3);
    assert_eq!(limiter.peek(&rule, &subject, 1).await.unwrap().remaining, 4);
    assert_eq!(limiter.peek(&rule, &ip("192.0.2.2"), 1).await.unwrap().remaining, 5);
    for number in 2..6 {
        assert!(limiter.check(&rule, &ip(&format!("192.0.2.{number}")), 4).await.unwrap().is_allowed());
    }
    assert_eq!(limiter.peek(&rule, &subject, 1).await.unwrap().remaining, 3, "1 and 16 of 20 are charged");
}

#[tokio::test]
async fn what_is_reserved_is_corrected_when_the_cost_is_known() {
    let limiter = limiter().await;
    for algorithm in [Algorithm::SlidingWindow, Algorithm::SlidingLog, Algorithm::FixedWindow] {
        let rule = rule("100/10day").with_algorithm(algorithm);
        let subject = Subject::text("ada");
        let reserve = async |cost: u64| {
            let Decision::Allowed(allowed) = limiter.check(&rule, &subject, cost).await.unwrap() else {
                panic!("there is room")
            };
            allowed.into_ticket().unwrap()
        };
        let left = async || limiter.peek(&rule, &subject, 1).await.unwrap().remaining;
        let ticket = reserve(10).await;
        assert_eq!((limiter.commit(ticket, 4).await.unwrap(), left().await), (4, 96), "{algorithm:?}: less");
        let ticket = reserve(10).await;
        assert_eq!(
            (limiter.commit(ticket, 10).await.unwrap(), left().await),
            (10, 86),
            "{algorithm:?}: as thought"
        );
        let ticket = reserve(10).await;
        assert_eq!(
            (limiter.commit(ticket, 36).await.unwrap(), left().await),
            (36, 50),
            "{algorithm:?}: more"
        );
        let ticket = reserve(10).await;
        assert_eq!(
            (limiter.commit(ticket, 500).await.unwrap(), left().await),
            (50, 0),
            "{algorithm:?}: more than there is; no window is charged more than its limit"
        );
    }
}

#[tokio::test]
async fn who_is_on_the_list_is_neither_limited_nor_counted() {
    let limiter = limiter().await;
    let allowed = AllowList::parse(["10.0.0.0/8", "ada@example.org"]).unwrap();
    let rule = rule("1/10day").with_allowed(allowed).with_network(network(24, 48, "1/10day"));
    for subject in [ip("10.1.2.3"), ip("::ffff:10.9.9.9"), Subject::text("ada@example.org")] {
        for _ in 0..3 {
            let decision = limiter.check(&rule, &subject, 1).await.unwrap();
            assert_eq!((decision.is_allowed(), decision.source()), (true, Source::AllowList), "{subject}");
        }
    }
    let (of_the_list, other) = (ip("10.1.2.3"), ip("192.0.2.1"));
    let demands = [Demand::new(&rule, &of_the_list), Demand::new(&rule, &other)];
    let sources: Vec<Source> =
        limiter.check_all(&demands).await.unwrap().iter().map(Decision::source).collect();
    assert_eq!(sources, [Source::AllowList, Source::Store]);
    assert!(!limiter.check(&rule, &ip("192.0.2.1"), 1).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_shadow_is_in_nobodys_way_whatever_is_wrong_with_it() {
    let limiter = limiter().await;
    let server = TestServer::shared().await;
    let (firm, shadow) = (rule("5/10day"), rule("1/10day").shadow());
    let foreign = rule("5/10day").shadow();
    let subject = Subject::text("ada");
    server.cli(&["RPUSH", &foreign.key(&subject), "somebody's"]).await.unwrap();
    for (round, expected) in [Source::Store, Source::Shadow, Source::Shadow].into_iter().enumerate() {
        let alone = limiter.check(&shadow, &subject, 1).await.unwrap();
        assert_eq!((alone.is_allowed(), alone.source()), (true, expected), "round {round}");
        // It costs more than there ever is, and another is somebody else's.
        let demands = [
            Demand::new(&firm, &subject),
            Demand::new(&shadow, &subject).cost(7),
            Demand::new(&foreign, &subject),
        ];
        let decisions = limiter.check_all(&demands).await.unwrap();
        assert!(decisions.iter().all(Decision::is_allowed), "round {round}: {decisions:?}");
        assert_eq!(decisions[0].remaining(), 4 - round as u64, "the firm one is charged");
        assert_eq!([decisions[1].source(), decisions[2].source()], [Source::Shadow; 2]);
    }
}

#[tokio::test]
async fn a_log_that_would_stall_the_server_is_refused_with_the_reason() {
    let limiter = limiter().await;
    let log = |limit: &str| rule(&format!("{limit}/1m")).with_algorithm(Algorithm::SlidingLog);
    assert!(log("128").warning().is_none() && log("10000").validate().is_ok());
    let warning = log("129").warning().unwrap();
    assert!(warning.contains("sliding-window"), "{warning}");
    let error = limiter.check(&log("10001"), &Subject::text("ada"), 1).await.unwrap_err();
    assert!(matches!(&error, LimitError::Rule(InvalidRule::LogTooLong { limit: 10_001, .. })), "{error}");
    let leased = log("100").with_lease("1%".parse().unwrap());
    assert!(matches!(leased.validate(), Err(InvalidRule::LeasedLog { .. })));
}

/// Two sorted sets are on two nodes: what one charged comes back when the other refuses.
#[tokio::test]
async fn in_a_cluster_what_several_nodes_count_is_charged_all_or_none() {
    let cluster = TestCluster::start(3).await.unwrap();
    let settings = ConnectionSettings::from_url(&cluster.urls()[0])
        .unwrap()
        .mode(Mode::Cluster)
        .read_timeout(Duration::from_secs(10));
    let connection = Connection::connect(&settings).await.unwrap();
    let limiter = Limiter::new(connection).with_deadline(Duration::from_secs(10));
    let (wide, narrow) = (rule("100/10day"), rule("3/10day"));
    let subjects: Vec<Subject> = (0..8).map(|number| Subject::text(format!("s{number}"))).collect();
    let everybody = Subject::text("everybody");
    let mut tasks = JoinSet::new();
    for round in 0..80_usize {
        let (limiter, wide, narrow) = (limiter.clone(), wide.clone(), narrow.clone());
        let (subject, everybody) = (subjects[round % 8].clone(), everybody.clone());
        tasks.spawn(async move {
            let demands = [Demand::new(&wide, &everybody), Demand::new(&narrow, &subject)];
            let decisions = limiter.check_all(&demands).await.unwrap();
            let allowed = decisions.iter().filter(|decision| decision.is_allowed()).count();
            assert!(allowed == 0 || allowed == 2, "{decisions:?}");
            allowed / 2
        });
    }
    let allowed: usize = tasks.join_all().await.into_iter().sum();
    // For a moment others may find less room than there is; here the wide one has enough for all at once.
    assert_eq!(allowed, 24);
    assert_eq!(
        limiter.peek(&wide, &everybody, 1).await.unwrap().remaining,
        76,
        "what was given back is there again"
    );
}

/// Five names are counted by themselves; of those who come later each network has one count, and all others have one.
#[tokio::test]
async fn nobody_fills_the_store_by_coming_under_many_names() {
    let limiter = limiter().await;
    let server = TestServer::shared().await;
    let rule = rule("3/10day").with_most_subjects(5);
    let mut allowed = 0;
    for number in 0..50 {
        let subject = Subject::text(format!("name-{number}"));
        allowed += u32::from(limiter.check(&rule, &subject, 1).await.unwrap().is_allowed());
    }
    assert_eq!(allowed, 5 + 3, "five, and three of all the rest");
    for number in 0..50 {
        let crowd = ip(&format!("192.0.{}.{number}", number % 2));
        allowed += u32::from(limiter.check(&rule, &crowd, 1).await.unwrap().is_allowed());
    }
    assert_eq!(allowed, 8 + 6, "three of each network");
    // Who was there before goes on being counted by himself.
    let first = limiter.check(&rule, &Subject::text("name-0"), 1).await.unwrap();
    assert_eq!((first.is_allowed(), first.remaining()), (true, 1));
    let keys = server.cli(&["--scan", "--pattern", &format!("*:{}:*", rule.name())]).await.unwrap();
    assert_eq!(keys.lines().count(), 5 + 1 + 2, "{keys}");
}

/// Each step by itself, and first the one that a reset forgets.
#[tokio::test]
async fn a_ladder_is_looked_at_step_by_step() {
    let limiter = limiter().await;
    let rule = rule("5/10day").with_address_bits(32, 64).with_network(network(24, 56, "3/10day"));
    for (one, other, own, wide) in [
        ("192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:7::1", "2001:db8:1:8::1", "2001:db8:1:7::/64", "2001:db8:1::/56"),
    ] {
        assert!(limiter.check(&rule, &ip(one), 2).await.unwrap().is_allowed());
        assert!(limiter.check(&rule, &ip(other), 1).await.unwrap().is_allowed());
        let steps = limiter.peek_each(&rule, &ip(one), 1).await.unwrap();
        let seen: Vec<_> = steps
            .iter()
            .map(|step| (step.subject.as_str(), step.used, step.limit, step.retry_after.is_zero()))
            .collect();
        assert_eq!(seen, [(own, 2, 5, true), (wide, 3, 3, false)]);
        let standing = limiter.peek(&rule, &ip(one), 1).await.unwrap();
        assert!(standing.remaining == 0 && !standing.retry_after.is_zero(), "of the tightest: {standing:?}");
        assert!(limiter.reset(&rule, &ip(one)).await.unwrap());
        let steps = limiter.peek_each(&rule, &ip(one), 1).await.unwrap();
        assert_eq!((steps[0].used, steps[1].used), (0, 3), "the network is a subject of its own");
    }
    // Also of whoever is not counted any more.
    let spared = rule.with_allowed(AllowList::parse(["192.0.2.0/24"]).unwrap());
    assert_eq!(limiter.peek_each(&spared, &ip("192.0.2.8"), 1).await.unwrap()[0].used, 1);
    assert_eq!(limiter.peek(&spared, &ip("192.0.2.8"), 1).await.unwrap().remaining, u64::MAX);
}

#[tokio::test]
async fn of_several_that_are_denied_each_says_whether_it_refuses_itself() {
    let limiter = limiter().await;
    let (wide, narrow, subject) = (rule("9/10day"), rule("1/10day"), Subject::text("ada"));
    assert!(limiter.check(&narrow, &subject, 1).await.unwrap().is_allowed());
    // First by the store, and then from memory.
    for _ in 0..2 {
        let demands = [Demand::new(&wide, &subject), Demand::new(&narrow, &subject)];
        let decisions = limiter.check_all(&demands).await.unwrap();
        let refuses = |decision: &Decision| match decision {
            Decision::Denied(denied) => denied.refuses(),
            Decision::Allowed(_) => panic!("all or none"),
        };
        assert_eq!([refuses(&decisions[0]), refuses(&decisions[1])], [false, true]);
    }
}

/// All who have no name would share one count.
#[tokio::test]
async fn nobody_is_no_subject() {
    let limiter = limiter().await;
    let (rule, nobody) = (rule("3/10day"), Subject::text(""));
    let refused = |error: LimitError| {
        assert!(matches!(error, LimitError::NoSubject { .. }) && !error.is_unavailable(), "{error}");
        assert!(error.to_string().contains("the subject is empty"), "{error}");
    };
    refused(limiter.check(&rule, &nobody, 1).await.unwrap_err());
    refused(limiter.peek(&rule, &nobody, 1).await.unwrap_err());
    refused(limiter.peek_each(&rule, &nobody, 1).await.unwrap_err());
    refused(limiter.reset(&rule, &nobody).await.unwrap_err());
    let (ada, other) = (Subject::text("ada"), self::rule("3/10day"));
    let demands = [Demand::new(&other, &ada), Demand::new(&rule, &nobody)];
    refused(limiter.check_all(&demands).await.unwrap_err());
    assert_eq!(limiter.peek(&other, &ada, 1).await.unwrap().remaining, 3, "nobody was charged");
    // A shadow is in nobody's way, and counts nobody either.
    let shadow = rule.clone().shadow();
    assert_eq!(limiter.check(&shadow, &nobody, 1).await.unwrap().source(), Source::Shadow);
    let demands = [Demand::new(&other, &ada), Demand::new(&rule, &nobody).shadow()];
    let decisions = limiter.check_all(&demands).await.unwrap();
    assert_eq!((decisions[0].source(), decisions[1].source()), (Source::Store, Source::Shadow));
    let server = TestServer::shared().await;
    let keys = server.cli(&["KEYS", &format!("*{}*", rule.name())]).await.unwrap();
    assert_eq!(keys.trim(), "", "no key without a subject");
}

#[tokio::test]
async fn keys_that_cannot_begin_so_are_refused() {
    let limiter = limiter().await;
    for prefix in ["", "{mine}:", "mine\n", "two words:", "tab\t"] {
        let rule = rule("3/10day").with_prefix(prefix);
        assert!(matches!(rule.validate(), Err(InvalidRule::Prefix { .. })), "{prefix:?}");
        let error = limiter.check(&rule, &Subject::text("ada"), 1).await.unwrap_err();
        assert!(matches!(error, LimitError::Rule(InvalidRule::Prefix { .. })), "{prefix:?}: {error}");
        assert!(error.to_string().contains("a prefix of keys"), "{error}");
    }
    assert!(rule("3/10day").with_prefix("{mine}:").with_prefix("mine:").validate().is_ok());
}

#[test]
fn a_lease_that_saves_nothing_is_warned_of() {
    let leased = |quota: &str| rule(quota).with_lease("10%".parse().unwrap());
    assert_eq!(leased("60000/1m").warning(), None);
    let ladder = leased("60000/1m").with_network(network(24, 56, "90000/1m")).warning().unwrap();
    assert!(ladder.contains("no effect") && ladder.contains("networks"), "{ladder}");
    assert!(leased("10/1m").warning().unwrap().contains("not worth holding"));
}
