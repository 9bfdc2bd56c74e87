//! Every way of sending, for the servers and topologies that tests put under it.

use std::time::Duration;

use jiff::Timestamp;
use valkey_connection::{Command, Connection};
use valkey_envelope::{Envelope, Lane};
use valkey_sender::{Route, Routes, Sender};

use crate::books::Books;
use crate::rig::{message, queue, waiting};

/// Sends to several queues in every way there is.
pub(crate) async fn all_ways(connection: Connection) {
    let mut books = Books::default();
    let queues: Vec<_> = (0..6).map(|_| queue()).collect();
    let mut routes = Routes::new();
    for (n, queue) in queues.iter().enumerate() {
        routes = routes.with_route(Route::to(queue.clone()).kind(n.to_string()));
    }
    let build = || Sender::builder(connection.clone(), queues[0].clone()).routes(routes.clone());
    let later = Timestamp::now() + Duration::from_hours(1);
    for sender in
        [build().build(), build().dedup(Duration::from_hours(1)).build(), build().max_length(1_000).build()]
    {
        let batch = (0..600).map(|n| message(n).with_kind((n % 6).to_string()));
        let lanes = Lane::ALL.into_iter().map(|lane| message(0).with_priority(lane));
        let delayed = [message(0).with_not_before(later)];
        let mut all: Vec<Envelope> = batch.chain(lanes).chain(delayed).collect();
        let mut results = sender.send_all(all.clone()).await;
        all.push(message(1));
        results.push(sender.send(all[all.len() - 1].clone()).await);
        for (message, result) in all.iter().zip(&results) {
            assert!(result.is_ok(), "{result:?}");
            books.note(message.id(), result);
        }
    }
    let mut there = Vec::new();
    for queue in &queues {
        there.extend(waiting(&connection, queue).await);
    }
    books.balance(&there).assert_whole();
    for (n, queue) in queues.iter().enumerate() {
        let length = connection.execute(Command::new("LLEN").key(queue.keys().public())).await.unwrap();
        assert_eq!(length.as_int().unwrap(), 3 * if n == 0 { 102 } else { 100 });
    }
}
