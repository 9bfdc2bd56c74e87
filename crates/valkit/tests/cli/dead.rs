//! `valkit dead`

use std::process::{Command, Stdio};

use crate::support::Bench;

#[tokio::test]
async fn ls_and_show() {
    let bench = Bench::new().await;
    bench.bury("1-1-c", "max_attempts", br#"{"id":"m","payload":{"b":1,"a":12345678901234567890.50}}"#).await;
    bench.bury("1-2-c", "undecodable", b"\xff\x00\x1b[2J").await;
    let rows = bench.lines(&["dead", "ls", &bench.queue, "--oldest"]);
    assert_eq!((&rows[0]["message_id"], &rows[0]["reason"]), (&"m".into(), &"max_attempts".into()));
    assert!(rows[1]["base64"].is_string());
    assert_eq!(bench.lines(&["dead", "ls", &bench.queue, "--reason", "undecodable"]).len(), 1);
    assert_eq!(bench.lines(&["dead", "ls", &bench.queue, "--since", "1h"]).len(), 0);
    assert_eq!(bench.lines(&["dead", "ls", &bench.queue, "--until", "2026-01-01T00:00:00Z"]).len(), 2);
    let table = bench.ok(&["dead", "ls", &bench.queue]);
    assert!(table.contains("max_attempts") && table.contains("2025-07-20T08:26:40.123Z"), "{table}");
    assert!(!table.contains('\x1b'), "{table:?}");

    let text = bench.ok(&["dead", "show", &bench.queue, "1-1-c"]);
    assert!(text.contains("because") && text.contains("\"a\": 12345678901234567890.50"), "{text}");
    let raw = bench.valkit(&["dead", "show", &bench.queue, "1-2-c", "--raw"]).assert().success();
    assert_eq!(raw.get_output().stdout, b"\xff\x00\x1b[2J");
    assert_eq!(bench.json(&["dead", "show", &bench.queue, "1-1-c"])["attempts"], 4);
}

#[tokio::test]
async fn replay_by_reason_by_id_and_elsewhere() {
    let bench = Bench::new().await;
    for (id, reason) in [("a", "rejected"), ("b", "expired"), ("c", "rejected")] {
        bench.bury(id, reason, id.as_bytes()).await;
    }
    assert_eq!(bench.json(&["dead", "replay", &bench.queue, "--all", "--dry-run"])["total"], 3);
    assert_eq!(bench.json(&["dead", "replay", &bench.queue, "--reason", "rejected"])["total"], 2);
    assert_eq!(bench.cli(&["LRANGE", &bench.public(), "0", "-1"]).await, "c\na");
    let other = format!("{}-other", bench.queue);
    // One of the two is gone already: that is half the work.
    bench.valkit(&["dead", "replay", &bench.queue, "a", "b", "--to", &other]).assert().code(3);
    assert_eq!(bench.cli(&["RPOP", &format!("queue:{other}")]).await, "b");
    assert_eq!(bench.json(&["dead", "replay", &bench.queue, "--all"])["total"], 0);
}

#[tokio::test]
async fn purge_removes_what_is_named() {
    let bench = Bench::new().await;
    for (id, reason) in [("a", "rejected"), ("b", "expired")] {
        bench.bury(id, reason, b"x").await;
    }
    assert_eq!(bench.json(&["dead", "purge", &bench.queue, "--reason", "expired", "--dry-run"])["total"], 1);
    assert_eq!(bench.json(&["dead", "purge", &bench.queue, "--reason", "expired", "--yes"])["total"], 1);
    assert_eq!(bench.cli(&["ZRANGE", &bench.key("dead"), "0", "-1"]).await, "a");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let bench = Bench::new().await;
    for i in 0..3 {
        bench.bury(&format!("id-{i}"), "rejected", &[b'x'; 100]).await;
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_valkit"))
        .args(["dead", "ls", &bench.queue, "--all", "-o", "ndjson"])
        .env("VALKEY_URL", bench.server.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test]
async fn ls_of_nothing_says_why_there_is_nothing() {
    let bench = Bench::new().await;
    let hint = |arguments: &[&str]| {
        let done = bench.valkit(&[&["dead", "ls", &bench.queue], arguments].concat()).assert().success();
        String::from_utf8_lossy(&done.get_output().stderr).into_owned()
    };
    bench.push("x").await;
    assert!(hint(&[]).contains("has no dead letters"));
    bench.bury("1-1-c", "rejected", b"x").await;
    let other = "has 1 dead letter, but none like that; the reasons of the last ones: rejected 1";
    assert!(hint(&["--reason", "expired"]).contains(other));
    for verb in [&["replay"][..], &["purge", "--yes"]] {
        let arguments = [&["dead", verb[0], &bench.queue, "--reason", "nosuch"], &verb[1..]].concat();
        let done = bench.valkit(&arguments).assert().success();
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains(other), "{told}");
    }
}

#[tokio::test]
async fn a_lane_has_one_name_in_every_output() {
    let bench = Bench::new().await;
    bench.bury("1-1-c", "rejected", b"x").await;
    assert_eq!(bench.lines(&["dead", "ls", &bench.queue])[0]["lane"], "normal");
    assert_eq!(bench.json(&["dead", "show", &bench.queue, "1-1-c"])["lane"], "normal");
}
