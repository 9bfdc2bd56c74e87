//! A server that takes no more connections.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use valkey_connection::{Command, Connection};
use valkey_testkit::{Figures, TestServer, soon};

use crate::bed::{Bed, brisk};
use crate::crew::{Crew, Plan};

/// Others, who keep every place they can get.
async fn crowd(bed: &Bed) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    loop {
        let mut stream = TcpStream::connect(bed.server.address()).await.unwrap();
        let mut said = [0; 64];
        // Who is let in hears nothing; who is not is told so.
        match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut said)).await {
            Err(_) => crowd.push(stream),
            Ok(_) => return crowd,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_more_connections_is_named_and_waited_for() {
    let bed = Bed::new("max-clients", TestServer::builder()).await;
    let plan = Plan { lease: Duration::from_secs(15), ..Plan::default() };
    let crew = Crew::start(&bed, &plan).await;
    crew.until_handled(100).await;
    let set = async |count: u64| bed.ask(Command::new("CONFIG").args(["SET", "maxclients"]).arg(count)).await;
    let clients = bed.ask(Command::new("INFO").arg("clients")).await.into_string().unwrap();
    let clients: u64 = clients
        .lines()
        .find_map(|line| line.strip_prefix("connected_clients:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    set(clients + 5).await;
    let first = crowd(&bed).await;
    assert!(!first.is_empty());

    // At the start: at once, by name, and as something that passes.
    let begin = Instant::now();
    let error = soon("an answer", Connection::connect(&brisk(&bed.server.url()))).await.unwrap_err();
    eprintln!("after {:?}: {error}", begin.elapsed());
    assert!(error.is_transient() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains("max number of clients"), "{error}");

    // At work: all connections are gone, and others take the places.
    bed.sending.drop_connections();
    bed.receiving.drop_connections();
    let second = crowd(&bed).await;
    sleep(Duration::from_millis(500)).await;
    let third = crowd(&bed).await;
    let (handled, tries) = (crew.books.finished().len(), bed.receiving.traffic().connections);
    sleep(Duration::from_secs(3)).await;
    let tries = bed.receiving.traffic().connections - tries;
    let handled = crew.books.finished().len() - handled;
    eprintln!(
        "{} and {} and {} others; {tries} tries of two receivers in 3 s, handled {handled}",
        first.len(),
        second.len(),
        third.len()
    );
    assert!(tries < 150, "{tries} tries of two receivers in 3 s");
    drop((first, second, third));
    let free = Instant::now();
    crew.until_handled(50).await;
    let recovery = free.elapsed();
    crew.until_confirmed(50).await;
    let books = crew.books.clone();
    let report = crew.finish(&bed).await;
    let (lost, twice) = (bed.lost(&books).await, books.twice());
    Figures::new()
        .sent(books.confirmed().len() as u64)
        .rejected(books.reasons().values().sum())
        .lost(lost.len() as u64)
        .twice(twice.len() as u64)
        .recovery(recovery)
        .publish();
    assert!(lost.is_empty() && twice.is_empty(), "lost {lost:?}, twice {twice:?}");
    assert!(books.open().is_empty() && books.crashes() == 0 && report.uncertain == 0, "{report}");
}
