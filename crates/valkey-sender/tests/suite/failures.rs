use std::time::Duration;

use jiff::Timestamp;
use valkey_config::CsvList;
use valkey_connection::{BreakerState, Connection, ConnectionSettings, ErrorKind, Mode};
use valkey_envelope::{Envelope, Lane};
use valkey_sender::{SendError, Sender};
use valkey_testkit::{Figures, TestCluster, TestServer};

use crate::books::Books;
use crate::rig::{Rig, connect, is_sent, message, queue, waiting};
use crate::ways::all_ways;

#[tokio::test]
async fn a_flushed_script_cache_goes_unnoticed() {
    let rig = Rig::new().await;
    let sender = rig.builder().bounded().build();
    let mut results = Vec::new();
    for n in 0..3 {
        rig.cli(&["SCRIPT", "FLUSH"]).await;
        results.push(sender.send(message(n)).await);
    }
    // Several calls in one pipeline, with nothing to limit them.
    let sender = rig.builder().dedup(Duration::from_hours(1)).build();
    rig.cli(&["SCRIPT", "FLUSH"]).await;
    results.extend(sender.send_all((3..1_000).map(message)).await);
    let mut books = Books::default();
    for (n, result) in results.iter().enumerate() {
        books.note(n, result);
    }
    let there = rig.payloads(rig.keys.public()).await;
    books.balance(&there).assert_whole();
    assert!(results.iter().all(is_sent));
    assert_eq!(there, (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_squatter_on_any_key_stops_the_send_by_name_and_leaves_no_trace() {
    let rig = Rig::new().await;
    let window = Duration::from_hours(1);
    let sender = rig.builder().dedup(window).bounded().build();
    // One message for every key the script can write.
    let batch = || {
        let later = Timestamp::now() + Duration::from_hours(1);
        [
            message(1),
            message(2).with_priority(Lane::High),
            message(3).with_priority(Lane::Low),
            message(4).with_not_before(later),
        ]
    };
    rig.cli(&["HSET", rig.keys.control(), "max_length", "1000"]).await;
    let generation = Timestamp::now().as_millisecond().cast_unsigned() / window.as_millis() as u64;
    let squatted = [
        rig.keys.public().to_owned(),
        rig.lane(Lane::High).to_owned(),
        rig.lane(Lane::Low).to_owned(),
        rig.keys.delayed().to_owned(),
        rig.keys.woken().to_owned(),
        rig.keys.redo().to_owned(),
        rig.keys.control().to_owned(),
        rig.keys.dedup(generation),
        rig.keys.dedup(generation - 1),
    ];
    let mut books = Books::default();
    for key in squatted {
        rig.cli(&["SET", &key, "squatter"]).await;
        let before = rig.existing_keys().await;
        for result in sender.send_all(batch()).await {
            books.note("refused", &result);
            match result {
                Err(SendError::Rejected { source, .. }) => {
                    assert_eq!(source.kind(), ErrorKind::WrongType, "{key}: {source}");
                    assert!(source.to_string().contains(&key), "{source} does not name {key}");
                }
                other => panic!("{key}: {other:?}"),
            }
        }
        assert_eq!(rig.existing_keys().await, before, "{key}: something was written");
        rig.cli(&["DEL", &key]).await;
    }
    let sent = batch();
    for (message, result) in sent.iter().zip(&sender.send_all(sent.clone()).await) {
        assert!(result.is_ok(), "{result:?}");
        books.note(message.id(), result);
    }
    books.balance(&rig.waiting().await).assert_whole();
}

#[tokio::test]
async fn a_squatter_on_the_list_stops_the_plain_send() {
    let rig = Rig::new().await;
    rig.cli(&["SET", rig.keys.public(), "squatter"]).await;
    let error = rig.sender().send(message(1)).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Rejected { source, .. } if source.kind() == ErrorKind::WrongType),
        "{error}"
    );
    assert!(error.to_string().contains(rig.queue.as_str()), "{error}");
    assert!(!error.is_transient() && !error.outcome_unknown());
}

#[tokio::test]
async fn a_full_store_is_a_typed_error_and_loses_nothing() {
    let server = TestServer::builder().config("maxmemory", "4mb").start().await.unwrap();
    let connection = connect(&server.url()).await;
    let body = "x".repeat(20_000);
    for deduplicated in [false, true] {
        let queue = queue();
        let mut builder = Sender::builder(connection.clone(), queue.clone()).retries(0, Duration::ZERO);
        if deduplicated {
            builder = builder.dedup(Duration::from_hours(1));
        }
        let sender = builder.build();
        let (mut books, mut sent) = (Books::default(), 0_usize);
        let (refused, error) = loop {
            let envelope = message(&body);
            let answer = sender.send(envelope.clone()).await;
            books.note(envelope.id(), &answer);
            match answer {
                Ok(_) => sent += 1,
                Err(error) => break (envelope, error),
            }
            assert!(sent < 1_000, "the store is never full");
        };
        assert!(matches!(error, SendError::OutOfMemory { .. }), "{error}");
        assert!(error.to_string().contains("maxmemory") && !error.outcome_unknown(), "{error}");
        let length = server.cli(&["LLEN", queue.keys().public()]).await.unwrap();
        assert_eq!(length, sent.to_string());
        // A refused id was not remembered: with room again, it is new.
        server.cli(&["CONFIG", "SET", "maxmemory", "64mb"]).await.unwrap();
        let answer = sender.send(refused.clone()).await;
        books.note(refused.id(), &answer);
        assert!(is_sent(&answer));
        let balance = books.balance(&waiting(&connection, &queue).await);
        balance.publish(Figures::case(if deduplicated { "with dedup" } else { "without dedup" }));
        assert_eq!((balance.lost.len(), balance.twice.len()), (0, 0), "{balance:?}");
        server.cli(&["DEL", queue.keys().public()]).await.unwrap();
        server.cli(&["CONFIG", "SET", "maxmemory", "4mb"]).await.unwrap();
    }
}

/// A server that keeps what it answered when it is killed, however slow the disk is: where it syncs once a second, it holds
/// back what comes during a sync.
async fn survivor() -> TestServer {
    TestServer::builder().append_only(true).config("appendfsync", "no").start().await.unwrap()
}

#[tokio::test]
async fn the_breaker_opens_while_the_server_is_away_and_closes_again() {
    let server = survivor().await;
    let settings = ConnectionSettings::from_url(&server.url())
        .unwrap()
        .read_timeout(Duration::from_millis(300))
        .breaker_failures(2)
        .breaker_max_requests(1)
        .breaker_timeout(Duration::from_millis(400));
    let connection = Connection::connect(&settings).await.unwrap();
    let queue = queue();
    let sender = Sender::builder(connection.clone(), queue.clone()).retries(0, Duration::ZERO).build();
    let mut books = Books::default();
    let send = async |books: &mut Books, message: Envelope| {
        let id = message.id().clone();
        let answer = sender.send(message).await;
        books.note(id, &answer);
        answer
    };
    assert!(is_sent(&send(&mut books, message(1)).await));

    server.kill().await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match send(&mut books, message(2)).await {
                Err(error @ SendError::BreakerOpen { .. }) => break error,
                Err(_) => {}
                Ok(receipt) => panic!("{receipt:?} from a dead server"),
            }
        }
    })
    .await
    .expect("the breaker opens");
    assert!(refused.is_transient() && !refused.outcome_unknown());
    assert!(
        matches!(refused, SendError::BreakerOpen { retry_after, .. } if retry_after <= Duration::from_millis(400))
    );

    server.restart().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while !is_sent(&send(&mut books, message(3)).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("sends work again");
    books.balance(&waiting(&connection, &queue).await).assert_whole();
    assert_eq!(connection.breaker().state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_short_outage_is_bridged_by_retries() {
    let server = survivor().await;
    let settings = ConnectionSettings::from_url(&server.url())
        .unwrap()
        .read_timeout(Duration::from_millis(500))
        .breaker_failures(1_000);
    let connection = Connection::connect(&settings).await.unwrap();
    let queue = queue();
    let sender = Sender::builder(connection.clone(), queue.clone())
        .dedup(Duration::from_hours(1))
        .retries(30, Duration::from_millis(100))
        .build();
    let named = |n: u32| message(n).with_id(n.to_string());
    let mut results = vec![sender.send(named(0)).await];
    assert!(is_sent(&results[0]));
    server.kill().await.unwrap();
    let sends: Vec<_> = (1..=50)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(named(n)).await })
        })
        .collect();
    let batch = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send_all((51..=60).map(named)).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.restart().await.unwrap();
    for send in sends {
        results.push(send.await.unwrap());
    }
    results.extend(batch.await.unwrap());
    let mut books = Books::default();
    for (n, result) in results.iter().enumerate() {
        books.note(n, result);
    }
    let there = waiting(&connection, &queue).await;
    books.balance(&there).assert_whole();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(there.len(), 61);
}

