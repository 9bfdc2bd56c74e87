//! Effects that are writes to the queue's own Valkey.

use valkey_connection::{Command, Connection, ConnectionSettings, Mode};
use valkey_envelope::{Envelope, QueueName};
use valkey_receiver::inbox::{HALF_APPLIED, Mark, ValkeyInbox, Write, Writes};
use valkey_receiver::{Handler, Message, Outcome};
use valkey_testkit::{Figures, TestCluster, TestServer, unique_name};

use crate::support::Bed;

fn message(queue: &QueueName, id: &str) -> Message {
    Message::detached(Envelope::new(&7).unwrap().with_id(id), queue)
}

/// A handler that always decides the same.
fn always(connection: &Connection, writes: Writes) -> impl Handler + use<> {
    let decide = move |_: Message| {
        let writes = writes.clone();
        async move { Ok::<_, Outcome>(writes) }
    };
    ValkeyInbox::new(connection).apply(decide)
}

/// What a counter says; nothing says 0.
async fn times(connection: &Connection, counter: &str) -> i64 {
    let count = connection.execute(Command::new("GET").key(counter)).await.unwrap();
    if count.is_nil() { 0 } else { count.as_int().unwrap() }
}

/// How often the effect of each message has happened.
fn publish(times: &[i64]) {
    let (lost, twice) = (times.iter().filter(|times| **times == 0), times.iter().filter(|times| **times > 1));
    let figures = Figures::new().sent(times.len() as u64).lost(lost.count() as u64);
    figures.twice(twice.count() as u64).note("effects").publish();
}

#[tokio::test]
async fn all_writes_happen_in_their_order_and_once() {
    let bed = Bed::new("inbox").await;
    let log = bed.keys.app("log");
    let push = |word: &str| Write::new("RPUSH").key(log.as_str()).arg(word);
    let handler = always(&bed.connection, Writes::new().with(push("a")).with(push("b")).with(push("c")));
    for _ in 0..3 {
        assert_eq!(handler.handle(message(&bed.queue, "1")).await, Outcome::Ack);
    }
    let all = bed.ask(Command::new("LRANGE").key(log.as_str()).arg("0").arg("-1")).await;
    let all: Vec<String> =
        all.into_array().unwrap().into_iter().map(|word| word.into_string().unwrap()).collect();
    assert_eq!(all, ["a", "b", "c"]);
    assert_eq!(always(&bed.connection, Writes::new()).handle(message(&bed.queue, "2")).await, Outcome::Ack);
    let inbox = ValkeyInbox::new(&bed.connection);
    assert_eq!(inbox.mark(&bed.queue, "2").await.unwrap(), Some(Mark::Done));
}

#[tokio::test]
async fn what_fails_before_anything_happened_is_tried_again_and_what_fails_later_never() {
    let bed = Bed::new("inbox").await;
    let inbox = ValkeyInbox::new(&bed.connection);
    let (text, count) = (bed.keys.app("text"), bed.keys.app("count"));
    bed.ask(Command::new("SET").key(text.as_str()).arg("no number")).await;
    let fails = || Write::new("INCR").key(text.as_str());
    let works = || Write::new("INCR").key(count.as_str());
    let counted = async || {
        let count = bed.ask(Command::new("GET").key(count.as_str())).await;
        if count.is_nil() { 0 } else { count.as_int().unwrap() }
    };

    // The first one fails; it lacks arguments; a command that does not exist, wherever it stands.
    let unknown = Writes::new().with(works()).with(Write::new("FROBNICATE").key(text.as_str()));
    let bare = Writes::new().with(Write::new("HSET")).with(works());
    for writes in [Writes::new().with(fails()).with(works()), bare, unknown] {
        let outcome = always(&bed.connection, writes).handle(message(&bed.queue, "1")).await;
        assert_eq!(outcome.name(), "nack", "{outcome:?}");
        assert_eq!(counted().await, 0);
        assert_eq!(inbox.mark(&bed.queue, "1").await.unwrap(), None);
    }
    // A later one fails: what has happened stays, and is never repeated.
    let half = always(&bed.connection, Writes::new().with(works()).with(fails()));
    for _ in 0..2 {
        let outcome = half.handle(message(&bed.queue, "2")).await;
        let Outcome::DeadLetter { reason, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason.as_str(), HALF_APPLIED);
        assert_eq!(counted().await, 1);
    }
    assert_eq!(inbox.mark(&bed.queue, "2").await.unwrap(), Some(Mark::HalfApplied));
}

#[tokio::test]
async fn a_full_server_carries_out_nothing_and_the_message_waits() {
    let server = Box::leak(Box::new(TestServer::start().await.unwrap()));
    let bed = Bed::on(server, "inbox").await;
    let count = bed.keys.app("count");
    let handler = always(&bed.connection, Write::new("INCR").key(count.as_str()).into());
    bed.server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let outcome = handler.handle(message(&bed.queue, "1")).await;
    assert_eq!(outcome.name(), "snooze", "{outcome:?}");
    assert_eq!(bed.ask(Command::new("DBSIZE")).await.as_int().unwrap(), 0);
    bed.server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert_eq!(handler.handle(message(&bed.queue, "1")).await, Outcome::Ack);
    let happened = times(&bed.connection, &count).await;
    publish(&[happened]);
    assert_eq!(happened, 1);
}

#[tokio::test]
async fn on_a_cluster_keys_beside_the_queue_work_and_others_are_refused_before_anything_happens() {
    let cluster = TestCluster::start(3).await.unwrap();
    let settings = ConnectionSettings::from_url(&cluster.urls()[0]).unwrap().mode(Mode::Cluster);
    let connection = Connection::connect(&settings).await.unwrap();
    let mut happened = Vec::new();
    for _ in 0..8 {
        let queue: QueueName = unique_name("inbox").parse().unwrap();
        let count = queue.keys().app("count");
        let works = || Write::new("INCR").key(count.as_str());
        let far = ["a", "b"].map(|name| Writes::new().with(works()).with(Write::new("INCR").key(name)));
        for far in far {
            let outcome = always(&connection, far).handle(message(&queue, "1")).await;
            assert_eq!(outcome.name(), "nack", "{outcome:?}");
        }
        let handler = always(&connection, works().into());
        for _ in 0..2 {
            assert_eq!(handler.handle(message(&queue, "1")).await, Outcome::Ack);
        }
        happened.push(times(&connection, &count).await);
    }
    publish(&happened);
    assert_eq!(happened, [1; 8]);
}
