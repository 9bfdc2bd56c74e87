//! `valkit queue`

use valkey_testkit::Figures;

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

#[tokio::test]
async fn limit_shows_sets_and_lifts_in_every_form() {
    let bench = Bench::new().await;
    let limit = |options: &[&str]| bench.json(&[&["queue", "limit", &bench.queue], options].concat());
    bench.valkit(&["queue", "limit", &bench.queue]).assert().code(4);
    let set = limit(&["--max-length", "100", "--max-in-flight", "7", "--rate", "30/1m", "--burst", "3"]);
    assert_eq!(
        set,
        serde_json::json!({
            "queue": bench.queue, "max_length": 100, "rate": 0.5, "burst": 3, "max_in_flight": 7, "changed": 4
        })
    );
    let text = bench.ok(&["queue", "limit", &bench.queue]);
    for part in ["max length     100", "max in flight  7", "rate           30/1m", "burst          3"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(bench.ok(&["queue", "show", &bench.queue]).contains("max length 100, rate 30/1m, burst 3"));
    let one = limit(&["--rate", "none"]);
    assert_eq!((&one["rate"], &one["max_length"], &one["changed"]), (&().into(), &100.into(), &1.into()));
    let rows =
        bench.lines(&["queue", "limit", &bench.queue, "--max-length", "none", "--max-in-flight", "none"]);
    assert_eq!((rows.len(), &rows[0]["changed"]), (1, &2.into()));
    assert_eq!(bench.cli(&["HGETALL", &bench.key("control")]).await, "burst\n3");
}

#[tokio::test]
async fn a_limit_that_means_nothing_is_refused_with_what_is_expected() {
    let bench = Bench::new().await;
    for (option, value, expected) in [
        ("--rate", "5", "100/s"),
        ("--rate", "0/s", "queue pause"),
        ("--rate", "nan/s", "100/s"),
        ("--max-in-flight", "0", "queue pause"),
        ("--max-length", "-1", "whole number"),
        ("--burst", "2.5", "whole number"),
    ] {
        let option = format!("{option}={value}");
        let done = bench.valkit(&["queue", "limit", &bench.queue, &option]).assert().code(2);
        let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(stderr.contains(expected), "{option}: {stderr}");
    }
    assert_eq!(bench.cli(&["EXISTS", &bench.key("control")]).await, "0");
}

#[tokio::test]
async fn a_limit_below_what_is_there_says_what_it_does_not_do() {
    let bench = Bench::new().await;
    bench.send_numbers(3);
    let done = bench.valkit(&["queue", "limit", &bench.queue, "--max-length", "1"]).assert().success();
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("3 messages here already: nothing is removed"), "{stderr}");
    let full = bench.valkit(&["send", &bench.queue]).write_stdin("4").assert().code(1);
    let stderr = String::from_utf8_lossy(&full.get_output().stderr).into_owned();
    assert!(stderr.contains("is full at 1 message"), "{stderr}");
    assert_eq!(bench.ok(&["receive", &bench.queue, "--count", "3"]).lines().count(), 3);
}

#[tokio::test]
async fn limits_are_shown_as_they_are_applied_and_odd_ones_are_named() {
    let bench = Bench::new().await;
    bench.push("x").await;
    bench.cli(&["HSET", &bench.key("control"), "max_in_flight", "2.5", "rate", "abc"]).await;
    let text = bench.ok(&["queue", "show", &bench.queue]);
    assert!(text.contains("max in flight 2\n"), "{text}");
    assert!(text.contains("limit rate is \"abc\": it is ignored"), "{text}");
    assert!(bench.ok(&["queue", "ls", &bench.queue]).contains("odd limit"));
    let json = bench.json(&["queue", "limit", &bench.queue]);
    assert_eq!((&json["max_in_flight"], &json["odd_limits"][0]["value"]), (&2.into(), &"abc".into()));
    let advice = bench.ok(&["doctor", &bench.queue]);
    assert!(advice.contains("its limit rate is \"abc\"") && advice.contains("--rate none"), "{advice}");
}

#[tokio::test]
async fn what_nobody_reclaims_is_counted_as_in_flight() {
    let bench = Bench::new().await;
    for (cid, field) in
        [("0195c0ffee00700080000000000000aa", "1-1"), ("0195c0ffee00700080000000000000bb", "2-1")]
    {
        bench.cli(&["HSET", &bench.key(&format!("inflight:{cid}")), "#", "2", field, "1000|0|0|n|x"]).await;
    }
    bench.cli(&["ZADD", &bench.key("consumers"), "9999999999999", "0195c0ffee00700080000000000000aa"]).await;
    let json = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!((&json["in_flight"], &json["strays"][0]["in_flight"]), (&2.into(), &1.into()), "{json}");
    // Somebody removes the register beside it.
    bench.cli(&["DEL", &bench.key("consumers")]).await;
    let json = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!((&json["in_flight"], json["strays"].as_array().unwrap().len()), (&2.into(), 2), "{json}");
    let text = bench.ok(&["queue", "show", &bench.queue]);
    assert!(text.contains("1 message in flight with 0195c0ffee00700080000000000000bb"), "{text}");
    let rows = bench.lines(&["queue", "ls", &bench.queue]);
    assert_eq!(rows[0]["in_flight"], 2, "{rows:?}");
    assert!(bench.ok(&["queue", "ls", &bench.queue]).contains("strays"));
    let back = bench.json(&["queue", "hand-back", &bench.queue, "--only", "in-flight", "--yes"]);
    let there: u64 = bench.cli(&["LLEN", &bench.public()]).await.parse().unwrap();
    Figures::new().sent(2).lost(2_u64.saturating_sub(there)).twice(there.saturating_sub(2)).publish();
    assert_eq!((&back["total"], there), (&2.into(), 2));
}
