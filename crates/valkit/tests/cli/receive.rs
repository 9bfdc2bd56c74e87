//! `valkit receive`

mod blame;
mod stuck;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use valkey_testkit::Figures;

use crate::support::{Bench, Running};

#[tokio::test]
async fn messages_are_printed_and_acked() {
    let bench = Bench::new().await;
    bench.push(r#"{"id":"go","payload":"eyJhIjoxfQ==","headers":{"k":"v"},"timestamp":"2026-01-02T03:04:05Z","ttl":0,"retries":2}"#).await;
    bench.valkit(&["send", &bench.queue]).write_stdin("[1.50]").assert().success();
    let out = bench.ok(&["receive", &bench.queue, "--count", "2", "--lease", "5s"]);
    let lines: Vec<&str> = out.lines().collect();
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(
        (&first["id"], &first["attempt"], &first["headers"]["k"]),
        (&"go".into(), &3.into(), &"v".into())
    );
    assert_eq!(first["payload"]["a"], 1);
    assert!(lines[1].contains("[1.50]"), "{}", lines[1]);
    let stats = bench.json(&["queue", "ls", &bench.queue]);
    assert!(
        stats.as_array().unwrap().iter().all(|queue| queue["in_flight"] == 0 && queue["ready"]["total"] == 0),
        "{stats}"
    );
}

#[tokio::test]
async fn no_more_is_taken_than_asked_for() {
    let bench = Bench::new().await;
    bench.send_numbers(20);
    let lines = bench.ok(&["receive", &bench.queue, "-n", "3"]);
    assert_eq!(lines.lines().count(), 3);
    let rest = bench.ok(&["receive", &bench.queue, "--idle-exit", "500ms"]);
    let payloads: Vec<Value> =
        rest.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["payload"].clone()).collect();
    assert_eq!(payloads, (3..20).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_empty_queue_and_idle_exit() {
    let bench = Bench::new().await;
    let started = Instant::now();
    assert_eq!(bench.ok(&["receive", &bench.queue, "--idle-exit", "300ms"]), "");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_exit_code_of_the_program_decides() {
    let bench = Bench::new().await;
    for code in [0, 65, 75, 1] {
        bench.valkit(&["send", &bench.queue]).write_stdin(code.to_string()).assert().success();
    }
    let script = "read code; exit $code";
    let done = bench
        .valkit(&["receive", &bench.queue, "--count", "4", "--exec", script])
        .env("VALKEY_RETRY_DELAY", "1m")
        .env("VALKEY_MAX_RETRY_DELAY", "5m")
        .assert()
        .success();
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("acked 1, retried 2, dead 1"), "{stderr}");
    let stats = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!((&stats["dead"], &stats["in_flight"]), (&1.into(), &0.into()));
    assert_eq!(stats["delayed"].as_u64().unwrap() + stats["ready"]["redo"].as_u64().unwrap(), 2);
    let letter = &bench.lines(&["dead", "ls", &bench.queue])[0];
    assert_eq!((&letter["reason"], &letter["envelope"]["payload"]), (&"rejected".into(), &65.into()));
}

#[tokio::test]
async fn the_books_say_what_became_of_the_messages() {
    let bench = Bench::new().await;
    bench.push("no envelope").await;
    for code in [0, 75] {
        bench.valkit(&["send", &bench.queue]).write_stdin(code.to_string()).assert().success();
    }
    let done = bench
        .valkit(&["receive", &bench.queue, "--idle-exit", "2s", "--exec", "read code; exit $code"])
        .env("VALKEY_MAX_RETRIES", "1")
        .env("VALKEY_RETRY_DELAY", "10ms")
        .assert()
        .success();
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("acked 1, retried 1, dead 2"), "{stderr}");
    assert_eq!(bench.json(&["queue", "show", &bench.queue])["dead"], 2);
}

#[tokio::test]
async fn the_program_is_told_about_the_message() {
    let bench = Bench::new().await;
    bench
        .valkit(&["send", &bench.queue, "--kind", "hello", "--id", "the-id", "--header", "x=ü"])
        .write_stdin(r#"{"a":1}"#)
        .assert()
        .success();
    let script = r#"echo "$VALKIT_QUEUE $VALKIT_ID $VALKIT_KIND $VALKIT_LANE $VALKIT_ATTEMPT $VALKIT_CRASHES $VALKIT_HEADERS $(cat)""#;
    let out = bench.ok(&["receive", &bench.queue, "--count", "1", "--exec", script]);
    assert_eq!(out, format!("{} the-id hello normal 1 0 {{\"x\":\"ü\"}} {{\"a\":1}}\n", bench.queue));
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_may() {
    let bench = Bench::new().await;
    let large = format!("\"{}\"", "x".repeat(500_000));
    bench.valkit(&["send", &bench.queue]).write_stdin(large).assert().success();
    bench.ok(&["receive", &bench.queue, "--count", "1", "--exec", "true"]);
    assert_eq!(
        bench
            .json(&["queue", "ls", &bench.queue])
            .as_array()
            .unwrap()
            .iter()
            .map(|q| q["dead"].as_u64().unwrap())
            .sum::<u64>(),
        0
    );
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_hands_back_the_rest() {
    let bench = Bench::new().await;
    bench.send_numbers(5);
    let mut child = Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue, "--exec", "echo begun; sleep 1; echo done"])
            .env("VALKEY_URL", bench.server.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let handled = rest.iter().filter(|line| *line == "done").count() as u64;
    Figures::new().sent(5).lost(5_u64.saturating_sub(handled + bench.kept())).publish();
    assert_eq!(rest, ["done"]);
    let stats = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!(
        (&stats["ready"]["total"], &stats["in_flight"], &stats["consumer_count"]),
        (&4.into(), &0.into(), &0.into())
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_loses_nothing() {
    let bench = Bench::new().await;
    bench.send_numbers(50);
    let mut child = Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue])
            .env("VALKEY_URL", bench.server.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let stats = bench.json(&["queue", "show", &bench.queue]);
    let left = stats["ready"]["total"].as_u64().unwrap() + stats["delayed"].as_u64().unwrap();
    assert_eq!(left, 50, "{stats}");
}

#[tokio::test]
async fn the_second_signal_kills_the_program_and_what_it_started() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    let mut child = Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue, "--exec", "sleep 1000 & echo $!; wait"])
            .env("VALKEY_URL", bench.server.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let sleeper = lines.next().unwrap().unwrap();
    let signal = || Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    signal();
    std::thread::sleep(Duration::from_millis(200));
    signal();
    // Its end closes the pipe, which the sleeper holds open too.
    assert!(lines.next().is_none());
    let alive = Command::new("kill").args(["-0", &sleeper]).stderr(Stdio::null()).status().unwrap().success();
    let zombie =
        std::fs::read_to_string(format!("/proc/{sleeper}/stat")).is_ok_and(|stat| stat.contains(") Z"));
    assert!(!alive || zombie);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let stats = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!(stats["ready"]["total"].as_u64().unwrap() + stats["delayed"].as_u64().unwrap(), 1, "{stats}");
}

#[tokio::test]
async fn sigterm_ends_it_also_when_the_server_refuses_to_settle() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    let user = format!("user_{}", std::process::id());
    bench.cli(&["ACL", "SETUSER", &user, "on", ">pw", "~*", "&*", "+@all"]).await;
    let mut child = Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue, "--exec", "echo begun; sleep 1"])
            .env("VALKEY_URL", bench.server.url().replace("://", &format!("://{user}:pw@")))
            .env("VALKEY_DRAIN_TIMEOUT", "1s")
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    bench.cli(&["ACL", "SETUSER", &user, "-hdel"]).await;
    let begun = Instant::now();
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(40) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
    // It was handled, and this could not be said.
    Figures::new().sent(1).lost(1_u64.saturating_sub(bench.kept())).publish();
    assert_eq!(
        bench.json(&["queue", "show", &bench.queue])["in_flight"],
        1,
        "it waits for whoever comes next"
    );
    bench.cli(&["ACL", "DELUSER", &user]).await;
}

