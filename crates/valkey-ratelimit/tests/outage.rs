//! The store goes away, and comes back: what a check says, how long it takes, and that nothing is replayed.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{Health, LimitError, Limiter, Rule, Subject};
use valkey_testkit::{FaultProxy, TestServer, eventually, unique_name};

/// Longer than a sound server takes on a busy machine.
const DEADLINE: Duration = Duration::from_millis(500);

async fn limiter(address: &str) -> Limiter {
    let settings = ConnectionSettings::from_url(&format!("valkey://{address}")).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(DEADLINE)
}

fn rule() -> Rule {
    Rule::new(unique_name("r").parse().unwrap(), "1000/10day".parse().unwrap())
}

/// Asks until the store is taken to be away; each time the answer is an error, never a decision.
async fn until_away(limiter: &Limiter, rule: &Rule, subject: &Subject) {
    let begun = Instant::now();
    loop {
        match limiter.check(rule, subject, 1).await.unwrap_err() {
            LimitError::Away { .. } => return,
            LimitError::Late { .. } | LimitError::Unavailable { .. } => {}
            other => panic!("{other}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", limiter.health());
    }
}

/// While it is away no call goes to it but the probes: a thousand of them take less than one may.
async fn nobody_waits(limiter: &Limiter, rule: &Rule, subject: &Subject) {
    let begun = Instant::now();
    let mut asked = 0;
    for _ in 0..1_000 {
        let error = limiter.check(rule, subject, 1).await.unwrap_err();
        asked += u32::from(!matches!(error, LimitError::Away { .. }));
    }
    // A probe waits for its deadline; the pauses between them are far longer than all the others take.
    assert!(asked <= 3, "{asked} were asked");
    assert!(begun.elapsed() < DEADLINE * (asked + 1), "{:?}, {asked} asked", begun.elapsed());
}

async fn until_healthy(limiter: &Limiter, rule: &Rule, subject: &Subject) -> u64 {
    let mut allowed = 0;
    eventually("all checks go to the store again", async || {
        allowed += u64::from(limiter.check(rule, subject, 1).await.is_ok());
        (limiter.health() == Health::Healthy).then_some(())
    })
    .await;
    allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_is_asked_no_more_and_is_found_when_it_is_back() {
    let server = TestServer::builder().append_only(true).config("appendfsync", "no").start().await.unwrap();
    let limiter = limiter(&server.address()).await;
    let (rule, subject) = (rule(), Subject::text("ada"));
    assert!(limiter.check(&rule, &subject, 1).await.unwrap().is_allowed());
    for fault in ["killed", "paused"] {
        if fault == "killed" {
            server.kill().await.unwrap();
        } else {
            server.pause().await.unwrap();
        }
        until_away(&limiter, &rule, &subject).await;
        nobody_waits(&limiter, &rule, &subject).await;
        if fault == "killed" {
            server.restart().await.unwrap();
        } else {
            server.resume().await.unwrap();
        }
        until_healthy(&limiter, &rule, &subject).await;
    }
}

/// What was not asked is not charged later: the count on the server is that of the answers, and of those that may have been
/// charged without one.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_charged_later_for_what_was_decided_without_the_store() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let limiter = limiter(&proxy.address()).await;
    let (rule, subject) = (rule(), Subject::text("ada"));
    let (mut answered, mut unknown) = (0, 0);
    proxy.stall();
    let begun = Instant::now();
    while limiter.health() != Health::Open {
        match limiter.check(&rule, &subject, 1).await {
            Ok(_) => answered += 1,
            Err(LimitError::Away { .. }) => {}
            Err(_) => unknown += 1,
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    for _ in 0..1_000 {
        let error = limiter.check(&rule, &subject, 1).await.unwrap_err();
        unknown += u64::from(!matches!(error, LimitError::Away { .. }));
    }
    proxy.heal().await.unwrap();
    eventually("all checks go to the store again", async || {
        match limiter.check(&rule, &subject, 1).await {
            Ok(_) => answered += 1,
            Err(LimitError::Away { .. }) => {}
            Err(_) => unknown += 1,
        }
        (limiter.health() == Health::Healthy).then_some(())
    })
    .await;
    let used = 1_000 - limiter.peek(&rule, &subject, 1).await.unwrap().remaining;
    assert!(
        (answered..=answered + unknown).contains(&used),
        "{answered} answered, {unknown} unknown, {used} charged"
    );
}

/// Checks of several runtimes travel together, and who waits in line has no timer of its own: it must not wait for a call that
/// nobody makes any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_outlives_the_runtime_that_asked_for_it() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let limiter = limiter(&proxy.address()).await.with_deadline(Duration::from_mins(10));
    let (rule, subject) = (rule(), Subject::text("ada"));
    assert!(limiter.check(&rule, &subject, 1).await.unwrap().is_allowed());
    proxy.stall();
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask = async |who: &str| limiter.check(&rule, &Subject::text(who), 1).await;
    for who in ["bob", "eve"] {
        let (limiter, rule) = (limiter.clone(), rule.clone());
        other.spawn(async move { limiter.check(&rule, &Subject::text(who), 1).await });
    }
    // Long enough for both to be on their way: then there are as many calls as there may be.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = ask("joe");
    let ended = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.shutdown_background();
    };
    let (answer, ()) = tokio::join!(waiting, ended);
    assert!(matches!(answer, Err(LimitError::GivenUp { .. })), "{answer:?}");
    proxy.heal().await.unwrap();
    eventually("checks are answered again", async || ask("joe").await.ok()).await;
}
