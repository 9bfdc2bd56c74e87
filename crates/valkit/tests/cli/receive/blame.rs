//! What is no fault of a message's costs it no attempt.

use std::process::{Command, Stdio};

use valkey_testkit::Figures;

use crate::support::Bench;

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
    let done = with_few_files(&bench, 50, &["--concurrency", "50", "--idle-exit", "5s", "--exec", program])
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
