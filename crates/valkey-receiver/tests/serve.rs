//! The service loop against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc};
use valkey_connection::Command;
use valkey_envelope::{Envelope, InFlight, Lane};
use valkey_receiver::Message;

use support::{Bed, Tell, settings, soon, until};

#[tokio::test]
async fn every_message_is_handled_and_acked() {
    let bed = Bed::new("serve-all").await;
    bed.push_numbers(300).await;
    let receiver = bed.receiver(settings()).await;
    let (seen, mut numbers) = mpsc::unbounded_channel();
    let stop = receiver.handle();
    let service = tokio::spawn(
        receiver
            .serve(move |message: Message| {
                let seen = seen.clone();
                async move { seen.send(message.payload_as::<u32>().unwrap()).unwrap() }
            })
            .into_future(),
    );
    let mut all = BTreeSet::new();
    while all.len() < 300 {
        all.insert(soon("the next message", numbers.recv()).await.unwrap());
    }
    stop.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    assert_eq!((report.acked, report.retried, report.dead, report.handed_back), (300, 0, 0, 0), "{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!(bed.ready().await, 0);
    assert_eq!(bed.consumers().await, Vec::<String>::new(), "a receiver that left is no consumer");
}

#[tokio::test]
async fn a_foreign_push_is_received_with_all_that_is_known_about_it() {
    let bed = Bed::new("serve-foreign").await;
    let json = r#"{"id":"f-1","payload":{"login":"ada"},"headers":{"locale":"de"},"timestamp":"2024-05-01T10:00:00.123456789+02:00","ttl":0,"retries":2}"#;
    bed.server.cli(&["LPUSH", bed.keys.public(), json]).await.unwrap();
    let receiver = bed.receiver(settings()).await;
    let (seen, mut messages) = mpsc::unbounded_channel();
    let done = Arc::new(Notify::new());
    let service = receiver.serve(move |message: Message| {
        let seen = seen.clone();
        async move { seen.send(message).unwrap() }
    });
    let stop = Arc::clone(&done);
    let service =
        tokio::spawn(service.with_graceful_shutdown(async move { stop.notified().await }).into_future());
    let message = soon("the message", messages.recv()).await.unwrap();
    assert_eq!(message.envelope().id().as_str(), "f-1");
    assert_eq!(message.envelope().header("locale"), Some("de"));
    assert_eq!(message.queue(), &bed.queue);
    assert_eq!(message.lane(), Lane::Normal);
    assert_eq!(message.attempt(), 3, "two attempts failed elsewhere");
    assert_eq!(message.raw(), json.as_bytes());
    done.notify_one();
    assert_eq!(soon("the end", service).await.unwrap().unwrap().acked, 1);
}

#[tokio::test]
async fn no_more_handlers_run_at_once_than_allowed() {
    let bed = Bed::new("serve-concurrency").await;
    bed.push_numbers(12).await;
    let receiver = bed.receiver(settings().max_concurrent_messages(NonZeroUsize::new(3).unwrap())).await;
    let gate = Arc::new(Semaphore::new(0));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = receiver.handle();
    let service = {
        let (gate, running, most) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&most));
        receiver.serve(move |_: Message| {
            let (gate, running, most) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&most));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
            }
        })
    };
    let service = tokio::spawn(service.into_future());
    until("three handlers at once", async || (running.load(Ordering::SeqCst) == 3).then_some(())).await;
    gate.add_permits(12);
    bed.until_empty().await;
    stop.drain();
    let _ = soon("the end", service).await.unwrap().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_dropped_service_blames_no_message() {
    let bed = Bed::new("serve-dropped").await;
    bed.push_numbers(5).await;
    let receiver = bed.receiver(settings()).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let service = tokio::spawn(
        receiver
            .serve(move |message: Message| {
                let started = started.clone();
                async move {
                    started.send(message.attempt()).unwrap();
                    std::future::pending::<()>().await;
                }
            })
            .into_future(),
    );
    soon("a handler", starts.recv()).await.unwrap();
    service.abort();

    let again = bed.receiver(settings()).await;
    for _ in 0..5 {
        let delivery = soon("the message again", again.recv()).await.unwrap();
        assert_eq!((delivery.attempt(), delivery.crashes()), (1, 0));
        delivery.ack().await.unwrap();
    }
    let _ = again.drain().await.unwrap();
    assert!(bed.dead().await.is_empty());
}

