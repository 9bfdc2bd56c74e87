//! Names of queues, at every door.

use valkey_connection::Command;
use valkey_envelope::QueueName;
use valkey_testkit::{Figures, TestServer};

use crate::bench::Bench;

/// Each is refused, with a reason.
const BAD: [&str; 16] = [
    "",
    "a}b",
    "{",
    "{x}",
    "a b",
    "*",
    "a?",
    "[1]",
    "a\\b",
    "a\nb",
    "a\tb",
    "a/b",
    "naïve",
    "\u{1f980}",
    "\u{202e}cba",
    "a\0b",
];

/// Each is a queue like any other.
const GOOD: [&str; 8] = ["__internal", "a:b", ":", "..", "-x", "--help", "UPPER.lower_0-9", "0"];

#[test]
fn a_bad_name_is_refused_with_its_reason_by_the_type() {
    for name in BAD.into_iter().chain([&*"x".repeat(201)]) {
        let refused = name.parse::<QueueName>().unwrap_err().to_string();
        assert!(refused.starts_with("invalid queue name: "), "{name:?}: {refused}");
        assert!(!refused.contains('\n') && !refused.contains('\u{202e}'), "{refused:?}");
    }
    assert!("x".repeat(200).parse::<QueueName>().is_ok());
}

#[tokio::test]
async fn a_bad_name_is_refused_with_its_reason_at_the_command_line() {
    let bench = Bench::new("names").await;
    let long = "x".repeat(201);
    // No argument of a program can hold a 0 byte.
    for name in BAD.into_iter().filter(|name| !name.contains('\0')).chain([long.as_str()]) {
        let verbs: [&[&str]; 8] = [
            &["send", name],
            &["receive", name],
            &["queue", "show", name],
            &["queue", "limit", name],
            &["queue", "pause", name],
            &["dead", "ls", name],
            &["dead", "replay", "q", "--all", "--to", name],
            &["doctor", name],
        ];
        for verb in verbs {
            let done = bench.valkit(verb).write_stdin("1").assert().code(2);
            let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
            assert!(
                told.contains("invalid queue name") || told.contains("a value is required"),
                "{verb:?}: {told}"
            );
        }
        if !name.is_empty() {
            let done =
                bench.valkit(&["send", "q"]).env("VALKEY_DEFAULT_QUEUE", name).write_stdin("1").assert();
            let told = String::from_utf8_lossy(&done.code(2).get_output().stderr).into_owned();
            assert!(told.contains("VALKEY_DEFAULT_QUEUE"), "{name:?}: {told}");
        }
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(b"\xff\xfe");
        bench.valkit(&["queue", "show"]).arg(name).assert().code(2);
    }
}

#[tokio::test]
async fn a_good_name_comes_out_as_it_went_in() {
    // All keys of a server of its own are its queues.
    let server = Box::leak(Box::new(TestServer::start().await.unwrap()));
    let long = "y".repeat(200);
    let names: Vec<&str> = GOOD.into_iter().chain([long.as_str()]).collect();
    for name in &names {
        let bench = Bench::at(server, name.parse().unwrap()).await;
        bench.valkit(&["send", "--", name]).write_stdin("1").assert().success();
        bench.ok(&["queue", "limit", "--max-length", "9", "--", name]);
        let shown = bench.ok(&["queue", "show", "-o", "json", "--", name]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["queue"], &shown["ready"]["public"]), (&(*name).into(), &1.into()));
        bench.valkit(&["receive", "--exec", "exit 65", "-n", "1", "--", name]).assert().success();
        assert_eq!(bench.ok(&["dead", "ls", "-o", "ndjson", "--", name]).lines().count(), 1);
        bench.valkit(&["dead", "replay", "--all", "--", name]).assert().success();
    }
    let bench = Bench::at(server, "one".parse().unwrap()).await;
    let found = bench.admin.queues(|_| ()).await.unwrap();
    // Each queue had one message, which died and was replayed.
    let mut there = 0;
    for queue in &found.queues {
        there += bench.admin.stats(queue).await.unwrap().ready.public;
    }
    let sent = names.len() as u64;
    Figures::new().sent(sent).lost(sent.saturating_sub(there)).twice(there.saturating_sub(sent)).publish();
    assert_eq!(there, sent);
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(found.queues.iter().map(QueueName::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(found.unnameable, 0);
}

#[tokio::test]
async fn foreign_keys_with_other_names_disturb_no_list() {
    let server = Box::leak(Box::new(TestServer::start().await.unwrap()));
    let bench = Bench::at(server, "honest".parse().unwrap()).await;
    bench.ask(Command::new("LPUSH").key(bench.keys.public()).arg("x")).await;
    let foreign: Vec<Vec<u8>> = BAD
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| format!("queue:{name}").into_bytes())
        .chain([b"queue:\xff\xfe".to_vec(), b"queue:".to_vec(), b"{queue:a}b}:redo".to_vec()])
        .collect();
    for key in &foreign {
        bench.ask(Command::new("LPUSH").key(key.clone()).arg("x")).await;
    }
    for form in ["table", "json"] {
        let done = bench.valkit(&["queue", "ls", "-o", form]).assert().success();
        let out = String::from_utf8(done.get_output().stdout.clone()).unwrap();
        assert!(out.contains("honest") && !out.contains('\u{202e}') && !out.contains('\u{1f980}'), "{out}");
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains("keys like a queue's"), "{told}");
    }
    let found = bench.admin.queues(|_| ()).await.unwrap();
    assert_eq!(found.queues.len(), 1, "{:?}", found.queues);
    assert!(bench.ok(&["doctor"]).contains("keys begin like a queue's"));
}
