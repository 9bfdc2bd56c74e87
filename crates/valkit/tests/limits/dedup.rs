//! The same id again: at once, from everywhere at the same time, after it was handled, and after the window.

use std::time::{Duration, Instant};

use valkey_envelope::Envelope;
use valkey_sender::{Receipt, Sender};
use valkey_testkit::Figures;

use crate::bench::{Bench, Effects};
use crate::scale;

const WINDOW: Duration = Duration::from_mins(10);
const SENDERS: usize = 5;
const TASKS: usize = 50;

fn message(id: &str) -> Envelope {
    Envelope::new("x").unwrap().with_id(id)
}

async fn senders(bench: &Bench, window: Duration) -> Vec<Sender> {
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(bench.sender().await.dedup(window).build());
    }
    senders
}

fn is_sent(receipt: &Receipt) -> bool {
    match receipt {
        Receipt::Sent { .. } => true,
        Receipt::Duplicate { .. } => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_has_one_effect_within_the_window_however_it_is_sent() {
    let bench = Bench::new("once").await;
    let senders = senders(&bench, WINDOW).await;
    let effects = Effects::default();
    let crews = [
        bench.crew(&effects, Duration::from_millis(1), |_| false).await,
        bench.crew(&effects, Duration::from_millis(1), |_| false).await,
    ];
    let ids: Vec<String> = (0..20 * scale()).map(|n| format!("id-{n}")).collect();
    let (mut sends, mut accepted) = (0_u64, 0_u64);
    let mut note = |receipt: &Receipt| {
        sends += 1;
        accepted += u64::from(is_sent(receipt));
    };
    // One after the other, through each sender in turn.
    for n in 0..2 * SENDERS {
        let receipt = senders[n % SENDERS].send(message("sequential")).await.unwrap();
        assert_eq!(is_sent(&receipt), n == 0);
        note(&receipt);
    }
    // From fifty tasks at once, all ids.
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (sender, ids) = (senders[task % SENDERS].clone(), ids.clone());
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for id in &ids {
                    receipts.push(sender.send(message(id)).await.unwrap());
                }
                receipts
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().iter().for_each(&mut note);
    }
    // After each was handled and acked.
    bench.until_empty().await;
    for (n, id) in ids.iter().enumerate() {
        let receipt = senders[n % SENDERS].send(message(id)).await.unwrap();
        assert!(!is_sent(&receipt), "{id} after its ack");
        note(&receipt);
    }
    bench.until_empty().await;
    for crew in crews {
        crew.drain().await;
    }
    let effects = effects.lock().unwrap();
    let twice: u64 = effects.values().map(|times| u64::from(times - 1)).sum();
    Figures::new()
        .sent(sends)
        .confirmed(accepted)
        .lost(accepted.saturating_sub(effects.len() as u64))
        .twice(twice)
        .note(format!("{} ids, {TASKS} tasks over {SENDERS} senders", ids.len() + 1))
        .publish();
    assert_eq!((accepted, effects.len(), twice), (ids.len() as u64 + 1, ids.len() + 1, 0));
}

#[tokio::test]
async fn after_the_window_an_id_is_a_new_message() {
    let bench = Bench::new("once-more").await;
    let window = Duration::from_secs(1);
    let senders = senders(&bench, window).await;
    let effects = Effects::default();
    let crew = bench.crew(&effects, Duration::ZERO, |_| false).await;
    let started = Instant::now();
    assert!(is_sent(&senders[0].send(message("a")).await.unwrap()));
    bench.until_empty().await;
    let mut again = 1;
    while !is_sent(&senders[again % SENDERS].send(message("a")).await.unwrap()) {
        assert!(started.elapsed() < Duration::from_secs(10), "forgotten after two windows at the latest");
        again += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= window, "remembered for the window at least");
    bench.until_empty().await;
    crew.drain().await;
    let handled = u64::from(effects.lock().unwrap()["a"]);
    // Two of the sends were accepted, as two messages of one id.
    Figures::new()
        .sent(again as u64 + 1)
        .confirmed(2)
        .lost(2_u64.saturating_sub(handled))
        .twice(handled.saturating_sub(2))
        .publish();
    assert_eq!(handled, 2);
}
