//! `valkit send`

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use valkey_testkit::{TestReplication, TestServer, eventually};

use crate::support::{Bench, valkit};

#[tokio::test]
async fn a_payload_becomes_an_envelope() {
    let bench = Bench::new().await;
    let arguments = [
        "send",
        &bench.queue,
        "--kind",
        "registration",
        "--header",
        "a=b=c",
        "--ttl",
        "1h",
        "--id",
        "my-id",
        "-o",
        "json",
    ];
    let done = bench.valkit(&arguments).write_stdin(r#"{"login": "ünï"}"#).assert().success();
    let receipt: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!((&receipt["sent"], &receipt["messages"][0]["id"]), (&1.into(), &"my-id".into()));
    let envelope: Value = serde_json::from_str(&bench.cli(&["RPOP", &bench.public()]).await).unwrap();
    assert_eq!(envelope["id"], "my-id");
    assert_eq!(envelope["payload"]["login"], "ünï");
    assert_eq!(envelope["kind"], "registration");
    assert_eq!(envelope["headers"]["a"], "b=c");
    assert_eq!(envelope["ttl"], 3_600_000_000_000_u64);
}

#[tokio::test]
async fn raw_bytes_are_pushed_as_they_are() {
    let bench = Bench::new().await;
    let garbage = b"\xff\x00|\r\nnot an envelope";
    bench.valkit(&["send", &bench.queue, "--raw"]).write_stdin(garbage).assert().success();
    assert_eq!(bench.server.cli_raw(&["RPOP", &bench.public()], "").await.unwrap(), garbage);
    bench
        .valkit(&["send", &bench.queue, "--raw", "--ndjson", "--priority", "low"])
        .write_stdin("a\nb\n\nc")
        .assert()
        .success();
    assert_eq!(bench.cli(&["LRANGE", &bench.key("lane:low"), "0", "-1"]).await, "c\nb\na");
}

#[tokio::test]
async fn lanes_and_delays() {
    let bench = Bench::new().await;
    bench.valkit(&["send", &bench.queue, "--priority", "high"]).write_stdin("1").assert().success();
    let done = bench
        .valkit(&["send", &bench.queue, "--delay", "1h", "-o", "ndjson"])
        .write_stdin("1")
        .assert()
        .success();
    assert!(String::from_utf8_lossy(&done.get_output().stdout).contains("scheduled"));
    let stats = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!((&stats["ready"]["high"], &stats["delayed"]), (&1.into(), &1.into()));
    bench.valkit(&["send", &bench.queue, "--priority", "urgent"]).write_stdin("1").assert().code(2);
}

#[tokio::test]
async fn many_lines_from_a_file() {
    let bench = Bench::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: Vec<String> = (0..1000).map(|i| format!("{{\"i\":{i}}}")).collect();
    std::fs::write(file.path(), lines.join("\n")).unwrap();
    let sent = bench.lines(&["send", &bench.queue, "--ndjson", "--file", file.path().to_str().unwrap()]);
    assert_eq!(sent.len(), 1000);
    assert_eq!((&sent[999]["line"], &sent[999]["status"]), (&1000.into(), &"sent".into()));
    assert_eq!(bench.cli(&["LLEN", &bench.public()]).await, "1000");
    let first: Value = serde_json::from_str(&bench.cli(&["LINDEX", &bench.public(), "-1"]).await).unwrap();
    assert_eq!(first["payload"]["i"], 0);
}

#[tokio::test]
async fn each_new_send_keeps_to_the_limit_of_the_queue_unless_it_is_told_not_to_ask() {
    let bench = Bench::new().await;
    bench.ok(&["queue", "limit", &bench.queue, "--max-length", "2"]);
    let send = |options: &[&str], bounded: Option<&str>, lines: &str| {
        let mut program =
            bench.valkit(&[&["send", &bench.queue, "--ndjson", "-o", "json"], options].concat());
        program.envs(bounded.map(|bounded| ("VALKEY_BOUNDED", bounded))).write_stdin(lines).assert()
    };
    let partly = send(&[], None, "1\n2\n3").code(3);
    let told: Value = serde_json::from_slice(&partly.get_output().stdout).unwrap();
    assert_eq!((&told["sent"], &told["failed"]), (&2.into(), &1.into()), "{told}");
    assert!(told["messages"][2]["error"].as_str().unwrap().contains("is full at 2 messages"), "{told}");
    // Who comes later is a new sender, too. An empty variable counts as not set.
    for bounded in [None, Some("true"), Some("")] {
        send(&[], bounded, "4").code(1);
    }
    assert_eq!(bench.cli(&["LLEN", &bench.public()]).await, "2");
    send(&[], Some("false"), "5").success();
    send(&["--raw"], None, "6").success();
    assert_eq!(bench.cli(&["LLEN", &bench.public()]).await, "4");
}

#[tokio::test]
async fn a_user_who_may_only_push_is_told_how_to_send_without_the_script() {
    let rights = "~queue:* -@all +lpush +ping +hello +client|setname";
    let server = TestServer::builder().acl_user("producer", "secret", rights).start().await.unwrap();
    let send = |bounded: Option<&str>| {
        let mut program = valkit(&["send", "q"]);
        program.env("VALKEY_URL", server.url()).envs(bounded.map(|bounded| ("VALKEY_BOUNDED", bounded)));
        program.write_stdin("1").assert()
    };
    let denied = send(None).code(6);
    let told = String::from_utf8_lossy(&denied.get_output().stderr).into_owned();
    assert!(told.contains("producer") && told.contains("VALKEY_BOUNDED=false"), "{told}");
    assert_eq!(server.cli(&["DBSIZE"]).await.unwrap(), "0");
    send(Some("false")).success();
    assert_eq!(server.cli(&["LLEN", "queue:q"]).await.unwrap(), "1");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let bench = Bench::new().await;
    let done = bench.valkit(&["send", &bench.queue, "--file", "/does/not/exist"]).assert().code(1);
    assert!(String::from_utf8_lossy(&done.get_output().stderr).contains("/does/not/exist"));
}

#[tokio::test]
async fn settings_of_a_service_can_be_used() {
    let bench = Bench::new().await;
    let mut command = crate::support::valkit(&["send", &bench.queue, "--env-prefix", "VALKEY_SENDER_"]);
    command.env("VALKEY_SENDER_ADDRESS", bench.server.url()).env("VALKEY_SENDER_PAYLOAD_FORM", "base64");
    command.write_stdin("{}").assert().success();
    let envelope: Value = serde_json::from_str(&bench.cli(&["RPOP", &bench.public()]).await).unwrap();
    assert_eq!(envelope["payload"], "e30=");
}

#[tokio::test]
async fn what_is_confirmed_as_durable_is_said_in_every_form() {
    let server =
        TestServer::builder().append_only(true).config("appendfsync", "always").start().await.unwrap();
    if server.cli(&["COMMAND", "INFO", "WAITAOF"]).await.unwrap().trim().is_empty() {
        valkey_testkit::skipped("the server has no WAITAOF");
        return;
    }
    let send = |arguments: &[&str]| {
        let mut command = valkit(&[&["send", "q", "--durability", "durable"], arguments].concat());
        let done = command.env("VALKEY_URL", server.url()).write_stdin("1").assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    };
    let text = send(&["--id", "a"]);
    assert_eq!(text, "sent a, confirmed as durable\n");
    assert!(send(&["--ndjson"]).ends_with(", confirmed as durable\n"));
    for form in [&["-o", "json"], &["-o", "ndjson"]] {
        let said: Value = serde_json::from_str(send(form).trim()).unwrap();
        let message = if form[1] == "json" { &said["messages"][0] } else { &said };
        assert_eq!((&message["certainty"], &message["durability"]), (&"confirmed".into(), &"durable".into()));
    }
    assert_eq!(server.cli(&["LLEN", "queue:q"]).await.unwrap(), "4");
}

#[tokio::test]
async fn a_durability_that_cannot_be_promised_is_refused_with_the_remedy_and_nothing_is_sent() {
    let bench = Bench::new().await;
    for (durability, remedy) in
        [("durable", "`durable` cannot be promised"), ("replicated:1", "connect more replicas")]
    {
        let done = bench
            .valkit(&["send", &bench.queue, "--durability", durability])
            .write_stdin("1")
            .assert()
            .code(7);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains(remedy), "{told}");
        assert!(done.get_output().stdout.is_empty());
    }
    assert_eq!(bench.cli(&["EXISTS", &bench.public()]).await, "0");
    let wrong = ["send", &bench.queue, "--durability", "replicated:0"];
    let done = bench.valkit(&wrong).write_stdin("1").assert().code(2);
    assert!(String::from_utf8_lossy(&done.get_output().stderr).contains("`replicated(N)`"));
    bench.valkit(&["send", &bench.queue, "--durability", "fast"]).write_stdin("1").assert().success();
}