#[tokio::test]
async fn a_producer_that_may_only_push_can_push() {
    let server = TestServer::builder()
        .acl_user("producer", "secret", "~queue:* -@all +lpush +ping +hello +client|setname")
        .start()
        .await
        .unwrap();
    let queue = queue();
    let sender = Sender::new(connect(&server.url()).await, queue.clone());
    let mut books = Books::default();
    let answer = sender.send(message(1)).await;
    assert!(is_sent(&answer));
    books.note(1, &answer);
    // What it may not do has no effect and says who may not.
    let answer = sender.send(message(2).with_priority(Lane::High)).await;
    books.note(2, &answer);
    let there = server.cli(&["LRANGE", queue.keys().public(), "0", "-1"]).await.unwrap();
    let payload = |line: &str| Envelope::decode(line.as_bytes()).unwrap().payload().get().to_owned();
    books.balance(&there.lines().map(payload).collect::<Vec<_>>()).assert_whole();
    let error = answer.unwrap_err();
    assert!(
        matches!(&error, SendError::Rejected { source, .. } if source.kind() == ErrorKind::Denied),
        "{error}"
    );
    assert!(error.to_string().contains("producer"), "{error}");
    assert_eq!(server.cli(&["DBSIZE"]).await.unwrap(), "1");
}