#[tokio::test]
async fn the_next_message_does_not_wait_for_the_server_to_hear_of_the_last_one() {
    let bench = Bench::new().await;
    bench.send_numbers(2);
    let user = format!("next_{}", std::process::id());
    bench.cli(&["ACL", "SETUSER", &user, "on", ">pw", "~*", "&*", "+@all"]).await;
    let mut child = Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue, "-n", "2", "--exec", "read n; echo begun $n; sleep 2"])
            .env("VALKEY_URL", bench.server.url().replace("://", &format!("://{user}:pw@")))
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun 0");
    // No settle comes through.
    bench.cli(&["ACL", "SETUSER", &user, "-hdel"]).await;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.for_each(|line| drop(tell.send(line.unwrap()))));
    let next = told.recv_timeout(Duration::from_mins(1));
    bench.cli(&["ACL", "SETUSER", &user, "+hdel"]).await;
    assert_eq!(next.as_deref(), Ok("begun 1"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(bench.kept(), 0);
    bench.cli(&["ACL", "DELUSER", &user]).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_run_costs_no_message_an_attempt() {
    let bench = Bench::new().await;
    bench.send_numbers(20);
    for (command, concurrency) in [("./no-such-program.sh", "1"), ("/etc/passwd", "4")] {
        let done = bench
            .valkit(&["receive", &bench.queue, "--exec", command, "--concurrency", concurrency])
            .env("VALKEY_RETRY_DELAY", "10ms")
            .assert()
            .code(2);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains(command) && told.contains("nothing was counted as an attempt"), "{told}");
        assert!(told.contains("retried 0, dead 0"), "{told}");
    }
    assert_eq!(bench.kept(), 20);
    let attempts = bench.ok(&["receive", &bench.queue, "-n", "20", "--exec", "echo $VALKIT_ATTEMPT"]);
    assert_eq!(attempts.lines().filter(|attempt| *attempt == "1").count(), 20, "{attempts}");
    Figures::new().sent(20).lost(20_u64.saturating_sub(attempts.lines().count() as u64)).publish();
}

#[tokio::test]
async fn a_dead_letter_keeps_the_last_words_of_the_program_which_are_still_seen() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    // Something goes on with the same stderr; nobody waits for it.
    let script = "sleep 1000 >&- & echo $!; echo one >&2; printf 'no such\\007 user\\n\\n' >&2; exit 65";
    let begun = Instant::now();
    let done = bench.valkit(&["receive", &bench.queue, "-n", "1", "--exec", script]).assert().success();
    let (out, told) = (&done.get_output().stdout, String::from_utf8_lossy(&done.get_output().stderr));
    let sleeper = String::from_utf8_lossy(out).trim().to_owned();
    Command::new("kill").arg(&sleeper).status().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(500), "it waited for what goes on");
    assert!(told.contains("one\nno such\u{7} user\n"), "{told:?}");
    let letter = &bench.lines(&["dead", "ls", &bench.queue])[0];
    assert_eq!(letter["error"], "the program ended with exit code 65: no such user");
}

