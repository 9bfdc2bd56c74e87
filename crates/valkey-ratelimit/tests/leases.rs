//! Token leases on a real server: few round trips, and never more than the limit and the share that may be held.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{Decision, Limiter, Rule, Source, Subject};
use valkey_testkit::{TestServer, eventually, unique_name};

async fn limiter(url: &str) -> Limiter {
    let settings = ConnectionSettings::from_url(url).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(Duration::from_secs(10))
}

fn rule(name: &str, quota: &str, share: &str) -> Rule {
    Rule::new(name.parse().unwrap(), quota.parse().unwrap()).with_lease(share.parse().unwrap())
}

#[tokio::test]
async fn a_busy_subject_costs_few_round_trips_and_what_is_not_used_comes_back() {
    let limiter = limiter(&TestServer::shared().await.url()).await;
    let rule = rule(&unique_name("r"), "4000000/10day", "1%");
    let subject = Subject::text("everybody");
    let (mut asked, mut leased) = (0_u64, 0_u64);
    for _ in 0..5_000 {
        let decision = limiter.check(&rule, &subject, 1).await.unwrap();
        assert!(decision.is_allowed());
        match decision.source() {
            Source::Lease => leased += 1,
            Source::Store => asked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(leased > asked, "{leased} by lease, {asked} by the store");
    // A lease is good for a second; then its rest goes back.
    eventually("what is left came back", async || {
        let remaining = limiter.peek(&rule, &subject, 1).await.unwrap().remaining;
        (remaining == 3_995_000).then_some(())
    })
    .await;
    // What was taken of a lease can be given back as any other.
    loop {
        let Decision::Allowed(allowed) = limiter.check(&rule, &subject, 1).await.unwrap() else {
            panic!("room")
        };
        if allowed.source == Source::Lease {
            assert_eq!(limiter.refund(allowed.into_ticket().unwrap(), 1).await.unwrap(), 1);
            break;
        }
    }
}

#[tokio::test]
async fn a_subject_that_comes_now_and_then_leases_nothing() {
    let server = TestServer::start().await.unwrap();
    let limiter = limiter(&server.url()).await;
    let rule = rule("slow", "1000/100ms", "50%");
    let subject = Subject::text("ada");
    for _ in 0..5 {
        assert_eq!(limiter.check(&rule, &subject, 1).await.unwrap().source(), Source::Store);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

const NODE: &str = "VALKIT_TEST_LEASE_NODE";

/// Not a test by itself: one of the processes of the test below, when that starts it.
#[tokio::test(flavor = "multi_thread")]
async fn node() {
    let Ok(arguments) = std::env::var(NODE) else { return };
    let [url, name, quota, share, ms] = arguments.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{arguments}")
    };
    let limiter = limiter(url).await;
    let (rule, subject) = (rule(name, quota, share), Subject::text("everybody"));
    let until = Instant::now() + Duration::from_millis(ms.parse().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (limiter, rule, subject) = (limiter.clone(), rule.clone(), subject.clone());
        tasks.spawn(async move {
            let mut admitted = Vec::new();
            while Instant::now() < until {
                let decision = limiter.check(&rule, &subject, 1).await.unwrap();
                if decision.is_allowed() {
                    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
                    admitted.push((at, decision.source() == Source::Lease));
                }
                // Four nodes share two cores with others.
                tokio::task::yield_now().await;
            }
            admitted
        });
    }
    for (at, leased) in tasks.join_all().await.into_iter().flatten() {
        println!("admitted {at} {leased}");
    }
}

/// Instants of all that four processes admitted, and how many of them by lease.
fn admitted_by_four(url: &str, quota: &str, share: &str, ms: u64) -> (Vec<u64>, usize) {
    let name = unique_name("r");
    let nodes: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "node", "--nocapture"])
                .env(NODE, format!("{url} {name} {quota} {share} {ms}"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let (mut instants, mut leased) = (Vec::new(), 0);
    for node in nodes {
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let Some(line) = line.strip_prefix("admitted ") else { continue };
            let (at, by_lease) = line.split_once(' ').unwrap();
            instants.push(at.parse().unwrap());
            leased += usize::from(by_lease == "true");
        }
    }
    instants.sort_unstable();
    (instants, leased)
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_together_spend_the_limit_and_no_more() {
    let server = TestServer::start().await.unwrap();
    let url = server.url();
    // Within one window: what is held was charged, so not one more is admitted.
    let (admitted, leased) = admitted_by_four(&url, "5000/10day", "10%", 12_000);
    assert!(admitted.len() <= 5_000, "{}", admitted.len());
    assert!(admitted.len() >= 4_750, "{} were admitted, the rest was held in vain", admitted.len());
    assert!(leased > 100, "{leased} of {} by lease", admitted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_trailing_window_do_four_processes_admit_more_than_limit_and_share() {
    let server = TestServer::start().await.unwrap();
    let (admitted, leased) = admitted_by_four(&server.url(), "2000/2s", "10%", 9_000);
    // An instant is noted a little after the decision: windows are measured that much shorter.
    let window = 2_000_000 - 200_000;
    let most = (0..admitted.len())
        .map(|last| last + 1 - admitted.partition_point(|at| *at <= admitted[last].saturating_sub(window)))
        .max();
    assert!(most.unwrap() <= 2_200, "{most:?} in a window");
    assert!(admitted.len() >= 3 * 1_800, "{} in more than four windows", admitted.len());
    assert!(leased > 0);
}
