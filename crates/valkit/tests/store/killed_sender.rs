//! A sending process killed in the middle of a stream of sends, and started again.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use valkey_connection::Connection;
use valkey_envelope::Envelope;
use valkey_sender::Sender;
use valkey_testkit::{Figures, TestServer};

use crate::bed::{Bed, brisk, long, random};

const ROLE: &str = "VALKIT_SENDER_ROLE";
const COUNT: u32 = 4_000;
const TASKS: usize = 8;
/// Begins each line meant for the parent: the test harness prints lines of its own.
const MARK: char = '\u{1e}';

/// The child: sends the numbers that are not known to be sent, and says of each when it is.
#[test]
fn sender_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [url, queue, dedup, todo] = role.split('|').collect::<Vec<_>>().try_into().unwrap();
    let todo: Arc<Vec<u32>> = Arc::new(todo.split(',').map(|number| number.parse().unwrap()).collect());
    // The harness prints the name of the test without a line break.
    println!();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Connection::connect(&brisk(url)).await.unwrap();
        let builder = Sender::builder(connection, queue.parse().unwrap());
        let dedup = dedup == "dedup";
        let sender = if dedup { builder.dedup(Duration::from_hours(1)) } else { builder }.build();
        let next = Arc::new(AtomicU32::new(0));
        let tasks: JoinSet<()> = (0..TASKS)
            .map(|_| {
                let (sender, next, todo) = (sender.clone(), Arc::clone(&next), Arc::clone(&todo));
                async move {
                    while let Some(number) = todo.get(next.fetch_add(1, Ordering::SeqCst) as usize) {
                        let envelope = Envelope::new(&"x".repeat(500)).unwrap().with_id(number.to_string());
                        assert!(
                            sender.send(envelope).await.is_ok_and(|receipt| receipt.is_accepted() || dedup)
                        );
                        writeln!(std::io::stdout().lock(), "{MARK}{number}").unwrap();
                    }
                }
            })
            .collect();
        tasks.join_all().await;
    });
}

/// Runs a child for so long, and tells which sends it had answers to. `None`: until it ends.
async fn run(bed: &Bed, dedup: bool, todo: &[u32], lifetime: Option<Duration>) -> Vec<u32> {
    let todo: Vec<String> = todo.iter().map(u32::to_string).collect();
    let (url, kind) = (bed.server.url(), if dedup { "dedup" } else { "plain" });
    let role = format!("{url}|{}|{kind}|{}", bed.queue, todo.join(","));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_sender::sender_process", "--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answered = Vec::new();
    // Its life begins with its first answer.
    let mut end: Option<Instant> = None;
    loop {
        let far = Instant::now() + Duration::from_mins(1);
        match timeout_at(end.unwrap_or(far), lines.next_line()).await {
            Ok(Ok(Some(line))) => {
                if let Some((_, number)) = line.split_once(MARK) {
                    answered.push(number.parse().unwrap());
                    end = end.or(lifetime.map(|lifetime| Instant::now() + lifetime));
                }
            }
            Ok(_) => break,
            Err(_) => {
                assert!(end.is_some(), "the child says nothing");
                child.kill().await.unwrap();
                end = None;
            }
        }
    }
    let status = child.wait().await.unwrap();
    assert!(lifetime.is_some() || status.success(), "{status}");
    answered
}

/// Kills a sender several times and lets the last one end.
async fn kill(dedup: bool) {
    let bed = Bed::new("killed-sender", TestServer::builder()).await;
    let mut todo: Vec<u32> = (1..=COUNT).collect();
    let (mut confirmed, mut kills, mut doubt) = (BTreeSet::new(), 0, 0);
    for round in 0..=long(5, 50) {
        let last = round == long(5, 50);
        let life = (!last).then(|| Duration::from_micros(20_000 + random(100_000) as u64));
        let answered = run(&bed, dedup, &todo, life).await;
        let there = bed.contents().await;
        assert!(answered.iter().all(|number| there.contains_key(number)), "what was answered is there");
        let more = there.keys().filter(|number| todo.contains(number)).count() - answered.len();
        assert!(more <= TASKS, "{more} more than what was answered: one of each task at most");
        confirmed.extend(answered);
        // Those that are there without an answer are sent again: the program cannot know.
        todo.retain(|number| !confirmed.contains(number));
        doubt += more;
        kills += u32::from(!last);
        if todo.is_empty() {
            break;
        }
    }
    assert!(kills >= 3, "{kills} kills prove little: the process was too quick");
    let there = bed.contents().await;
    let lost = confirmed.iter().filter(|number| !there.contains_key(number)).count();
    let twice = there.values().filter(|times| **times > 1).count();
    eprintln!("dedup {dedup}: {kills} kills, {doubt} there without an answer, {twice} twice in the end");
    Figures::case(if dedup { "with dedup" } else { "without dedup" })
        .sent(u64::from(COUNT))
        .confirmed(confirmed.len() as u64)
        .unknown(doubt as u64)
        .lost(lost as u64)
        .twice(twice as u64)
        .note(format!("{kills} kills"))
        .publish();
    assert_eq!((confirmed.len(), there.len(), lost), (COUNT as usize, COUNT as usize, 0), "all are there");
    if dedup {
        assert_eq!(twice, 0);
    } else {
        assert!(twice <= doubt, "only what nobody knew is there twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sender_has_sent_what_was_answered_and_nothing_in_half() {
    kill(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sender_that_starts_again_with_dedup_sends_each_once() {
    kill(true).await;
}
