//! Servers and users with whom a send is refused: the doctor says so, and promises nothing.

use std::time::Duration;

use valkey_admin::{Diagnosis, Error, Finding, Severity};
use valkey_connection::{Command, ErrorKind};
use valkey_testkit::{TestReplication, TestServer};

use crate::support::Bench;

/// The critical finding that names all of this, in a diagnosis that promises nothing to a sender.
fn refusal<'a>(diagnosis: &'a Diagnosis, what: &[&str]) -> &'a Finding {
    let found = finding(diagnosis, Severity::Critical, what);
    assert!(diagnosis.findings.iter().all(|finding| !finding.what.contains("promised")), "{diagnosis:#?}");
    found
}

fn finding<'a>(diagnosis: &'a Diagnosis, severity: Severity, what: &[&str]) -> &'a Finding {
    let fits = |finding: &&Finding| {
        finding.severity == severity && what.iter().all(|what| finding.what.contains(what))
    };
    diagnosis.findings.iter().find(fits).unwrap_or_else(|| panic!("{what:?} is not in {diagnosis:#?}"))
}

fn promises(diagnosis: &Diagnosis) {
    finding(diagnosis, Severity::Note, &["promised `fast`"]);
}

async fn send(bench: &Bench) -> Result<(), ErrorKind> {
    let push = Command::new("LPUSH").key(bench.keys.public()).arg("x");
    bench.connection.execute(push).await.map(drop).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_replica_is_named_with_its_primary_and_its_link() {
    let servers = TestReplication::builder().start().await.unwrap();
    let bench = Bench::on(&servers.servers()[1]).await;
    assert_eq!(send(&bench).await, Err(ErrorKind::RoleChange));
    let told = bench.admin.doctor(&[]).await.unwrap();
    let replica = refusal(&told, &["it is a replica of ", "its link to it is up"]);
    assert!(replica.why.contains("READONLY") && replica.remedy.contains("VALKEY_URL"), "{replica:?}");

    servers.servers()[0].kill().await.unwrap();
    let mut down = bench.admin.doctor(&[]).await.unwrap();
    for _ in 0..100 {
        if down.findings.iter().any(|finding| finding.what.contains("its link to it is down")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        down = bench.admin.doctor(&[]).await.unwrap();
    }
    let replica = refusal(&down, &["it is a replica of ", "its link to it is down"]);
    assert!(replica.remedy.contains("REPLICAOF NO ONE"), "{replica:?}");

    bench.run(Command::new("REPLICAOF").args(["NO", "ONE"])).await;
    send(&bench).await.unwrap();
    promises(&bench.admin.doctor(&[]).await.unwrap());
}

#[tokio::test]
async fn a_full_memory_is_named_with_its_numbers_and_a_nearly_full_one_before_it_is() {
    let server = TestServer::builder().config("maxmemory-policy", "noeviction").start().await.unwrap();
    let bench = Bench::on(&server).await;
    bench.run(Command::new("CONFIG SET").args(["maxmemory", "1mb"])).await;
    // An idle server takes less than that on some engines.
    let filler = Command::new("SETRANGE").key("filler").arg(2_000_000u64).arg("x");
    let _ = bench.connection.execute(filler).await;
    assert_eq!(send(&bench).await, Err(ErrorKind::OutOfMemory));
    let told = bench.admin.doctor(&[]).await.unwrap();
    let full = refusal(&told, &["its memory is full", " of 1048576 bytes", "noeviction"]);
    assert!(full.why.contains("OOM") && full.remedy.contains("maxmemory"), "{full:?}");

    // A filler that dwarfs what connections take.
    bench.run(Command::new("CONFIG SET").args(["maxmemory", "0"])).await;
    bench.run(Command::new("SETRANGE").key("filler").arg(60_000_000u64).arg("x")).await;
    let info = bench.run(Command::new("INFO").arg("memory")).await.into_string().unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim();
    let limit = used.parse::<u64>().unwrap() / 95 * 100;
    bench.run(Command::new("CONFIG SET").arg("maxmemory").arg(limit)).await;
    send(&bench).await.unwrap();
    let told = bench.admin.doctor(&[]).await.unwrap();
    finding(&told, Severity::Warning, &["its memory is nearly full", &limit.to_string()]);
    promises(&told);
}

#[tokio::test]
async fn too_few_replicas_are_counted() {
    let server = TestServer::builder().config("min-replicas-to-write", "1").start().await.unwrap();
    let bench = Bench::on(&server).await;
    assert_eq!(send(&bench).await, Err(ErrorKind::StoreUnsafe));
    let told = bench.admin.doctor(&[]).await.unwrap();
    let few = refusal(&told, &["0 good replicas", "min-replicas-to-write is 1"]);
    assert!(few.why.contains("NOREPLICAS"), "{few:?}");
    bench.run(Command::new("CONFIG SET").args(["min-replicas-to-write", "0"])).await;
    promises(&bench.admin.doctor(&[]).await.unwrap());
}

#[tokio::test]
async fn a_cluster_without_slots_is_down() {
    let server = TestServer::builder().config("cluster-enabled", "yes").start().await.unwrap();
    let bench = Bench::on(&server).await;
    assert_eq!(send(&bench).await, Err(ErrorKind::Transient));
    let told = bench.admin.doctor(&[]).await.unwrap();
    let down = refusal(&told, &["the cluster is fail", "of 16384 slots 0 are assigned"]);
    assert!(down.why.contains("CLUSTERDOWN") && down.remedy.contains("--cluster"), "{down:?}");
}

#[tokio::test]
async fn a_script_without_end_is_named_with_what_ends_it() {
    let server = TestServer::builder().config("lua-time-limit", "100").start().await.unwrap();
    let (bench, culprit) = (Bench::on(&server).await, Bench::on(&server).await);
    let endless = async {
        let script = Command::new("EVAL").arg("while true do end").arg(0u64);
        culprit.connection.execute(script).await.unwrap_err();
    };
    let look = async {
        loop {
            match bench.connection.execute(Command::new("PING")).await {
                Err(error) if error.to_string().contains("BUSY") => break,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        assert_eq!(send(&bench).await, Err(ErrorKind::Transient));
        let told = bench.admin.doctor(&[]).await.unwrap();
        server.cli(&["SCRIPT", "KILL"]).await.unwrap();
        let busy = refusal(&told, &["run a script: BUSY ", "SCRIPT KILL or SHUTDOWN NOSAVE"]);
        assert!(busy.remedy.contains("SCRIPT KILL: it stops") && busy.remedy.contains("loses"), "{busy:?}");
    };
    futures::join!(endless, look);
    promises(&bench.admin.doctor(&[]).await.unwrap());
}

#[tokio::test]
async fn a_failing_disk_promises_nothing() {
    let server = TestServer::start().await.unwrap();
    let bench = Bench::on(&server).await;
    bench.run(Command::new("CONFIG SET").args(["save", "3600 1"])).await;
    server.fail_snapshots(true).await.unwrap();
    let _ = bench.connection.execute(Command::new("BGSAVE")).await;
    for _ in 0..200 {
        if send(&bench).await == Err(ErrorKind::StoreUnsafe) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refusal(&bench.admin.doctor(&[]).await.unwrap(), &["the last snapshot failed"]);
}

#[tokio::test]
async fn a_missing_right_is_named_with_the_words_that_grant_it() {
    let server = TestServer::builder().acl_user("app", "pw", "~* &* +@all").start().await.unwrap();
    let bench = Bench::on(&server).await;
    let rule = async |rules: &[&str]| {
        server.cli(&[&["ACL", "SETUSER", "app", "reset", "on", ">pw"], rules].concat()).await.unwrap();
        bench.admin.doctor(&[]).await.unwrap()
    };
    let no_rights = |told: &Diagnosis| !told.findings.iter().any(|finding| finding.what.contains("it lacks"));
    let told = rule(&["~*", "&*", "+@all"]).await;
    promises(&told);
    assert!(no_rights(&told), "{told:#?}");

    for right in ["evalsha", "lpush", "time"] {
        let told = rule(&["~*", "&*", "+@all", &format!("-{right}")]).await;
        let lacks = refusal(&told, &["the user `app` may not send: it lacks", &format!("`{right}`")]);
        assert!(lacks.remedy.contains(&format!("ACL SETUSER app +{right}")), "{lacks:?}");
    }
    let told = rule(&["~*", "&*", "+@all", "-hdel", "-blmove"]).await;
    let lacks = finding(&told, Severity::Critical, &["may not receive: it lacks `blmove`, `hdel`"]);
    assert!(lacks.remedy.contains("+blmove +hdel"), "{lacks:?}");
    promises(&told);
    let told = rule(&["~*", "&*", "+@all", "-ltrim"]).await;
    finding(&told, Severity::Warning, &["may not operate queues: it lacks `ltrim`"]);

    let told = rule(&["~*", "&*", "+@all", "-@scripting"]).await;
    let lacks = refusal(&told, &["the user `app` may not send", "it lacks `eval`"]);
    assert!(lacks.remedy.contains("ACL SETUSER app +eval +evalsha"), "{lacks:?}");
}

#[tokio::test]
async fn keys_that_a_user_may_not_touch_are_named_for_the_queue_that_was_asked_about() {
    let server = TestServer::builder()
        .acl_user("app", "pw", "~queue:mine ~{queue:mine}:* &* +@all")
        .start()
        .await
        .unwrap();
    let bench = Bench::on(&server).await;
    let told = bench.admin.doctor(&[]).await.unwrap();
    finding(&told, Severity::Unchecked, &["which rights the user `app` lacks"]);
    let told = bench.admin.doctor(&["mine".parse().unwrap()]).await.unwrap();
    promises(&told);
    let told = bench.admin.doctor(&["mine".parse().unwrap(), "theirs".parse().unwrap()]).await.unwrap();
    let keys = refusal(&told, &["may not touch the keys of queue theirs"]);
    assert!(keys.remedy.contains("ACL SETUSER app ~queue:theirs ~{queue:theirs}:*"), "{keys:?}");
}

#[tokio::test]
async fn a_format_that_is_none_is_named_and_verbs_treat_it_as_consumers_do() {
    let bench = Bench::new().await;
    let set = async |version: &str| {
        bench.run(Command::new("HSET").key(bench.keys.control()).arg("version").arg(version)).await;
        (
            bench.admin.doctor(std::slice::from_ref(&bench.queue)).await.unwrap(),
            bench.admin.pause(&bench.queue).await,
        )
    };
    for nonsense in ["-1", "0", "0.5"] {
        let (told, paused) = set(nonsense).await;
        let odd = finding(&told, Severity::Warning, &[&format!("its format is \"{nonsense}\"")]);
        assert!(odd.remedy.contains(&format!("HDEL {} version", bench.keys.control())), "{odd:?}");
        paused.unwrap();
    }
    for nonsense in ["", "nan", "abc"] {
        let (told, paused) = set(nonsense).await;
        let odd = finding(&told, Severity::Critical, &[&format!("its format is \"{nonsense}\"")]);
        assert!(odd.remedy.contains("HDEL"), "{odd:?}");
        assert!(matches!(paused, Err(Error::NewerFormat { .. })), "{paused:?}");
    }
    let (told, paused) = set("2").await;
    finding(&told, Severity::Warning, &["it is of format 2", "up to 1"]);
    assert!(matches!(paused, Err(Error::NewerFormat { .. })), "{paused:?}");
    let (told, paused) = set("1").await;
    assert!(told.findings.iter().all(|finding| !finding.what.contains("format")), "{told:#?}");
    paused.unwrap();
}