/// So many lines, each a payload.
fn numbers(count: u32) -> String {
    (0..count).flat_map(|i| [i.to_string(), "\n".to_owned()]).collect()
}

/// A server that answers reads and lets writes wait, for as long as a test lasts.
async fn hold_writes(server: &TestServer) {
    server.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await.unwrap();
}

#[tokio::test]
async fn one_message_of_unknown_outcome_is_neither_sent_nor_refused() {
    let server = TestServer::builder().start().await.unwrap();
    hold_writes(&server).await;
    let send = |arguments: &[&str], dedup: Option<&str>| {
        let mut program = valkit(&[&["send", "q"], arguments].concat());
        program.env("VALKEY_URL", server.url()).env("VALKEY_READ_TIMEOUT", "300ms");
        program.env("VALKEY_MAX_RETRIES", "0").envs(dedup.map(|window| ("VALKEY_DEDUP_WINDOW", window)));
        let done = program.write_stdin("1").assert().code(3);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&done.get_output().stdout), text(&done.get_output().stderr))
    };
    let (out, told) = send(&["--id", "a"], None);
    assert_eq!(out, "unknown a\n");
    assert!(
        told.contains("nobody knows whether message a reached queue q") && told.contains("double"),
        "{told}"
    );
    let (_, told) = send(&["--id", "a"], Some("1h"));
    assert!(told.contains("a second copy will be recognised") && told.contains("--id a"), "{told}");
    let (_, told) = send(&["--raw"], None);
    assert!(told.contains("unknown") && told.contains("may double it"), "{told}");
    let (out, _) = send(&["-o", "json"], None);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["unknown"], &said["failed"]), (&1.into(), &0.into()), "{said}");
    assert_eq!(said["messages"][0]["status"], "unknown", "{said}");
}

