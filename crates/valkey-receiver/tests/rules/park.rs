//! A park carries data only into `woken`, and every consumer drains that.

use std::collections::BTreeSet;
use std::time::Duration;

use valkey_connection::{Connection, ConnectionSettings, Script};
use valkey_envelope::Envelope;
use valkey_receiver::Receiver;
use valkey_testkit::FaultProxy;

use crate::support::books::Books;
use crate::support::{Bed, settings, until};

/// What a parked consumer leaves that dies with the message in its hands.
static OUTLIVED: Script = Script::new(
    "outlived",
    "redis.call('LPUSH', KEYS[1], ARGV[1]) return redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')",
);

async fn through(proxy: &FaultProxy) -> Connection {
    let url = format!("valkey://{}", proxy.address());
    Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_an_outlived_park_has_moved_is_found_by_an_idle_consumer() {
    let bed = Bed::new("outlived").await;
    let receiver = bed.receiver(settings()).await;
    until("a parked consumer", async || {
        bed.server.cli(&["CLIENT", "LIST"]).await.unwrap().contains("cmd=blmove").then_some(())
    })
    .await;
    let raw = Envelope::new("x").unwrap().encode().unwrap();
    let outlived = OUTLIVED.call().keys([bed.keys.public(), bed.keys.woken()]).arg(raw.clone());
    bed.connection.invoke(outlived).await.unwrap();
    let books = Books::of([raw.clone()]);
    // Nothing wakes it: no push, no bell. A park lasts a second at most.
    let found = tokio::time::timeout(Duration::from_secs(2), receiver.recv()).await;
    let delivery = found.expect("within two seconds").unwrap();
    assert_eq!(delivery.raw(), &raw);
    books.handed(&raw);
    books.ack(delivery).await;
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn a_park_whose_client_has_died_loses_nothing() {
    let bed = Bed::new("park-dies").await;
    let proxy = FaultProxy::start(&bed.server.address()).await.unwrap();
    let mut parked = through(&proxy).await.dedicated().await.unwrap();
    let (public, woken) = (bed.keys.public().to_owned(), bed.keys.woken().to_owned());
    let park =
        tokio::spawn(async move { parked.blocking_move(&public, &woken, Duration::from_mins(1)).await });
    until("the park", async || {
        let clients = bed.server.cli(&["CLIENT", "LIST"]).await.unwrap();
        (clients.matches("cmd=blmove").count() > 0).then_some(())
    })
    .await;
    proxy.stall_replies();
    let books = Books::of(bed.push_numbers(1).await);
    park.abort();
    proxy.drop_connections();

    let receiver = bed.receiver(settings()).await;
    let delivery = books.next(&receiver).await;
    books.ack(delivery).await;
    bed.until_empty().await;
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

#[tokio::test]
async fn pushes_while_the_connection_of_a_parked_consumer_dies_all_arrive() {
    const COUNT: u32 = 30;
    let bed = Bed::new("park-cut").await;
    let proxy = FaultProxy::start(&bed.server.address()).await.unwrap();
    let connection = through(&proxy).await;
    let receiver =
        Receiver::builder(&connection).queue(bed.queue.clone()).settings(settings()).start().await.unwrap();
    let (mut arrived, books) = (BTreeSet::new(), Books::default());
    for number in 1..=COUNT {
        let envelope = Envelope::new(&number).unwrap();
        let cut = async {
            tokio::time::sleep(Duration::from_micros(u64::from(number % 10) * 200)).await;
            proxy.drop_connections();
        };
        let (raw, ()) = tokio::join!(bed.push(&envelope), cut);
        books.sent([raw]);
        while !arrived.contains(&number) {
            let delivery = books.next(&receiver).await;
            assert_eq!(delivery.crashes(), 0, "a lost connection is no crash");
            arrived.insert(delivery.envelope().payload_as::<u32>().unwrap());
            // Sent or not: it comes again, or not.
            let _ = books.try_ack(delivery).await;
        }
    }
    bed.until_empty().await;
    let _ = receiver.drain().await.unwrap();
    assert_eq!(books.publish(&bed).await.lost, 0);
    assert_eq!(arrived.len(), COUNT as usize);
    assert!(bed.dead().await.is_empty());
}