#[tokio::test]
async fn a_paused_queue_is_named_with_the_verb_that_resumes_it() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    let told = || {
        let done = bench.valkit(&["receive", &bench.queue, "--idle-exit", "300ms"]).assert().success();
        String::from_utf8_lossy(&done.get_output().stderr).into_owned()
    };
    bench.ok(&["queue", "pause", &bench.queue]);
    let paused = told();
    assert!(
        paused.contains("is paused") && paused.contains(&format!("valkit queue resume {}", bench.queue)),
        "{paused}"
    );
    bench.ok(&["queue", "resume", &bench.queue]);
    assert!(!told().contains("paused"));
}

#[tokio::test]
async fn who_waits_in_vain_hears_of_what_others_hold_and_then_that_it_was_reclaimed() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    let mut holder = Running::start(
        Command::new(env!("CARGO_BIN_EXE_valkit"))
            .args(["receive", &bench.queue, "--lease", "10s", "--exec", "echo begun; exec sleep 120"])
            .env("VALKEY_URL", bench.server.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let receive = |arguments: &[&str]| {
        let done = bench.valkit(&[&["receive", &bench.queue], arguments].concat()).assert().success();
        String::from_utf8_lossy(&done.get_output().stderr).into_owned()
    };
    let told = receive(&["--idle-exit", "300ms"]);
    assert!(told.contains("1 message of queue") && told.contains("in flight with 1 consumer"), "{told}");
    assert!(told.contains("lease runs until 20"), "{told}");
    assert!(!told.contains("reclaimed"), "{told}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let told = receive(&["-n", "1"]);
    assert!(
        told.contains("acked 1, retried 0, dead 0, handed back 0, reclaimed from dead consumers 1"),
        "{told}"
    );
}
