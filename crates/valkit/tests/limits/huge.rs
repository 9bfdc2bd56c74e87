//! Messages around the limit of size, and far beyond it.

use std::time::Duration;

use jiff::Timestamp;
use valkey_connection::Command;
use valkey_envelope::{Envelope, QueueName};
use valkey_sender::SendError;
use valkey_testkit::{Figures, TestServer, eventually};

use crate::bench::{Bench, Effects, doubled};

const LIMIT: usize = 1 << 20;
const MIB: usize = 1 << 20;

/// A message to this queue that is `size` bytes on the wire.
fn of_size(queue: &QueueName, size: usize) -> Envelope {
    let made = Timestamp::UNIX_EPOCH;
    let message = |payload: &str| Envelope::new(payload).unwrap().with_queue(queue).with_timestamp(made);
    let bare = message("").encode().unwrap().len();
    message(&"x".repeat(size - bare))
}

#[tokio::test]
async fn a_message_at_the_limit_arrives_and_one_byte_more_is_refused_before_it_is_sent() {
    let bench = Bench::new("edge").await;
    let effects = Effects::default();
    let sender = bench.sender().await.build();
    let mut accepted = 0_u64;
    for size in [LIMIT - 1, LIMIT] {
        assert!(sender.send(of_size(&bench.queue, size)).await.unwrap().is_accepted(), "{size}");
        accepted += 1;
    }
    let refused = sender.send(of_size(&bench.queue, LIMIT + 1)).await.unwrap_err();
    assert!(matches!(refused, SendError::TooLarge { size, .. } if size == LIMIT + 1), "{refused}");
    assert_eq!(bench.admin.stats(&bench.queue).await.unwrap().ready.total(), 2, "it did not travel");
    let crew = bench.crew(&effects, Duration::ZERO, |_| false).await;
    bench.until_empty().await;
    crew.drain().await;
    let (dead, handled) = (bench.dead().await, effects.lock().unwrap().len() as u64);
    let figures = Figures::new().sent(accepted + 1).confirmed(accepted).rejected(1);
    figures.lost(accepted.saturating_sub(handled + dead)).twice(doubled(&effects)).publish();
    assert_eq!((handled, dead, doubled(&effects)), (accepted, 0, 0));
}

/// The most memory a process ever had, in MiB.
fn most_mib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[tokio::test]
async fn foreign_messages_of_64_mib_die_whole_and_nobody_who_looks_has_to_carry_them() {
    const HUGE: usize = 64 * MIB;
    // Each look at such an element takes the server a while, which is not for other tests to wait for.
    let server = Box::leak(Box::new(TestServer::start().await.unwrap()));
    let bench = Bench::at(server, "foreign".parse().unwrap()).await;
    let envelope = [br#"{"payload":""#, "x".repeat(HUGE).as_bytes(), b"\"}"].concat();
    let sent = [HUGE, envelope.len()];
    for body in [envelope, vec![0xff; HUGE]] {
        bench.server.cli_raw(&["-x", "LPUSH", bench.keys.public()], body).await.unwrap();
    }
    // Looking at them fetches their beginnings.
    for verb in [&["queue", "peek"][..], &["queue", "show"], &["queue", "ls"]] {
        for form in ["table", "json"] {
            let out = bench.ok(&[verb, &[bench.queue.as_str(), "-o", form]].concat());
            assert!(out.len() < 32 * 1024, "{verb:?} {form}: {} bytes", out.len());
        }
    }
    // It ends with the test, also with one that fails: else it would look for its server for ever, and find that of another
    // test at the same address.
    let mut receive = tokio::process::Command::new(env!("CARGO_BIN_EXE_valkit"))
        .args(["receive", bench.queue.as_str(), "--exec", "true"])
        .env("VALKEY_URL", bench.server.url())
        .kill_on_drop(true)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the death of both", async || {
        let dead = bench.ask(Command::new("ZCARD").key(bench.keys.dead())).await.as_int().unwrap();
        (dead >= 2).then_some(())
    })
    .await;
    let memory = most_mib(receive.id().unwrap());
    receive.kill().await.unwrap();
    assert_eq!(bench.dead().await, 2);
    for form in ["table", "json", "ndjson"] {
        let out = bench.ok(&["dead", "ls", bench.queue.as_str(), "-o", form]);
        assert!(out.len() < 32 * 1024 && out.contains("undecodable"), "{form}: {} bytes", out.len());
    }
    let letters = bench.ok(&["dead", "ls", bench.queue.as_str(), "-o", "ndjson"]);
    let mut kept: Vec<usize> = letters
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["length"].as_u64().unwrap())
        .map(|length| length as usize)
        .collect();
    kept.sort_unstable();
    let lost = sent.iter().filter(|length| !kept.contains(length)).count();
    Figures::new()
        .sent(sent.len() as u64)
        .lost(lost as u64)
        .note(format!("2 of 64 MiB: the consumer had {memory} MiB at most"))
        .publish();
    assert_eq!(kept, sent, "they are kept whole");
    // Both came in one take (a slice is eight messages), and of each there may be a few copies, but not more.
    assert!(memory < 2 * 64 * 5, "{memory} MiB");
}