#[tokio::test]
async fn what_was_sent_what_was_not_and_what_nobody_knows_are_counted_apart() {
    let server = TestServer::builder().start().await.unwrap();
    for (form, expected) in [("table", "sent 256, not sent 1, unknown 256\n"), ("ndjson", "")] {
        server.cli(&["FLUSHALL"]).await.unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["send", "q", "--ndjson", "-o", form])
            .env("VALKEY_URL", server.url())
            .env("VALKEY_READ_TIMEOUT", "2s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let lines = numbers(256);
        stdin.write_all(lines.as_bytes()).unwrap();
        let begun = Instant::now();
        while server.cli(&["LLEN", "queue:q"]).await.unwrap() != "256" {
            assert!(begun.elapsed() < Duration::from_mins(1), "nothing came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        hold_writes(&server).await;
        stdin.write_all(lines.as_bytes()).unwrap();
        stdin.write_all(b"no json\n").unwrap();
        drop(stdin);
        let done = child.wait_with_output().unwrap();
        server.cli(&["CLIENT", "UNPAUSE"]).await.unwrap();
        let (out, told) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(3), "{told}");
        let last = "1 of 513 messages were not sent; of 256 nobody knows: sending them again may double them";
        assert!(told.contains(last), "{told}");
        if form == "table" {
            assert_eq!(out, expected);
            assert!(
                told.contains("lines 257 to 512: nobody knows whether the message reached queue q"),
                "{told}"
            );
        } else {
            let count = |status: &str| {
                let rows = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                rows.filter(|row| row["status"] == status).count()
            };
            assert_eq!([count("sent"), count("unknown"), count("failed")], [256, 256, 1]);
        }
    }
}

#[tokio::test]
async fn lines_that_fail_alike_are_told_as_one_and_each_stays_in_ndjson() {
    let bench = Bench::new().await;
    bench.ok(&["queue", "limit", &bench.queue, "--max-length", "2"]);
    let send = |form: &str| {
        let done = bench
            .valkit(&["send", &bench.queue, "--ndjson", "-o", form])
            .write_stdin("1\n2\n3\n4\n5\nno json\n7\n")
            .assert();
        let output = done.get_output();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (_, told) = send("table");
    let full = format!("not sent: queue {} is full at 2 messages", bench.queue);
    assert!(
        told.contains(&format!("lines 3 to 5: {full}")) && told.contains(&format!("line 7: {full}")),
        "{told}"
    );
    assert!(told.contains("line 6: the payload is no JSON"), "{told}");
    assert_eq!(send("ndjson").0.lines().count(), 7);
}

#[tokio::test]
async fn several_lines_of_json_are_shown_the_way() {
    let bench = Bench::new().await;
    let told = |payload: &str| {
        let done = bench.valkit(&["send", &bench.queue]).write_stdin(payload).assert().code(2);
        String::from_utf8_lossy(&done.get_output().stderr).into_owned()
    };
    assert!(told("{\"a\":1}\n{\"a\":2}\n").contains("--ndjson"));
    assert!(told("plain text\nof two lines").contains("--raw"));
}

#[tokio::test]
async fn a_stop_half_way_is_no_success_and_no_failure() {
    let bench = Bench::new().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_valkit"))
        .args(["send", &bench.queue, "--ndjson", "-o", "ndjson"])
        .env("VALKEY_URL", bench.server.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads what it says, so it stops after the first batch.
    drop(child.stdout.take());
    let lines = numbers(600);
    // It may not read all of it.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let done = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{told}");
    assert!(told.contains("stopped after"), "{told}");
    assert_eq!(bench.cli(&["LLEN", &bench.public()]).await, "256");
}

/// Whoever writes into a pipe now and then is not kept waiting for a batch to fill, and whoever ends it learns how far it got.
#[tokio::test]
async fn a_pipe_that_stays_open_is_sent_as_it_comes_until_a_signal() {
    let bench = Bench::new().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_valkit"))
        .args(["send", &bench.queue, "--ndjson"])
        .env("VALKEY_URL", bench.server.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for count in 1..=3 {
        stdin.write_all(b"1\n").unwrap();
        eventually("the line in the queue", async || {
            (bench.cli(&["LLEN", &bench.public()]).await == count.to_string()).then_some(())
        })
        .await;
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let done = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{told}");
    assert!(told.contains("stopped after 3 messages: ended by a signal after line 3"), "{told}");
    drop(stdin);
}

#[tokio::test]
async fn a_trial_that_fails_is_not_taken_for_the_message() {
    let servers = TestReplication::builder().replicas(1).start().await.unwrap();
    servers.wait_synced().await.unwrap();
    servers.link(1).stall();
    let mut send = valkit(&["send", "q", "--durability", "replicated:1"]);
    let done = send.env("VALKEY_URL", servers.servers()[0].url()).write_stdin("1").assert().code(7);
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(
        told.contains("a trial write was not acknowledged") && told.contains("nothing of yours was sent"),
        "{told}"
    );
    assert!(told.matches("look at").count() == 1 && !told.contains("the primary has it"), "{told}");
    assert_eq!(servers.servers()[0].cli(&["EXISTS", "queue:q"]).await.unwrap(), "0");
}
