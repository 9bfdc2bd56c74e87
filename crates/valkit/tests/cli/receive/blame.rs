//! What is no fault of a message's costs it no attempt.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use valkey_testkit::Figures;

use crate::support::{Bench, Running};

/// The program with few open files.
fn with_few_files(bench: &Bench, files: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_valkit")])
        .args(["receive", &bench.queue])
        .args(arguments)
        .env("VALKEY_URL", bench.server.url())
        .env("VALKEY_READ_TIMEOUT", "30s")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn without_room_for_a_program_messages_wait_uncounted() {
    let bench = Bench::new().await;
    bench.send_numbers(50);
    let program = "echo $VALKIT_ATTEMPT; sleep 0.3";
    let done = with_few_files(&bench, 50, &["--concurrency", "50", "--idle-exit", "3s", "--exec", program])
        // The first failure would be the last.
        .env("VALKEY_MAX_RETRIES", "0")
        .output()
        .unwrap();
    let (out, told) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{told}");
    let handled = out.lines().count() as u64;
    Figures::new().sent(50).lost(50_u64.saturating_sub(handled + bench.kept())).publish();
    assert!(told.contains("acked 50, retried 0, dead 0, handed back 0, put off for want of room"), "{told}");
    assert_eq!(told.matches("warning: ").count(), 1, "{told}");
    assert!(told.contains("`ulimit -n`") && told.contains("--concurrency"), "{told}");
    assert!(out.lines().all(|attempt| attempt == "1"), "{out}");
}

#[tokio::test]
async fn an_id_that_no_program_can_be_given_is_the_fault_of_its_message() {
    let bench = Bench::new().await;
    let id = "y".repeat(200_000);
    bench.push(format!(r#"{{"id":"{id}","payload":"MQ==","headers":{{}},"ttl":0,"retries":0}}"#)).await;
    bench.send_numbers(1);
    let done = bench
        .valkit(&["receive", &bench.queue, "-n", "2", "--exec", "true"])
        .env("VALKEY_MAX_RETRIES", "0")
        .assert()
        .success();
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(told.contains("acked 1, retried 0, dead 1"), "{told}");
    let letter = &bench.lines(&["dead", "ls", &bench.queue])[0];
    assert!(letter["error"].as_str().unwrap().contains("more than the environment"), "{}", letter["error"]);
}

#[tokio::test]
async fn a_second_signal_is_no_failure_of_what_it_kills() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    for _ in 0..3 {
        let mut child = Running::start(
            Command::new(env!("CARGO_BIN_EXE_valkit"))
                .args(["receive", &bench.queue, "--exec", "echo $VALKIT_ATTEMPT; sleep 1000"])
                .env("VALKEY_URL", bench.server.url())
                // The first failure would be the last.
                .env("VALKEY_MAX_RETRIES", "0")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "1");
        for _ in 0..2 {
            Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(told.contains("acked 0, retried 0, dead 0, handed back 1"), "{told}");
    }
    Figures::new().sent(1).lost(1_u64.saturating_sub(bench.kept())).publish();
    let stats = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!((&stats["ready"]["total"], &stats["dead"]), (&1.into(), &0.into()), "{stats}");
}

#[tokio::test]
async fn what_goes_back_is_counted_once() {
    let bench = Bench::new().await;
    bench.send_numbers(1);
    for _ in 0..5 {
        let done = bench.valkit(&["receive", &bench.queue, "--exec", "no-such-program"]).assert().code(2);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains("acked 0, retried 0, dead 0, handed back 1\n"), "{told}");
    }
    assert_eq!(bench.kept(), 1);
}

#[tokio::test]
async fn programs_that_nobody_reads_any_more_have_not_failed() {
    let bench = Bench::new().await;
    bench.send_numbers(20);
    for concurrency in ["1", "4"] {
        let mut child = Running::start(
            Command::new(env!("CARGO_BIN_EXE_valkit"))
                .args(["receive", &bench.queue, "--concurrency", concurrency])
                .args(["--exec", "yes $VALKIT_ATTEMPT | head -n 100000"])
                .env("VALKEY_URL", bench.server.url())
                .env("VALKEY_MAX_RETRIES", "0")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "1");
        drop(lines);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(told.contains("acked 0, retried 0, dead 0, handed back"), "{told}");
        assert!(told.contains("nobody reads"), "{told}");
    }
    Figures::new().sent(20).lost(20_u64.saturating_sub(bench.kept())).publish();
    assert_eq!(bench.kept(), 20);
    // What goes wrong while somebody reads is a failure as ever.
    let done = bench
        .valkit(&["receive", &bench.queue, "-n", "20", "--exec", "kill -PIPE $$"])
        .env("VALKEY_MAX_RETRIES", "0")
        .assert()
        .success();
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(told.contains("acked 0, retried 0, dead 20"), "{told}");
}
