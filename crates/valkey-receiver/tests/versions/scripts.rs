//! Consumers whose scripts differ in their text take from one queue, die, and take over from each other.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use valkey_connection::{Command, Script};
use valkey_envelope::Envelope;
use valkey_receiver::{Message, ReceiverSettings};
use valkey_testkit::Figures;

use crate::child::{Part, Process, say};
use crate::hand;
use crate::ledger::Ledger;
use crate::other::{self, LEASE_MS, Other};
use crate::support::{Bed, soon};

const COUNT: u32 = 4000;
const KILLS: u32 = 8;

fn settings() -> ReceiverSettings {
    let settings = ReceiverSettings::default().lease(Duration::from_millis(LEASE_MS));
    settings.max_crashes(1000.try_into().unwrap()).prefetch(16.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_of_the_scripts_share_a_queue_and_take_over_from_each_other() {
    let pairs: [(&Script, &Script); 4] = [
        (&hand::JOIN, &other::JOIN),
        (&hand::REAP, &other::REAP),
        (&hand::RELEASE, &other::RELEASE),
        (&hand::TAKE, &other::TAKE),
    ];
    assert!(pairs.iter().all(|(ours, theirs)| ours.sha() != theirs.sha()));

    let bed = Arc::new(Bed::new("versions").await);
    let (ours, theirs, stop) = (Ledger::default(), Ledger::default(), CancellationToken::new());
    let mut posts = Vec::new();
    for _ in 0..2 {
        posts.push(tokio::spawn(post_of_ours(Arc::clone(&bed), ours.clone(), stop.clone())));
    }
    let others = (0..2).map(|_| tokio::spawn(post_of_theirs(Arc::clone(&bed), theirs.clone(), stop.clone())));
    let others: Vec<_> = others.collect();
    // The server forgets the scripts of both, again and again, while messages come in.
    for number in 1..=COUNT {
        bed.push(&Envelope::new(&number).unwrap()).await;
        if number.is_multiple_of(100) {
            bed.ask(Command::new("SCRIPT FLUSH")).await;
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
    }
    bed.until_empty().await;
    stop.cancel();
    let mut kills = 0;
    for post in posts {
        kills += post.await.unwrap();
    }
    let mut deaths = 0;
    for post in others {
        deaths += post.await.unwrap();
    }
    // What the last ones held when they died.
    let last = bed.receiver(settings()).await;
    let end = last.handle();
    let books = ours.clone();
    let handler = move |message: Message| {
        books.handed_out(message.payload_as().unwrap(), message.crashes());
        books.done(message.payload_as().unwrap());
        async {}
    };
    let service = tokio::spawn(last.serve(handler).into_future());
    bed.until_consumers(1).await;
    bed.until_empty().await;
    end.drain();
    let _ = soon("the end", service).await.unwrap().unwrap();

    let (by_ours, by_theirs) = (ours.finished(), theirs.finished());
    let missing: Vec<u32> =
        theirs.lost(COUNT).into_iter().filter(|number| ours.is_missing(*number)).collect();
    let twice = ours.handed_out_more_than_once_with(&theirs).len();
    eprintln!(
        "{by_ours} by ours, {by_theirs} by the other version, {kills} and {deaths} deaths, twice {twice}"
    );
    Figures::new()
        .sent(COUNT.into())
        .lost(missing.len() as u64)
        .twice(twice as u64)
        .note(format!("{kills} kills of this version, {deaths} deaths of the other"))
        .publish();
    assert_eq!(missing, [0; 0]);
    assert!(kills >= KILLS / 2 && deaths >= KILLS / 2, "{kills} and {deaths} are few deaths");
    assert!(by_ours >= 300 && by_theirs >= 300, "both worked");
    assert!(!ours.reclaimed().is_empty() && !theirs.reclaimed().is_empty(), "both took over from dead ones");
    assert!(bed.dead().await.is_empty());
}

/// Keeps a consumer of ours going, and kills it.
async fn post_of_ours(bed: Arc<Bed>, ledger: Ledger, stop: CancellationToken) -> u32 {
    let mut kills = 0;
    while !stop.is_cancelled() {
        let mut process = Process::spawn(&bed, "versions");
        let lives = tokio::time::sleep(Duration::from_millis(rand::random_range(300..900)));
        tokio::pin!(lives);
        loop {
            tokio::select! {
                line = process.hear_or_wait() => ledger.read(&line.expect("it lives")),
                () = &mut lives => break,
            }
        }
        process.signal("KILL").await;
        assert_eq!(process.end().await.signal(), Some(9));
        while let Some(line) = process.hear().await {
            ledger.read(&line);
        }
        kills += 1;
    }
    kills
}

/// The same of the other version: it stops in the middle of a batch and never comes back.
async fn post_of_theirs(bed: Arc<Bed>, ledger: Ledger, stop: CancellationToken) -> u32 {
    let mut deaths = 0;
    while !stop.is_cancelled() {
        let mut consumer = Other::join(&bed).await;
        let takes = rand::random_range(20..120);
        for _ in 0..takes {
            match consumer.take(8, &ledger).await {
                None => break,
                Some(_) => Other::rest().await,
            }
        }
        if rand::random_bool(0.2) {
            consumer.release(&ledger).await;
        } else {
            deaths += 1;
        }
    }
    deaths
}

pub(crate) fn play(part: Part) {
    part.play(async |part| {
        let handler = |message: Message| async move {
            let number: u32 = message.payload_as().unwrap();
            say(format_args!("handed {number} {}", message.crashes()));
            tokio::time::sleep(Duration::from_millis(1)).await;
            say(format_args!("done {number}"));
        };
        let _ = part.receiver(settings()).await.serve(handler).await;
    });
}
