//! Listing, stats, memory, peek: what changes nothing.

use std::time::Duration;

use bytes::Bytes;
use valkey_admin::{Error, Lease, PeekQuery, Place, Ready};
use valkey_connection::Command;
use valkey_envelope::Lane;

use crate::support::{Bench, GARBAGE, encoded};

fn query(place: Place) -> PeekQuery {
    PeekQuery { place, skip: 0, count: 10, max_bytes: 4096 }
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_all_zero() {
    let bench = Bench::new().await;
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    assert!(!stats.exists);
    assert_eq!((stats.ready, stats.delayed, stats.in_flight, stats.dead), (Ready::default(), 0, 0, 0));
    assert_eq!((stats.consumers.len(), stats.next_due_in, stats.list_expires_in), (0, None, None));
    assert_eq!(bench.admin.memory(&bench.queue).await.unwrap().total, 0);
    let page = bench.admin.peek(&bench.queue, &query(Place::Public)).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
}

#[tokio::test]
async fn every_place_is_counted_apart() {
    let bench = Bench::new().await;
    let now = bench.now().await;
    for (key, count) in [
        (bench.keys.public(), 1),
        (bench.keys.lane(Lane::High), 2),
        (bench.keys.lane(Lane::Low), 3),
        (bench.keys.woken(), 4),
        (bench.keys.redo(), 5),
    ] {
        for _ in 0..count {
            bench.push(key, GARBAGE).await;
        }
    }
    bench.delay("1-1-c", now + 60_000, 0, GARBAGE).await;
    bench.delay("1-2-c", now + 90_000, 1, GARBAGE).await;
    for id in ["1-1-c", "1-2-c", "1-3-c"] {
        bench.bury(id, now - 30_000, "rejected", Lane::Normal, GARBAGE).await;
    }
    bench.register("live", now + 60_000).await;
    bench.register("late", now - 10_000).await;
    bench.register("gone", 0).await;
    bench.claim("live", "7-1", 0, GARBAGE).await;
    bench.claim("live", "7-2", 0, GARBAGE).await;
    bench.claim("late", "10-1", 0, GARBAGE).await;

    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    let ready = (stats.ready.public, stats.ready.high, stats.ready.low, stats.ready.woken, stats.ready.redo);
    assert_eq!((ready, stats.ready.total()), ((1, 2, 3, 4, 5), 15));
    assert_eq!((stats.delayed, stats.dead, stats.dead_bodies, stats.in_flight), (2, 3, 3, 3));
    assert!(stats.next_due_in.unwrap() <= Duration::from_mins(1));
    assert!(stats.oldest.dead.unwrap() >= Duration::from_secs(30));
    assert!(stats.oldest.in_flight.unwrap() >= Duration::from_secs(5));
    assert_eq!(stats.consumer_count, 3);
    let consumers: Vec<_> = stats.consumers.iter().map(|c| (c.id.as_str(), c.in_flight)).collect();
    assert_eq!(consumers, [("gone", 0), ("late", 1), ("live", 2)]);
    assert_eq!(stats.consumers[0].lease, Lease::Fenced);
    assert!(matches!(stats.consumers[1].lease, Lease::Expired { ago } if ago >= Duration::from_secs(10)));
    assert!(stats.consumers[2].lease.is_live());
    assert!(stats.exists && stats.squatters.is_empty());

    let memory = bench.admin.memory(&bench.queue).await.unwrap();
    assert_eq!(memory.places.len(), 8);
    assert_eq!(memory.places.values().sum::<u64>(), memory.total);
}

#[tokio::test]
async fn the_oldest_ready_message_tells_its_age() {
    let bench = Bench::new().await;
    let hour_ago = jiff::Timestamp::now() - Duration::from_hours(1);
    let old = valkey_envelope::Envelope::new("x").unwrap().with_timestamp(hour_ago).encode().unwrap();
    bench.push(bench.keys.public(), old).await;
    bench.push(bench.keys.public(), encoded("young")).await;
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    let age = stats.oldest.ready.unwrap();
    assert!(age > Duration::from_secs(3590) && age < Duration::from_secs(3700), "{age:?}");
}

#[tokio::test]
async fn an_expiry_on_the_list_is_noticed() {
    let bench = Bench::new().await;
    bench.push(bench.keys.public(), "x").await;
    bench.run(Command::new("EXPIRE").key(bench.keys.public()).arg(100u32)).await;
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    assert!(stats.list_expires_in.unwrap() > Duration::from_secs(90));
}

#[tokio::test]
async fn queues_are_found_by_any_of_their_keys() {
    let bench = Bench::new().await;
    let consumer = "0195c0ffee00700080000000000000ff";
    bench.claim(consumer, "1-1", 0, "x").await;
    let mut pages = 0;
    let catalog = bench.admin.queues(|progress| pages = progress.pages).await.unwrap();
    assert!(catalog.queues.contains(&bench.queue) && pages > 0 && !catalog.truncated);
    assert!(catalog.in_flight[&bench.queue].contains(consumer));
}

#[tokio::test]
async fn peek_shows_the_next_ones_first_and_takes_none() {
    let bench = Bench::new().await;
    for element in ["first", "zweite ☃", "third"] {
        bench.push(bench.keys.public(), element).await;
    }
    bench.push(bench.keys.public(), GARBAGE).await;
    let page = bench.admin.peek(&bench.queue, &query(Place::Public)).await.unwrap();
    let seen: Vec<&[u8]> = page.items.iter().map(|item| &item.bytes[..]).collect();
    assert_eq!(seen, [b"first", "zweite ☃".as_bytes(), b"third", GARBAGE]);
    assert_eq!((page.total, page.next, page.items[3].position), (4, None, 3));
    assert!(page.items[3].envelope().unwrap().is_err());

    let second = PeekQuery { skip: 1, count: 2, ..query(Place::Public) };
    let page = bench.admin.peek(&bench.queue, &second).await.unwrap();
    assert_eq!((page.items.len(), page.items[0].position, page.next), (2, 1, Some(3)));
    assert_eq!(bench.int("LLEN", bench.keys.public()).await, 4);
}

#[tokio::test]
async fn peek_peels_every_frame() {
    let bench = Bench::new().await;
    let now = bench.now().await;
    bench.push(bench.keys.redo(), [b"1|2|h|", GARBAGE].concat()).await;
    bench.delay("9-9-c", now + 5_000, 4, GARBAGE).await;
    for consumer in ["a", "b"] {
        bench.register(consumer, now + 60_000).await;
        bench.claim(consumer, "1-1", 0, GARBAGE).await;
        bench.claim(consumer, "1-2", 3, GARBAGE).await;
    }
    let redo = &bench.admin.peek(&bench.queue, &query(Place::Redo)).await.unwrap().items[0];
    assert_eq!(
        (&redo.bytes[..], redo.crashes, redo.attempts, redo.lane),
        (GARBAGE, Some(1), Some(2), Some(Lane::High))
    );
    let delayed = &bench.admin.peek(&bench.queue, &query(Place::Delayed)).await.unwrap().items[0];
    assert_eq!((&delayed.bytes[..], delayed.attempts, delayed.due_ms), (GARBAGE, Some(4), Some(now + 5_000)));

    let held = bench.admin.peek(&bench.queue, &query(Place::InFlight)).await.unwrap();
    let seen: Vec<_> = held.items.iter().map(|item| (item.consumer.as_deref(), item.attempts)).collect();
    assert_eq!(
        seen,
        [(Some("a"), Some(0)), (Some("a"), Some(3)), (Some("b"), Some(0)), (Some("b"), Some(3))]
    );
    assert!(held.items.iter().all(|item| item.bytes == GARBAGE && item.claimed_ms.is_some()));
    let third = PeekQuery { skip: 2, count: 1, ..query(Place::InFlight) };
    let page = bench.admin.peek(&bench.queue, &third).await.unwrap();
    assert_eq!(
        (page.items[0].consumer.as_deref(), page.items[0].position, page.next),
        (Some("b"), 2, Some(3))
    );
}

#[tokio::test]
async fn huge_messages_are_cut_on_the_server() {
    let bench = Bench::new().await;
    for _ in 0..4 {
        bench.push(bench.keys.public(), Bytes::from(vec![b'x'; 3 << 20])).await;
    }
    let page =
        bench.admin.peek(&bench.queue, &PeekQuery { max_bytes: 100, ..query(Place::Public) }).await.unwrap();
    assert_eq!(page.items.len(), 4);
    assert!(
        page.items.iter().all(|item| item.bytes.len() == 100 && item.length == 3 << 20 && !item.is_whole())
    );
    // Whole ones: a page ends after the first that fills it.
    let whole = PeekQuery { max_bytes: 4 << 20, ..query(Place::Public) };
    let page = bench.admin.peek(&bench.queue, &whole).await.unwrap();
    assert_eq!((page.items.len(), page.next), (1, Some(1)));
    let stats = bench.admin.stats(&bench.queue).await.unwrap();
    assert_eq!((stats.ready.public, stats.oldest.ready), (4, None));
}

#[tokio::test]
async fn dead_letters_are_not_peeked() {
    let bench = Bench::new().await;
    let refused = bench.admin.peek(&bench.queue, &query(Place::Dead)).await.unwrap_err();
    assert!(matches!(refused, Error::NotApplicable { place: Place::Dead, .. }), "{refused}");
}