#[tokio::test]
async fn a_lost_lease_drops_the_handler_and_the_message_comes_again() {
    let bed = Bed::new("serve-fenced").await;
    bed.push(&Envelope::new("hello").unwrap()).await;
    let receiver = bed.receiver(settings()).await;
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let (started, mut starts) = mpsc::unbounded_channel();
    let calls = AtomicUsize::new(0);
    let stop = receiver.handle();
    let handler = move |message: Message| {
        started.send(message).unwrap();
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        let tell = first.then(|| Tell(dropped.clone()));
        async move {
            if tell.is_some() {
                std::future::pending::<()>().await;
            }
        }
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    let first = soon("the first delivery", starts.recv()).await.unwrap();
    assert!(!first.lease_lost().is_cancelled());
    let [consumer] = bed.consumers().await.try_into().unwrap();
    bed.ask(Command::new("ZADD").key(bed.keys.consumers()).arg("0").arg(consumer.as_str())).await;
    soon("the drop of the handler", drops.recv()).await.unwrap();
    assert!(first.lease_lost().is_cancelled());

    let second = soon("the message again", starts.recv()).await.unwrap();
    assert_eq!(
        (second.attempt(), second.crashes()),
        (1, 0),
        "a lost lease is no failed attempt and no crash"
    );
    bed.until_empty().await;
    stop.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    assert_eq!((report.acked, report.aborted), (1, 0), "{report}");
}

#[tokio::test]
async fn handlers_start_no_faster_than_the_rate() {
    let bed = Bed::new("serve-rate").await;
    bed.push_numbers(8).await;
    let rate = settings().rate_limit_requests(NonZeroU32::new(20)).rate_limit_burst(NonZeroU32::new(2));
    let receiver = bed.receiver(rate).await;
    let (seen, mut starts) = mpsc::unbounded_channel();
    let stop = receiver.handle();
    let service = tokio::spawn(
        receiver
            .serve(move |_: Message| {
                seen.send(Instant::now()).unwrap();
                async {}
            })
            .into_future(),
    );
    let mut times = Vec::new();
    while times.len() < 8 {
        times.push(soon("the next message", starts.recv()).await.unwrap());
    }
    // Two at once, then one each 50 ms.
    let took = times[7] - times[0];
    assert!(took >= Duration::from_millis(6 * 50 - 10), "{took:?}");
    stop.drain();
    assert_eq!(soon("the end", service).await.unwrap().unwrap().acked, 8);
}

#[tokio::test]
async fn a_message_in_flight_stands_there_bare_and_its_take_tells_since_when() {
    let bed = Bed::new("serve-bare").await;
    let raw = bed.push(&Envelope::new("first of its life").unwrap()).await;
    let time = bed.ask(Command::new("TIME")).await.into_array().unwrap();
    let before_ms = time[0].as_int().unwrap().unsigned_abs() * 1_000;
    let receiver = bed.receiver(settings()).await;
    let delivery = soon("the message", receiver.recv()).await.unwrap();
    let [cid] = <[_; 1]>::try_from(bed.consumers().await).unwrap();
    let fields = bed.ask(Command::new("HGETALL").key(bed.keys.inflight(&cid))).await.into_pairs().unwrap();
    let fields =
        fields.into_iter().map(|(field, value)| (field.into_bytes().unwrap(), value.into_bytes().unwrap()));
    let claims =
        fields.filter_map(|(field, value)| Some((value.clone(), InFlight::of_field(&field, value)?)));
    let [(value, claim)] = <[_; 1]>::try_from(claims.collect::<Vec<_>>()).unwrap();
    assert_eq!(value, raw);
    let since = claim.claimed_ms;
    assert!((before_ms..before_ms + 60_000).contains(&since), "{since} is not just after {before_ms}");
    delivery.ack().await.unwrap();
}
