//! Who is nearest to a limit, on a real server.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{Algorithm, Limiter, Network, Rule, Subject, Survey, Usage};
use valkey_testkit::{TestCluster, TestServer, unique_name};

const ALL: [Algorithm; 5] = [
    Algorithm::SlidingWindow,
    Algorithm::SlidingLog,
    Algorithm::Gcra { burst: 100 },
    Algorithm::SlidingCounter,
    Algorithm::FixedWindow,
];

async fn limiter() -> Limiter {
    let settings = ConnectionSettings::from_url(&TestServer::shared().await.url()).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(Duration::from_secs(10))
}

fn rule() -> Rule {
    Rule::new(unique_name("survey").parse().unwrap(), "100/10day".parse().unwrap())
}

async fn charge(limiter: &Limiter, rule: &Rule, subject: &Subject, cost: u64) {
    assert!(limiter.check(rule, subject, cost).await.unwrap().is_allowed());
}

fn shares(survey: &Survey) -> Vec<(&str, u64, u64)> {
    survey
        .nearest
        .iter()
        .map(|Usage { subject, used, limit, .. }| (subject.as_str(), *used, *limit))
        .collect()
}

#[tokio::test]
async fn those_who_used_most_come_first_and_looking_charges_nothing() {
    let limiter = limiter().await;
    for algorithm in ALL {
        // Nothing in a prefix stands for anything else.
        let rule = rule().with_algorithm(algorithm).with_prefix("su[r]v?y*:");
        let other =
            Rule::new(rule.name().clone(), rule.quota()).with_algorithm(algorithm).with_prefix("surviy-:");
        charge(&limiter, &other, &Subject::text("of-another-prefix"), 100).await;
        for (subject, cost) in [("ada", 3), ("eve", 100), ("2001:db8::1", 50), ("b", 3)] {
            charge(&limiter, &rule, &Subject::text(subject), cost).await;
        }
        let mut pages = Vec::new();
        for _ in 0..2 {
            let survey = limiter.survey(&rule, 3, |surveyed| pages.push(surveyed)).await.unwrap();
            assert_eq!(
                shares(&survey),
                [("eve", 100, 100), ("2001:db8::1", 50, 100), ("ada", 3, 100)],
                "{algorithm:?}"
            );
            assert_eq!((survey.subjects, survey.foreign, survey.complete), (4, 0, true));
            assert!(
                survey.nearest[0].retry_after > Duration::ZERO && survey.nearest[1].retry_after.is_zero()
            );
            assert!(survey.nearest.iter().all(|usage| !usage.reset_after.is_zero()));
        }
        assert_eq!(pages.last().map(|surveyed| surveyed.subjects), Some(4));
    }
}

#[tokio::test]
async fn networks_are_measured_by_their_own_limit() {
    let limiter = limiter().await;
    let rule = rule().with_network(Network { v4: 24, v6: 48, quota: "1000/10day".parse().unwrap() });
    for address in ["192.0.2.1", "192.0.2.2"] {
        charge(&limiter, &rule, &Subject::ip(address.parse().unwrap()), 40).await;
    }
    let survey = limiter.survey(&rule, 9, |_| ()).await.unwrap();
    assert_eq!(
        shares(&survey),
        [("192.0.2.1", 40, 100), ("192.0.2.2", 40, 100), ("192.0.2.0/24", 80, 1_000)]
    );
}

#[tokio::test]
async fn sorted_sets_of_other_nodes_are_read_and_what_is_none_is_counted_apart() {
    let (server, limiter) = (TestServer::shared().await, limiter().await);
    let rule = rule().with_algorithm(Algorithm::SlidingLog).with_prefix("elemta:ratelimit:");
    let key = |subject: &str| rule.key(&Subject::text(subject));
    let now = server.cli(&["TIME"]).await.unwrap();
    let now: u64 = now.lines().next().unwrap().parse().unwrap();
    for second in now - 7..now {
        server.cli(&["ZADD", &key("172.20.0.1"), &second.to_string(), &second.to_string()]).await.unwrap();
    }
    server.cli(&["SET", &key("a-squatter"), "x"]).await.unwrap();
    let survey = limiter.survey(&rule, 9, |_| ()).await.unwrap();
    assert_eq!(shares(&survey), [("172.20.0.1", 7, 100)]);
    assert_eq!((survey.subjects, survey.foreign), (1, 1));
    server.cli(&["DEL", &key("a-squatter")]).await.unwrap();
}

#[tokio::test]
async fn all_nodes_of_a_cluster_are_walked() {
    let cluster = TestCluster::start(3).await.unwrap();
    let settings = ConnectionSettings::from_url(&cluster.urls()[0])
        .unwrap()
        .mode(valkey_connection::Mode::Cluster)
        .read_timeout(Duration::from_secs(10));
    let limiter =
        Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(Duration::from_secs(10));
    for algorithm in [Algorithm::SlidingWindow, Algorithm::SlidingLog] {
        let rule = rule().with_algorithm(algorithm);
        for number in 1..=90 {
            charge(&limiter, &rule, &Subject::text(format!("subject-{number}")), number).await;
        }
        let survey = limiter.survey(&rule, 2, |_| ()).await.unwrap();
        assert_eq!(shares(&survey), [("subject-90", 90, 100), ("subject-89", 89, 100)]);
        assert_eq!((survey.subjects, survey.complete), (90, true));
    }
}
