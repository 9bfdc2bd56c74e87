//! Commands of somebody who may: everything deleted, one key deleted, all scripts forgotten, in the middle of everything.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use valkey_connection::Command;
use valkey_envelope::Lane;
use valkey_testkit::{Figures, TestServer};

use crate::bed::Bed;
use crate::crew::{Crew, Plan};

fn plan() -> Plan {
    Plan { pace: Duration::from_millis(5), work: Duration::from_millis(20), ..Plan::default() }
}

/// Lets a crew go on after what `happens`, which deletes, and shows that nothing is lost that was sent afterwards.
async fn survive(name: &str, happens: impl AsyncFnOnce(&Bed, &Crew)) {
    let bed = Bed::new("hand", TestServer::builder()).await;
    let crew = Crew::start(&bed, &plan()).await;
    crew.until_handled(100).await;
    happens(&bed, &crew).await;
    // What was carried out before has been answered by now.
    sleep(Duration::from_millis(200)).await;
    let struck = Instant::now();
    crew.until_handled(50).await;
    let recovery = struck.elapsed();
    crew.until_confirmed(50).await;
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;
    assert!(books.open().is_empty() && books.crashes() == 0, "{:?}", books.open());
    let (sent, lost, twice) = (books.confirmed().len(), bed.lost(&books).await, books.twice().len());
    eprintln!("{name}: sent {sent}, deleted {}, twice {twice}; {report}", lost.len());
    Figures::case(name)
        .sent(sent as u64)
        .lost(lost.len() as u64)
        .twice(twice as u64)
        .recovery(recovery)
        .note(format!("{} settles uncertain", report.uncertain))
        .publish();
    assert!(
        lost.iter().all(|number| books.confirmed_at(*number) < struck),
        "what was sent afterwards is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_server_under_load_is_filled_anew() {
    survive("FLUSHALL", async |bed, crew| {
        for _ in 0..3 {
            bed.ask(Command::new("FLUSHALL")).await;
            crew.until_handled(50).await;
        }
        bed.ask(Command::new("FLUSHALL")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_deleted_under_load_costs_what_it_held_and_stops_nobody() {
    survive("DEL of each key", async |bed, crew| {
        for _ in 0..3 {
            let mut keys = vec![bed.keys.public().to_owned()];
            keys.extend([bed.keys.lane(Lane::High), bed.keys.lane(Lane::Low)].map(str::to_owned));
            keys.extend([bed.keys.woken(), bed.keys.redo(), bed.keys.delayed()].map(str::to_owned));
            keys.extend([bed.keys.control(), bed.keys.consumers()].map(str::to_owned));
            for pattern in ["dedup:*", "stats:*", "inflight:*"] {
                keys.extend(bed.keys_like(&format!("{}:{pattern}", bed.keys.tag())).await);
            }
            for key in keys {
                bed.ask(Command::new("DEL").key(key)).await;
                sleep(Duration::from_millis(30)).await;
            }
            crew.until_handled(20).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_cost_neither_senders_nor_receivers_anything() {
    let bed = Bed::new("script-flush", TestServer::builder()).await;
    let crew = Crew::start(&bed, &plan()).await;
    crew.until_handled(50).await;
    for _ in 0..40 {
        bed.ask(Command::new("SCRIPT").arg("FLUSH")).await;
        sleep(Duration::from_millis(25)).await;
    }
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;
    assert!(books.reasons().is_empty(), "no send has noticed: {:?}", books.reasons());
    let (lost, twice) = (bed.lost(&books).await, books.twice());
    Figures::new()
        .sent(books.confirmed().len() as u64)
        .lost(lost.len() as u64)
        .twice(twice.len() as u64)
        .note("40 times")
        .publish();
    assert!(lost.is_empty() && twice.is_empty(), "lost {lost:?}, twice {twice:?}");
    assert!(report.is_clean(), "{report}");
}
