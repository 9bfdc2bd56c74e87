//! The circuit breaker keeps senders back. It has no say about takes and leases.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use valkey_connection::{BreakerState, Connection};
use valkey_envelope::Envelope;
use valkey_receiver::{Receiver, ReceiverSettings};
use valkey_sender::{SendError, Sender};
use valkey_testkit::{Cut, Figures, TestServer, unique_name};

use crate::bed::{Bed, brisk, soon};

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
    // Pushes to another queue lose their answers, as often as it takes.
    let mut number = 1_000;
    loop {
        let _cut = bed.receiving.arm(Cut::reply_before(0).of_command("LPUSH"));
        number += 1;
        // Once in a while the cut comes too late; it takes two failures in a row.
        if let Err(SendError::BreakerOpen { .. }) = failing.send(envelope(number)).await {
            break;
        }
        assert!(number < 1_050, "the breaker opens");
    }
    bed.receiving.heal().await.unwrap();

    // A second consumer, who would take over what the first one let slip.
    let other = Connection::connect(&brisk(&bed.server.url())).await.unwrap();
    let rival = Receiver::builder(&other).queue(bed.queue.clone());
    let rival = rival.settings(ReceiverSettings::default().lease(LEASE)).start().await.unwrap();
    rival.handle().pause();
    let working = Sender::new(other.clone(), bed.queue.clone());
    let mut delivered = 0_u64;
    for number in 1..=3_u32 {
        assert!(working.send(envelope(number)).await.unwrap().is_accepted());
        let begin = Instant::now();
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        assert_eq!(delivery.envelope().id().as_str(), number.to_string());
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        sleep(2 * LEASE).await;
        assert!(!delivery.lease_lost().is_cancelled(), "the lease was renewed");
        assert_eq!(delivery.crashes(), 0);
        soon("the settle", delivery.ack()).await.unwrap();
        delivered += 1;
        assert!(shared.breaker().state() == BreakerState::Open, "{:?}", shared.breaker().state());
        assert!(matches!(failing.send(envelope(2_000)).await, Err(SendError::BreakerOpen { .. })));
    }
    let report = soon("the end", receiver.drain()).await.unwrap();
    assert!(report.is_clean() && report.acked == delivered, "{report}");
    let _ = soon("the end", rival.drain()).await.unwrap();
    assert!(bed.contents().await.is_empty());
    Figures::new().sent(delivered).lost(0).twice(0).publish();
}
