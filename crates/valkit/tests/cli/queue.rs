//! `valkit queue`

use crate::support::Bench;

#[tokio::test]
async fn ls_lists_and_filters() {
    let bench = Bench::new().await;
    bench.push("x").await;
    let text = bench.ok(&["queue", "ls", &bench.queue]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("QUEUE") && lines[1].starts_with(&bench.queue), "{text}");
    let rows = bench.lines(&["queue", "ls", &bench.queue]);
    assert_eq!((rows.len(), &rows[0]["ready"]["public"]), (1, &1.into()));
    assert_eq!(bench.json(&["queue", "ls", "no-such-queue-name"]), serde_json::json!([]));
}

#[tokio::test]
async fn show_tells_everything_in_both_forms() {
    let bench = Bench::new().await;
    bench.push("x").await;
    bench.cli(&["EXPIRE", &bench.public(), "1000"]).await;
    bench.cli(&["ZADD", &bench.key("consumers"), "1", "0195c0ffee00700080000000000000ff"]).await;
    bench.cli(&["SET", &bench.key("redo"), "squatter"]).await;
    let text = bench.ok(&["queue", "show", &bench.queue]);
    for part in ["public 1", "0195c0ffee00700080000000000000ff", "expired", "expires in", "holds a string"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let json = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!(
        (&json["consumers"][0]["lease"], &json["squatters"][0]["found"]),
        (&"expired".into(), &"string".into())
    );
    assert!(json["memory"]["total"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn peek_of_text_bytes_and_envelopes() {
    let bench = Bench::new().await;
    bench.push("plain ☃").await;
    bench.push(&b"\xff\x00"[..]).await;
    bench.push(r#"{"id":"e","payload":{"n":12345678901234567890.50}}"#).await;
    let rows = bench.lines(&["queue", "peek", &bench.queue]);
    assert_eq!(
        (&rows[0]["text"], &rows[1]["base64"], &rows[2]["id"]),
        (&"plain ☃".into(), &"/wA=".into(), &"e".into())
    );
    assert!(bench.ok(&["queue", "peek", &bench.queue, "-o", "ndjson"]).contains("12345678901234567890.50"));
    let table = bench.ok(&["queue", "peek", &bench.queue, "--count", "2"]);
    assert_eq!(table.lines().count(), 3);
    assert!(!table.contains('\0'));
    assert_eq!(bench.ok(&["queue", "peek", &bench.queue, "--in", "delayed"]), "");
    assert_eq!(bench.lines(&["queue", "peek", &bench.queue, "--skip", "2"]).len(), 1);
}

#[tokio::test]
async fn pause_and_resume() {
    let bench = Bench::new().await;
    assert_eq!(bench.json(&["queue", "pause", &bench.queue])["changed"], true);
    assert_eq!(bench.json(&["queue", "pause", &bench.queue])["changed"], false);
    bench.push("{\"payload\":1}").await;
    assert_eq!(bench.ok(&["receive", &bench.queue, "--idle-exit", "500ms"]), "");
    assert_eq!(bench.json(&["queue", "resume", &bench.queue])["paused"], false);
    assert_eq!(bench.ok(&["receive", &bench.queue, "--count", "1"]).lines().count(), 1);
}

#[tokio::test]
async fn purge_previews_and_removes() {
    let bench = Bench::new().await;
    for key in [bench.public(), bench.key("lane:low"), bench.key("redo")] {
        bench.cli(&["LPUSH", &key, "a", "b"]).await;
    }
    let dry = bench.json(&["queue", "purge", &bench.queue, "--only", "ready", "--dry-run"]);
    assert_eq!(
        (&dry["total"], &dry["places"]["redo"], &dry["dry_run"]),
        (&6.into(), &2.into(), &true.into())
    );
    let done = bench.json(&["queue", "purge", &bench.queue, "--only", "public,low", "--yes"]);
    assert_eq!(done["total"], 4);
    assert_eq!(bench.json(&["queue", "show", &bench.queue])["ready"]["total"], 2);
    bench.ok(&["queue", "purge", &bench.queue, "--only", "delayed"]);
}

#[tokio::test]
async fn hand_back_serves_plain_consumers() {
    let bench = Bench::new().await;
    bench.push("last").await;
    bench.cli(&["LPUSH", &bench.key("redo"), r#"1|2|n|{"id":"r","payload":1,"retries":1}"#]).await;
    let dry = bench.json(&["queue", "hand-back", &bench.queue, "--dry-run"]);
    assert_eq!(dry["places"]["redo"], 1);
    assert_eq!(bench.json(&["queue", "hand-back", &bench.queue, "--yes"])["total"], 1);
    assert_eq!(bench.cli(&["RPOP", &bench.public()]).await, r#"{"id":"r","payload":1,"retries":3}"#);
    assert_eq!(bench.cli(&["RPOP", &bench.public()]).await, "last");
}
