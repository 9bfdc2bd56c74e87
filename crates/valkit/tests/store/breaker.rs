//! The circuit breaker keeps senders back. It has no say about takes and leases.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use valkey_connection::{BreakerState, Connection};
use valkey_envelope::Envelope;
use valkey_receiver::{Receiver, ReceiverSettings};
use valkey_sender::{SendError, Sender};
use valkey_testkit::{Figures, TestServer, soon, unique_name};

use crate::bed::{Bed, brisk};
use crate::books::Books;

const LEASE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_holds_up_neither_takes_nor_renewals() {
    let bed = Bed::new("breaker", TestServer::builder()).await;
    let settings = bed.through(&bed.receiving).breaker_failures(1).breaker_timeout(Duration::from_mins(5));
    let shared = Connection::connect(&settings).await.unwrap();
    let receiver = Receiver::builder(&shared).queue(bed.queue.clone());
    let receiver = receiver.settings(ReceiverSettings::default().lease(LEASE)).start().await.unwrap();
    let failing = Sender::builder(shared.clone(), unique_name("elsewhere").parse().unwrap())
        .retries(0, Duration::ZERO)
        .build();
    let envelope = |number: u32| Envelope::new(&number).unwrap().with_id(number.to_string());
    // As if pushes to another queue had lost their answers. Were they really to lose them, their connection would be made
    // again, and a store that is back is tried at once.
    for _ in 0..2 {
        shared.breaker().acquire().unwrap().failure();
    }

    // A second consumer, who would take over what the first one let slip.
    let other = Connection::connect(&brisk(&bed.server.url())).await.unwrap();
    let rival = Receiver::builder(&other).queue(bed.queue.clone());
    let rival = rival.settings(ReceiverSettings::default().lease(LEASE)).start().await.unwrap();
    rival.handle().pause();
    let working = Sender::new(other.clone(), bed.queue.clone());
    let books = Books::default();
    for number in 1..=3_u32 {
        assert!(working.send(envelope(number)).await.unwrap().is_accepted());
        books.confirm(number);
        let begin = Instant::now();
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        let came = delivery.envelope().id().as_str().parse().unwrap();
        books.hand(came, delivery.crashes());
        assert_eq!(came, number);
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        sleep(2 * LEASE).await;
        assert!(!delivery.lease_lost().is_cancelled(), "the lease was renewed");
        soon("the settle", delivery.ack()).await.unwrap();
        books.done(came);
        assert!(shared.breaker().state() == BreakerState::Open, "{:?}", shared.breaker().state());
        assert!(matches!(failing.send(envelope(2_000)).await, Err(SendError::BreakerOpen { .. })));
    }
    let report = soon("the end", receiver.drain()).await.unwrap();
    let _ = soon("the end", rival.drain()).await.unwrap();
    let (sent, lost, twice) = (books.confirmed(), bed.lost(&books).await, books.twice());
    Figures::new().sent(sent.len() as u64).lost(lost.len() as u64).twice(twice.len() as u64).publish();
    assert!(lost.is_empty() && twice.is_empty(), "lost {lost:?}, twice {twice:?}");
    assert!(report.is_clean() && report.acked == sent.len() as u64 && books.crashes() == 0, "{report}");
    assert!(bed.contents().await.is_empty());
}
