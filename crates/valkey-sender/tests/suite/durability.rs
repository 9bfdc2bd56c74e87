//! Sends that wait until they are safe.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use valkey_connection::{Connection, DurabilityRefusal, ErrorKind};
use valkey_envelope::{Lane, QueueName};
use valkey_sender::{Certainty, CheckError, Durability, Receipt, SendError, Sender, SenderBuilder};
use valkey_testkit::{TestReplication, TestServer};

use crate::rig::{can_wait_for_the_disk, connect, message, queue};

const HOUR: Duration = Duration::from_hours(1);
const REPLICATED: Durability = Durability::Replicated(NonZeroU32::MIN);

/// A primary that syncs before it answers, and its replica.
struct Pair {
    servers: TestReplication,
    connection: Connection,
    queue: QueueName,
}

impl Pair {
    async fn new() -> Self {
        let server = TestServer::builder().append_only(true).config("appendfsync", "always");
        let servers = TestReplication::builder().replicas(1).server(server).start().await.unwrap();
        let connection = connect(&servers.servers()[0].url()).await;
        Self { servers, connection, queue: queue() }
    }

    fn builder(&self) -> SenderBuilder {
        Sender::builder(self.connection.clone(), self.queue.clone())
            .durability_timeout(Duration::from_millis(500))
            .retries(0, Duration::ZERO)
    }

    async fn length(&self) -> String {
        self.servers.servers()[0].cli(&["LLEN", self.queue.keys().public()]).await.unwrap()
    }

    /// From now on the replica acknowledges nothing, and nobody is told.
    async fn mute_the_replica(&self) {
        self.servers.servers()[1].pause().await.unwrap();
    }

    async fn wake_the_replica(&self) {
        self.servers.servers()[1].resume().await.unwrap();
    }
}

fn is_confirmed_as(durability: Durability, answer: &Result<Receipt, SendError>) -> bool {
    Certainty::of(answer) == Certainty::Confirmed
        && answer.as_ref().is_ok_and(|receipt| receipt.durability() == Some(durability))
}

fn is_unconfirmed(answer: &Result<Receipt, SendError>) -> bool {
    Certainty::of(answer) == Certainty::Unknown
        && matches!(answer, Err(SendError::Unknown { source: Some(error), .. })
            if error.kind() == ErrorKind::Unconfirmed)
}

#[tokio::test]
async fn each_way_of_sending_is_confirmed_as_safe_as_asked_for() {
    let pair = Pair::new().await;
    let later = Timestamp::now() + HOUR;
    let disk = can_wait_for_the_disk(&pair.servers.servers()[0]).await;
    let durabilities: &[Durability] = if disk { &[REPLICATED, Durability::Durable] } else { &[REPLICATED] };
    for (builder, sent) in
        [(pair.builder(), 1), (pair.builder().dedup(HOUR), 2), (pair.builder().max_length(100_000), 3)]
    {
        // All that is waited for comes; on a busy disk it may take its time.
        let sender = builder.durability_timeout(Duration::from_secs(10)).build();
        for durability in durabilities.iter().copied() {
            let sender = sender.with_durability(durability);
            sender.check_durability().await.unwrap();
            let batch = (0..600).map(message);
            let lanes = Lane::ALL.into_iter().map(|lane| message(0).with_priority(lane));
            let delayed = [message(0).with_not_before(later)];
            let answers = sender.send_all(batch.chain(lanes).chain(delayed)).await;
            assert!(answers.iter().all(|answer| is_confirmed_as(durability, answer)), "{answers:?}");
            assert!(is_confirmed_as(durability, &sender.send(message(1)).await));
        }
        assert_eq!(pair.length().await, (sent * durabilities.len() * 602).to_string());
    }
    let keys = pair.servers.servers()[0].cli(&["KEYS", "*trial*"]).await.unwrap();
    assert_eq!(keys, "", "the trials leave nothing behind");
}

#[tokio::test]
async fn a_group_of_64_waits_once_and_so_do_sends_that_gather_meanwhile() {
    let pair = Pair::new().await;
    let sender = pair.builder().durability(REPLICATED).build();
    sender.check_durability().await.unwrap();
    let waits = async || {
        let stats = pair.servers.servers()[0].cli(&["INFO", "commandstats"]).await.unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
        calls.unwrap().split(',').next().unwrap().parse::<usize>().unwrap()
    };
    let before = waits().await;
    assert!(sender.send_all((0..64).map(message)).await.iter().all(Result::is_ok));
    assert_eq!(waits().await - before, 1, "one wait and one round trip for 64 messages");
    let sends: Vec<_> = (0..1_000)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message(n)).await })
        })
        .collect();
    for send in sends {
        assert!(is_confirmed_as(REPLICATED, &send.await.unwrap()));
    }
    let waited = waits().await - before - 1;
    assert!(waited <= 100, "{waited} waits for 1000 messages");
}

