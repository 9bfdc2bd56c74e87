//! The limiter on a real server: exact with many who ask at once, all or nothing, and what is given back.
#![allow(clippy::unwrap_used)]

use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{Algorithm, Decision, Demand, LimitError, Limiter, Rule, Source, Subject};
use valkey_testkit::{TestCluster, TestServer, eventually, unique_name};

const ALL: [Algorithm; 5] = [
    Algorithm::SlidingWindow,
    Algorithm::SlidingLog,
    Algorithm::Gcra { burst: 100 },
    Algorithm::SlidingCounter,
    Algorithm::FixedWindow,
];

async fn limiter() -> Limiter {
    let settings = ConnectionSettings::from_url(&TestServer::shared().await.url()).unwrap();
    patient(Connection::connect(&settings).await.unwrap())
}

/// No test here is about how fast a server answers.
fn patient(connection: Connection) -> Limiter {
    Limiter::new(connection).with_deadline(Duration::from_secs(10))
}

/// A rule that nobody else has. Its window is so long that no test sees its end.
fn rule(quota: &str, algorithm: Algorithm) -> Rule {
    Rule::new(unique_name("r").parse().unwrap(), quota.parse().unwrap()).with_algorithm(algorithm)
}

async fn allowed(limiter: &Limiter, rule: &Rule, subject: &Subject, cost: u64) -> bool {
    limiter.check(rule, subject, cost).await.unwrap().is_allowed()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_from_wherever_the_limit_is_admitted_and_no_more() {
    let nodes = [limiter().await, limiter().await, limiter().await];
    for algorithm in ALL {
        let rule = rule("100/10day", algorithm);
        let mut tasks = JoinSet::new();
        for number in 0..300 {
            let (limiter, rule) = (nodes[number % nodes.len()].clone(), rule.clone());
            tasks.spawn(async move { limiter.check(&rule, &Subject::text("everybody"), 1).await.unwrap() });
        }
        let decisions = tasks.join_all().await;
        let granted = decisions.iter().filter(|decision| decision.is_allowed()).count();
        assert_eq!(granted, 100, "{algorithm:?}");
        // Each is told another remainder: nobody's charge is another's.
        let mut remaining: Vec<u64> =
            decisions.iter().filter(|decision| decision.is_allowed()).map(Decision::remaining).collect();
        remaining.sort_unstable();
        assert_eq!(remaining, (0..100).collect::<Vec<_>>(), "{algorithm:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subjects_at_once_do_not_mix() {
    let limiter = limiter().await;
    let rule = rule("7/10day", Algorithm::SlidingWindow);
    let mut tasks = JoinSet::new();
    for number in 0..1_000_u32 {
        let (limiter, rule) = (limiter.clone(), rule.clone());
        tasks.spawn(async move {
            let subject = Subject::text(format!("subject-{}", number % 100));
            (number % 100, allowed(&limiter, &rule, &subject, 1).await)
        });
    }
    let mut granted = [0; 100];
    for (subject, allowed) in tasks.join_all().await {
        granted[subject as usize] += u32::from(allowed);
    }
    assert_eq!(granted, [7; 100]);
}

#[tokio::test]
async fn a_check_that_is_given_up_or_never_polled_again_is_in_nobodys_way() {
    let (limiter, rule) = (limiter().await, rule("1000/10day", Algorithm::SlidingWindow));
    let (ada, bob) = (Subject::text("ada"), Subject::text("bob"));
    for _ in 0..3 {
        let mut begun = Box::pin(limiter.check(&rule, &ada, 1));
        let polled = std::future::poll_fn(|context| Poll::Ready(begun.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        // One after the other, and all at once.
        for _ in 0..10 {
            assert!(allowed(&limiter, &rule, &bob, 1).await);
        }
        let at_once = (0..100).map(|_| allowed(&limiter, &rule, &bob, 1));
        assert!(futures::future::join_all(at_once).await.into_iter().all(|allowed| allowed));
        // A few after many: too few for a call beside another, if there were one that ends.
        for count in [64, 3] {
            let subjects: Vec<Subject> =
                (0..count).map(|number| Subject::text(format!("s{number}"))).collect();
            let at_once = futures::future::join_all(
                subjects.iter().map(|subject| allowed(&limiter, &rule, subject, 1)),
            );
            let allowed = tokio::time::timeout(Duration::from_mins(1), at_once).await.unwrap();
            assert!(allowed.into_iter().all(|allowed| allowed));
        }
        drop(begun);
    }
    assert!(allowed(&limiter, &rule, &ada, 1).await);
}

#[tokio::test]
async fn whoever_is_refused_costs_no_round_trip_until_there_may_be_room() {
    let server = TestServer::shared().await;
    let limiter = limiter().await;
    let rule = rule("3/1m", Algorithm::SlidingWindow);
    let subject = Subject::text("ada");
    for _ in 0..3 {
        assert!(allowed(&limiter, &rule, &subject, 1).await);
    }
    let mut sources = Vec::new();
    for _ in 0..1_000 {
        match limiter.check(&rule, &subject, 1).await.unwrap() {
            Decision::Denied(denied) => sources.push(denied.source),
            Decision::Allowed(_) => panic!("the window has not passed"),
        }
    }
    let asked = sources.iter().filter(|source| **source == Source::Store).count();
    // The last grant told already that the next one will be refused; that is believed for 5 s.
    assert!(asked <= 2, "{asked} of 1,000 went to the store");
    // What somebody else gives back is seen after a tenth of the window, or 5 s.
    server.cli(&["DEL", &rule.key(&subject)]).await.unwrap();
    eventually("room again", async || allowed(&limiter, &rule, &subject, 1).await.then_some(())).await;
}

#[tokio::test]
async fn several_limits_are_charged_all_or_none() {
    let limiter = limiter().await;
    let (wide, narrow, trial) = (
        rule("100/10day", Algorithm::SlidingWindow),
        rule("3/10day", Algorithm::Gcra { burst: 3 }),
        rule("1/10day", Algorithm::SlidingWindow),
    );
    let subject = Subject::ip("192.0.2.7".parse().unwrap());
    for round in 0..5_u64 {
        let demands = [
            Demand::new(&wide, &subject).cost(2),
            Demand::new(&narrow, &subject),
            Demand::new(&trial, &subject).shadow(),
        ];
        let decisions = limiter.check_all(&demands).await.unwrap();
        let is_allowed: Vec<bool> = decisions.iter().map(Decision::is_allowed).collect();
        assert_eq!(is_allowed, [round < 3, round < 3, true], "round {round}");
        let sources: Vec<Source> = decisions.iter().map(Decision::source).collect();
        let of_shadow = if round == 0 { Source::Store } else { Source::Shadow };
        // From the fourth round on it is known that the narrow one refuses, and nobody asks.
        if round < 3 {
            assert_eq!(sources, [Source::Store, Source::Store, of_shadow], "round {round}");
        }
    }
    assert_eq!(
        limiter.peek(&wide, &subject, 1).await.unwrap().remaining,
        94,
        "two rounds were refused, and cost nothing"
    );
    let twice = [Demand::new(&wide, &subject), Demand::new(&wide, &subject)];
    assert!(matches!(limiter.check_all(&twice).await, Err(LimitError::Demands { .. })));
    assert!(limiter.check_all(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_given_back_can_be_had_again() {
    let limiter = limiter().await;
    for algorithm in ALL {
        let rule = rule("100/10day", algorithm);
        let subject = Subject::text("ada");
        let Decision::Allowed(first) = limiter.check(&rule, &subject, 60).await.unwrap() else {
            panic!("{algorithm:?}: there is room")
        };
        assert!(!allowed(&limiter, &rule, &subject, 60).await, "{algorithm:?}");
        let ticket = first.into_ticket().unwrap();
        assert_eq!(ticket.amount(), 60);
        let back = limiter.refund(ticket.clone(), 25).await.unwrap();
        // A drop or two of the bucket drained meanwhile, and may have been this charge.
        assert!((24..=25).contains(&back), "{algorithm:?}: {back}");
        assert!(allowed(&limiter, &rule, &subject, 60).await, "{algorithm:?}");
        assert!(limiter.reset(&rule, &subject).await.unwrap(), "{algorithm:?}");
        assert!(!limiter.reset(&rule, &subject).await.unwrap(), "{algorithm:?}");
        assert_eq!(limiter.refund(ticket, 60).await.unwrap(), 0, "{algorithm:?}: it is forgotten");
        assert_eq!(limiter.peek(&rule, &subject, 1).await.unwrap().remaining, 100, "{algorithm:?}");
    }
}

#[tokio::test]
async fn what_can_never_be_allowed_and_what_is_somebody_elses_is_an_error_not_a_refusal() {
    let limiter = limiter().await;
    let server = TestServer::shared().await;
    let subject = Subject::text("ada");
    for algorithm in ALL {
        let rule = rule("100/10day", algorithm);
        let error = limiter.check(&rule, &subject, 101).await.unwrap_err();
        assert!(matches!(error, LimitError::CostAboveLimit { cost: 101, limit: 100, .. }), "{error}");

        let key = rule.key(&subject);
        for (other, command) in
            [("a hash", ["HSET", &key, "field", "1"]), ("a list", ["RPUSH", &key, "1", "2"])]
        {
            server.cli(&command).await.unwrap();
            let error = limiter.check(&rule, &subject, 1).await.unwrap_err();
            assert!(
                matches!(error, LimitError::ForeignKey { .. }) && error.to_string().contains(&key),
                "{other}: {error}"
            );
            assert_eq!(server.cli(&["DEL", &key]).await.unwrap(), "1", "{other}: it is left alone");
        }
        if algorithm != Algorithm::SlidingLog {
            server.cli(&["SET", &key, "somebody's"]).await.unwrap();
            assert!(matches!(limiter.check(&rule, &subject, 1).await, Err(LimitError::ForeignKey { .. })));
            assert_eq!(server.cli(&["GET", &key]).await.unwrap(), "somebody's");
        }
    }
}

/// A node that knows the sorted set only, as it has always been used.
#[tokio::test]
async fn a_log_is_shared_with_programs_that_know_only_the_sorted_set() {
    let limiter = limiter().await;
    let server = TestServer::shared().await;
    let rule = rule("10/1m", Algorithm::SlidingLog).with_prefix("elemta:ratelimit:");
    let subject = Subject::ip("172.20.0.1".parse().unwrap());
    let key = rule.key(&subject);
    for _ in 0..4 {
        assert!(allowed(&limiter, &rule, &subject, 1).await);
    }
    assert_eq!(server.cli(&["ZCARD", &key]).await.unwrap(), "4", "one member for each");
    // Their four commands: what is old goes, what is there is counted, one is added, the key expires.
    let now: u64 = server.cli(&["TIME"]).await.unwrap().lines().next().unwrap().parse().unwrap();
    for second in [now - 2, now - 1, now] {
        let second = second.to_string();
        server.cli(&["ZREMRANGEBYSCORE", &key, "0", &(now - 60).to_string()]).await.unwrap();
        server.cli(&["ZCARD", &key]).await.unwrap();
        server.cli(&["ZADD", &key, &second, &second]).await.unwrap();
        server.cli(&["EXPIRE", &key, "60"]).await.unwrap();
    }
    assert_eq!(limiter.peek(&rule, &subject, 1).await.unwrap().remaining, 3, "theirs count");
    assert_eq!(server.cli(&["ZCARD", &key]).await.unwrap(), "7", "ours were left alone");
    // Scores are seconds with a fraction: what the other side computes with them goes on being right.
    let scores = server.cli(&["ZRANGE", &key, "-1", "-1", "WITHSCORES"]).await.unwrap();
    let score: f64 = scores.lines().nth(1).unwrap().parse().unwrap();
    assert!((score - now as f64).abs() < 5.0, "{score}");
}

#[tokio::test]
async fn in_a_cluster_each_call_goes_to_one_node() {
    let cluster = TestCluster::start(3).await.unwrap();
    let settings = ConnectionSettings::from_url(&cluster.urls()[0])
        .unwrap()
        .mode(valkey_connection::Mode::Cluster)
        .read_timeout(Duration::from_secs(10));
    let limiter = patient(Connection::connect(&settings).await.unwrap());
    for algorithm in [Algorithm::SlidingWindow, Algorithm::SlidingLog] {
        let rule = rule("2/10day", algorithm);
        let mut tasks = JoinSet::new();
        for number in 0..300_u32 {
            let (limiter, rule) = (limiter.clone(), rule.clone());
            tasks.spawn(async move {
                allowed(&limiter, &rule, &Subject::text(format!("s{}", number % 100)), 1).await
            });
        }
        let granted = tasks.join_all().await.into_iter().filter(|allowed| *allowed).count();
        assert_eq!(granted, 200, "{algorithm:?}");
    }
    let (one, two) = (rule("1/10day", Algorithm::SlidingWindow), rule("1/10day", Algorithm::FixedWindow));
    let subject = Subject::text("ada");
    let demands = [Demand::new(&one, &subject), Demand::new(&two, &subject)];
    assert!(limiter.check_all(&demands).await.unwrap().iter().all(Decision::is_allowed));
}
