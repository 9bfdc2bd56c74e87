//! The doctor on real servers.

use valkey_admin::{Diagnosis, Severity};
use valkey_connection::Command;
use valkey_testkit::TestServer;

use crate::support::Bench;

fn has(diagnosis: &Diagnosis, severity: Severity, what: &str) -> bool {
    diagnosis.findings.iter().any(|finding| finding.severity == severity && finding.what.contains(what))
}

#[tokio::test]
async fn a_server_without_persistence_and_a_queue_without_consumers() {
    let server = TestServer::start().await.unwrap();
    let bench = Bench::on(&server).await;
    bench.push(bench.keys.public(), "x").await;
    bench.run(Command::new("SET").key("queue:not ours").arg("x")).await;
    bench.claim("stray", "1-1", 0, "x").await;
    let diagnosis = bench.admin.doctor(&[]).await.unwrap();
    assert!(has(&diagnosis, Severity::Warning, "persistence: none"), "{diagnosis:#?}");
    assert!(has(&diagnosis, Severity::Warning, "no consumer is there"), "{diagnosis:#?}");
    assert!(has(&diagnosis, Severity::Critical, "which is not registered"), "{diagnosis:#?}");
    assert!(has(&diagnosis, Severity::Note, "1 key begins like a queue's"), "{diagnosis:#?}");
    assert_eq!(diagnosis.worst(), Some(Severity::Critical));
    assert!(diagnosis.queues.contains(&bench.queue));
    let severities: Vec<_> = diagnosis.findings.iter().map(|finding| finding.severity).collect();
    assert!(severities.is_sorted(), "{severities:?}");
}

#[tokio::test]
async fn the_default_user_that_may_not_replay_is_found() {
    let server =
        TestServer::builder().append_only(true).acl_user("op", "pw", "~* &* +@all").start().await.unwrap();
    let bench = Bench::on(&server).await;
    bench.run(Command::new("ACL SETUSER").args(["default", "off"])).await;
    let safe = bench.admin.doctor(&[]).await.unwrap();
    assert!(!has(&safe, Severity::Critical, "default"), "{safe:#?}");
    bench.run(Command::new("ACL SETUSER").args(["default", "resetkeys", "-@all"])).await;
    let unsafe_ = bench.admin.doctor(&[]).await.unwrap();
    let version = bench.run(Command::new("INFO").arg("server")).await.into_string().unwrap();
    let fixed = ["8.0.11", "8.1.10", "9.1.2"].iter().any(|fixed| version.contains(fixed));
    assert_eq!(has(&unsafe_, Severity::Critical, "default"), !fixed, "{unsafe_:#?}");
}

#[tokio::test]
async fn evicting_servers_are_found() {
    let server = TestServer::builder()
        .config("maxmemory", "100mb")
        .config("maxmemory-policy", "allkeys-lru")
        .start()
        .await
        .unwrap();
    let diagnosis = Bench::on(&server).await.admin.doctor(&[]).await.unwrap();
    assert!(has(&diagnosis, Severity::Critical, "allkeys-lru"), "{diagnosis:#?}");
}

#[tokio::test]
async fn checks_a_user_may_not_make_are_said_and_the_rest_goes_on() {
    let server = TestServer::builder()
        .append_only(true)
        .acl_user("few", "pw", "~* &* +@all -config -acl -info -scan")
        .start()
        .await
        .unwrap();
    let bench = Bench::on(&server).await;
    bench.push(bench.keys.public(), "x").await;
    let diagnosis = bench.admin.doctor(std::slice::from_ref(&bench.queue)).await.unwrap();
    assert!(has(&diagnosis, Severity::Unchecked, "version, memory policy"), "{diagnosis:#?}");
    assert!(has(&diagnosis, Severity::Unchecked, "which queues there are"), "{diagnosis:#?}");
    assert!(has(&diagnosis, Severity::Warning, "no consumer is there"), "{diagnosis:#?}");
}

#[tokio::test]
async fn what_a_sender_can_be_promised_is_said_with_the_reason() {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    let bench = Bench::on(&server).await;
    for (policy, what) in
        [("everysec", "no `durable` (appendfsync is `everysec`)"), ("always", "`durable`, no")]
    {
        bench.run(Command::new("CONFIG SET").args(["appendfsync", policy])).await;
        let diagnosis = bench.admin.doctor(&[]).await.unwrap();
        // Redis has WAITAOF from 7.2 on.
        let what = if has(&diagnosis, Severity::Note, "(no WAITAOF)") { "no `durable`" } else { what };
        assert!(has(&diagnosis, Severity::Note, what), "{diagnosis:#?}");
    }
}