#[tokio::test]
async fn what_cannot_be_promised_is_refused_and_nothing_is_sent() {
    let server = TestServer::builder().append_only(true).start().await.unwrap();
    let (connection, queue) = (connect(&server.url()).await, queue());
    let build = || Sender::builder(connection.clone(), queue.clone()).retries(3, Duration::from_millis(1));
    let refused = async |durability| {
        // Each sender asks anew.
        let sender = build().durability(durability).build();
        let answer = sender.send(message(1)).await;
        assert_eq!(Certainty::of(&answer), Certainty::Rejected);
        let Err(SendError::DurabilityRefused { source, .. }) = &answer else { panic!("{answer:?}") };
        assert!(answer.as_ref().unwrap_err().to_string().contains(source.remedy()), "{answer:?}");
        let Err(CheckError::Refused { source: checked, .. }) = sender.check_durability().await else {
            panic!("sends are refused, and the check knows nothing of it");
        };
        let kind = std::mem::discriminant;
        assert_eq!(kind(source), kind(&checked));
        let all = sender.send_all((0..600).map(message)).await;
        assert!(all.iter().all(|answer| matches!(answer, Err(SendError::DurabilityRefused { .. }))));
        checked
    };
    let wanted = NonZeroU32::MIN;
    assert_eq!(refused(REPLICATED).await, DurabilityRefusal::TooFewReplicas { connected: 0, wanted });
    if !can_wait_for_the_disk(&server).await {
        let refusal = refused(Durability::Durable).await;
        assert!(matches!(&refusal, DurabilityRefusal::Unsupported { version: Some(_) }), "{refusal}");
        return;
    }
    // Once a second: what each engine says then is not true, and it shows.
    let early = refused(Durability::Durable).await;
    assert!(matches!(early, DurabilityRefusal::AnswersEarly { .. }), "{early}");
    server.cli(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
    assert_eq!(refused(Durability::Durable).await, DurabilityRefusal::NeverSynced);
    server.cli(&["CONFIG", "SET", "appendonly", "no"]).await.unwrap();
    assert_eq!(refused(Durability::Durable).await, DurabilityRefusal::NoAppendOnlyFile);
    // The key of a trial goes by itself within ten seconds, should its removal have failed; a message would stay.
    let started = Instant::now();
    loop {
        let keys = server.cli(&["KEYS", "*"]).await.unwrap();
        if keys.is_empty() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(12), "something was written: {keys}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    build().build().check_durability().await.unwrap();
}

#[tokio::test]
async fn a_server_that_comes_to_its_senses_is_believed_again() {
    let server = TestServer::builder().append_only(true).config("appendfsync", "no").start().await.unwrap();
    if !can_wait_for_the_disk(&server).await {
        valkey_testkit::skipped("the server has no WAITAOF");
        return;
    }
    let sender =
        Sender::builder(connect(&server.url()).await, queue()).durability(Durability::Durable).build();
    assert!(matches!(sender.send(message(1)).await, Err(SendError::DurabilityRefused { .. })));
    server.cli(&["CONFIG", "SET", "appendfsync", "always"]).await.unwrap();
    let started = Instant::now();
    while !is_confirmed_as(Durability::Durable, &sender.send(message(2)).await) {
        assert!(started.elapsed() < Duration::from_secs(5), "it is refused for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // And the other way round: first nothing is confirmed any more, then it is refused.
    server.cli(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
    assert_eq!(Certainty::of(&sender.send(message(3)).await), Certainty::Unknown);
    assert!(matches!(sender.send(message(4)).await, Err(SendError::DurabilityRefused { .. })));
}

#[tokio::test]
async fn a_replica_that_does_not_answer_leaves_it_open_and_nothing_is_repeated_without_dedup() {
    let pair = Pair::new().await;
    let sender = pair.builder().retries(3, Duration::from_millis(1)).durability(REPLICATED).build();
    assert!(is_confirmed_as(REPLICATED, &sender.send(message(0)).await));
    pair.mute_the_replica().await;
    let started = Instant::now();
    let answer = sender.send(message(1)).await;
    assert!(is_unconfirmed(&answer), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let text = answer.unwrap_err().to_string();
    assert!(text.contains("less safe") && text.contains("may double"), "{text}");
    assert_eq!(pair.length().await, "2", "the primary has it, once");
    // Others do not wait for it.
    let waiting = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(message(2)).await })
    };
    let started = Instant::now();
    let fast = sender.with_durability(Durability::Fast).send(message(3)).await;
    assert!(is_confirmed_as(Durability::Fast, &fast), "{fast:?}");
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
    assert_ne!(Certainty::of(&waiting.await.unwrap()), Certainty::Confirmed);
}

/// A duplicate writes nothing by itself, and a wait for nothing is answered at once.
#[tokio::test]
async fn a_duplicate_is_confirmed_only_once_the_earlier_message_is_safe() {
    let pair = Pair::new().await;
    let sender = pair.builder().dedup(HOUR).durability(REPLICATED).build();
    let fast = sender.with_durability(Durability::Fast);
    assert!(is_confirmed_as(REPLICATED, &sender.send(message(0)).await));
    pair.mute_the_replica().await;
    assert!(fast.send(message(1).with_id("a")).await.is_ok());
    let replicated = sender.send(message(1).with_id("a")).await;
    assert!(is_unconfirmed(&replicated), "{replicated:?}");
    assert!(matches!(
        fast.send(message(1).with_id("a")).await,
        Ok(Receipt::Duplicate { durability: Durability::Fast, .. })
    ));
    pair.wake_the_replica().await;
    let started = Instant::now();
    loop {
        let answer = sender.send(message(1).with_id("a")).await;
        if is_confirmed_as(REPLICATED, &answer) {
            assert!(matches!(answer, Ok(Receipt::Duplicate { .. })));
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{answer:?}");
    }
    assert_eq!(pair.length().await, "2");
    pair.servers.wait_synced().await.unwrap();
    let copy = pair.servers.servers()[1].cli(&["LLEN", pair.queue.keys().public()]).await.unwrap();
    assert_eq!(copy, "2");
}

/// A script that the server did not know runs after the wait of its group.
#[tokio::test]
async fn a_script_that_is_run_again_is_waited_for_again() {
    let pair = Pair::new().await;
    let sender = pair.builder().dedup(HOUR).durability(REPLICATED).build();
    sender.check_durability().await.unwrap();
    for n in 0..3 {
        pair.servers.servers()[0].cli(&["SCRIPT", "FLUSH"]).await.unwrap();
        assert!(is_confirmed_as(REPLICATED, &sender.send(message(n)).await));
    }
    pair.servers.servers()[0].cli(&["SCRIPT", "FLUSH"]).await.unwrap();
    pair.mute_the_replica().await;
    let answers = sender.send_all((0..200).map(message)).await;
    assert!(answers.iter().all(is_unconfirmed), "{answers:?}");
}

#[tokio::test]
async fn an_unknown_one_is_settled_by_a_retry_under_its_id() {
    let pair = Pair::new().await;
    let retrying = pair.builder().dedup(HOUR).retries(20, Duration::from_millis(20));
    let sender = retrying.durability(REPLICATED).build();
    assert!(is_confirmed_as(REPLICATED, &sender.send(message(0)).await));
    pair.mute_the_replica().await;
    let sending = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(message(1)).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    pair.wake_the_replica().await;
    assert!(is_confirmed_as(REPLICATED, &sending.await.unwrap()));
    assert_eq!(pair.length().await, "2", "once");
}

#[tokio::test]
async fn once_the_replica_is_gone_sends_are_refused_at_once() {
    let pair = Pair::new().await;
    let sender = pair.builder().durability(REPLICATED).build();
    assert!(is_confirmed_as(REPLICATED, &sender.send(message(0)).await));
    pair.servers.servers()[1].kill().await.unwrap();
    // The first one may find out by waiting.
    assert_ne!(Certainty::of(&sender.send(message(1)).await), Certainty::Confirmed);
    let started = Instant::now();
    let answer = sender.send(message(2)).await;
    assert!(started.elapsed() < Duration::from_millis(400), "{:?}", started.elapsed());
    assert!(
        matches!(
            answer,
            Err(SendError::DurabilityRefused {
                source: DurabilityRefusal::TooFewReplicas { connected: 0, .. },
                ..
            })
        ),
        "{answer:?}"
    );
}
