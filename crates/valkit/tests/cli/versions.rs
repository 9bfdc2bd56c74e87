//! Messages and queues of versions to come.

use crate::support::Bench;

const NEWER: &str = r#"{"envelope_version":2,"id":["not","a","text"],"payload":1}"#;

#[tokio::test]
async fn what_is_too_new_is_kept_and_replayed_after_the_upgrade_as_the_bytes_it_was() {
    let bench = Bench::new().await;
    bench.push(NEWER).await;
    bench.send_numbers(1);
    let mut receive = bench.valkit(&["receive", &bench.queue, "--idle-exit", "2s"]);
    let out = receive.env("VALKEY_UNREADABLE_WAIT", "300ms").assert().success();
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert_eq!(out.lines().count(), 1, "{out}");
    let [dead] = <[_; 1]>::try_from(bench.lines(&["dead", "ls", &bench.queue])).unwrap();
    assert_eq!(dead["reason"], "unsupported_version");
    assert!(dead["error"].as_str().unwrap().contains("version 2"), "{dead}");

    let replay = ["dead", "replay", &bench.queue, "--reason", "unsupported_version"];
    assert_eq!(bench.json(&replay)["total"], 1);
    // The newer consumer, as any peer would take it.
    assert_eq!(bench.cli(&["RPOP", &bench.public()]).await, NEWER);
    assert_eq!(bench.lines(&["dead", "ls", &bench.queue]).len(), 0);
}

#[tokio::test]
async fn verbs_change_nothing_in_a_queue_of_a_newer_format_and_say_so() {
    let bench = Bench::new().await;
    bench.send_numbers(2);
    bench.bury("a", "rejected", b"x").await;
    bench.cli(&["HSET", &bench.key("control"), "version", "2"]).await;
    let queue = bench.queue.as_str();
    let other = format!("{queue}-other");
    for verb in [
        &["receive", queue, "--count", "1"][..],
        &["queue", "pause", queue],
        &["queue", "resume", queue],
        &["queue", "purge", queue, "--only", "public", "--yes"],
        &["queue", "hand-back", queue, "--yes"],
        &["dead", "replay", queue, "--all"],
        &["dead", "replay", queue, "--all", "--to", &other],
        &["dead", "purge", queue, "--all", "--yes"],
    ] {
        let refused = bench.valkit(verb).assert().code(7);
        let text = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
        assert!(text.contains("format 2") && text.contains("up to 1"), "{verb:?}: {text}");
        assert!(text.contains("newer version"), "{verb:?}: {text}");
    }
    // Looking is allowed, and everything is where it was.
    assert_eq!(bench.json(&["queue", "show", queue])["ready"]["total"], 2);
    assert_eq!(bench.lines(&["dead", "ls", queue]).len(), 1);
    assert_eq!(bench.cli(&["HKEYS", &bench.key("control")]).await, "version");
    // The present format may be said.
    bench.cli(&["HSET", &bench.key("control"), "version", "1"]).await;
    assert_eq!(bench.json(&["dead", "replay", queue, "--all"])["total"], 1);
}
