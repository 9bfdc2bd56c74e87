//! An end that the server does not help along: it comes all the same, and soon.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_receiver::{Receiver, SettleError};
use valkey_testkit::{TestServer, unique_name};

use support::books::Books;
use support::{Bed, settings, soon, until};

/// Five seconds to settle what is left, the same to give back the rest, and some for the machine.
const END: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_copy_that_can_never_be_made_does_not_hold_up_the_end() {
    let bed = Bed::new("no-copy").await;
    let copies: valkey_envelope::QueueName = unique_name("copies").parse().unwrap();
    bed.ask(Command::new("SET").key(copies.keys().public()).arg("no list")).await;
    let receiver = bed.receiver(settings().dead_letter_queue(Some(copies))).await;
    let books = Books::of(bed.push_numbers(1).await);
    let delivery = books.next(&receiver).await;
    let settled = tokio::spawn(delivery.dead_letter("for the test"));
    let drain_timeout = Duration::from_secs(1);
    let started = Instant::now();
    let report = soon("the end", async {
        tokio::time::sleep(drain_timeout).await;
        drop(receiver);
        settled.await.unwrap()
    })
    .await;
    assert_eq!(report, Err(SettleError::Stopped));
    assert!(started.elapsed() < END, "{:?}", started.elapsed());
    until("the message, given back", async || (bed.waiting().await.len() == 1).then_some(())).await;
    assert_eq!(books.publish(&bed).await.lost, 0);
}

#[tokio::test]
async fn a_right_that_was_taken_away_does_not_hold_up_the_end() {
    let server: &'static TestServer = TestServer::shared().await;
    let bed = Bed::on(server, "no-right").await;
    let user = unique_name("user").replace(['.', ':', '-'], "_");
    bed.ask(Command::new("ACL").arg("SETUSER").arg(&*user).args(["on", ">pw", "~*", "&*", "+@all"])).await;
    let url = server.url().replace("://", &format!("://{user}:pw@"));
    let connection = Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap();
    let receiver = Receiver::builder(&connection)
        .queue(bed.queue.clone())
        .settings(settings().drain_timeout(Duration::from_secs(1)))
        .start()
        .await
        .unwrap();
    let books = Books::of(bed.push_numbers(2).await);
    let delivery = books.next(&receiver).await;
    bed.ask(Command::new("ACL").arg("SETUSER").arg(&*user).arg("-hdel")).await;
    let settled = tokio::spawn(delivery.ack());
    let started = Instant::now();
    let report = soon("the end", receiver.drain()).await.unwrap();
    assert!(started.elapsed() < END, "{:?}", started.elapsed());
    assert_eq!(settled.await.unwrap(), Err(SettleError::Stopped));
    assert_eq!(report.acked, 0, "{report}");
    assert_eq!(books.publish(&bed).await.lost, 0);
    assert_eq!(bed.held_anywhere().await, 2, "nothing was settled");
    bed.ask(Command::new("ACL").arg("DELUSER").arg(&*user)).await;
}