#[tokio::test]
async fn a_script_stopped_after_its_push_is_unknown_and_not_repeated() {
    // Each comes after the push: to another place, of the id, of the time when the ids expire.
    for forbidden in ["zadd", "sadd", "pexpireat"] {
        let rules = format!("~* &* +@all -{forbidden}");
        let server = TestServer::builder().acl_user("producer", "secret", rules).start().await.unwrap();
        let queue = queue();
        let sender = Sender::builder(connect(&server.url()).await, queue.clone())
            .dedup(Duration::from_hours(1))
            .retries(3, Duration::from_millis(1))
            .build();
        let later = Timestamp::now() + Duration::from_hours(1);
        for error in sender.send_all([message(1), message(2).with_not_before(later)]).await {
            let error = error.unwrap_err();
            assert!(error.outcome_unknown() && !error.is_transient(), "{forbidden}: {error}");
            assert!(error.to_string().contains("half-way"), "{error}");
            let SendError::Unknown { source: Some(source), .. } = &error else { panic!("{error:?}") };
            assert_eq!(source.kind(), ErrorKind::Denied, "{source}");
            assert!(source.to_string().contains("producer"), "{source}");
        }
        assert_eq!(server.cli(&["LLEN", queue.keys().public()]).await.unwrap(), "1", "{forbidden}");
    }
}

#[tokio::test]
async fn everything_works_over_tls_with_a_hardened_server() {
    let server = TestServer::builder()
        .tls()
        .default_user_off()
        .acl_user("app", "secret", "~queue:* ~{queue:*}:* &{queue:*}:bell +@all -@admin -@dangerous")
        .start()
        .await
        .unwrap();
    let settings = ConnectionSettings::from_url(&server.url())
        .unwrap()
        .tls_ca_file(server.tls_ca_path().map(Into::into));
    let connection = Connection::connect(&settings).await.unwrap();
    all_ways(connection).await;
}

#[tokio::test]
async fn everything_works_in_a_cluster() {
    let cluster = TestCluster::start(3).await.unwrap();
    let settings = ConnectionSettings::default()
        .address(CsvList(cluster.urls().iter().map(|url| url.parse().unwrap()).collect()))
        .mode(Mode::Cluster);
    let connection = Connection::connect(&settings).await.unwrap();
    all_ways(connection).await;
}
