use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use valkey_envelope::{Delayed, Envelope, Lane, PayloadCodec, PayloadCodecs, PayloadForm, TraceParent};
use valkey_sender::{Durability, Receipt, Route, Routes, SendError};
use valkey_testkit::TestServer;

use crate::books::Books;
use crate::rig::{Rig, connect, is_sent, message, queue};

#[tokio::test]
async fn a_plain_consumer_gets_exactly_the_encoded_envelope() {
    let rig = Rig::new().await;
    let envelope = message("hällo").with_kind("greeting").with_header("locale", "de");
    let receipt = rig.sender().send(envelope.clone()).await.unwrap();
    assert_eq!(receipt, Receipt::Sent { id: envelope.id().clone(), durability: Durability::Fast });

    let expected = envelope.with_queue(&rig.queue).encode().unwrap();
    let popped = rig.server.cli_raw(&["BRPOP", rig.keys.public(), "1"], Bytes::new()).await.unwrap();
    assert_eq!(popped, [rig.keys.public().as_bytes(), b"\n", &expected[..]].concat());
}

#[tokio::test]
async fn messages_come_out_in_the_order_they_went_in() {
    let rig = Rig::new().await;
    let sender = rig.sender();
    assert!(is_sent(&sender.send(message(0)).await));
    let results = sender.send_all((1..=1_500).map(message)).await;
    assert_eq!(results.len(), 1_500);
    assert!(results.iter().all(is_sent));
    assert!(is_sent(&sender.send(message(1_501)).await));
    let expected: Vec<String> = (0..=1_501).map(|n| n.to_string()).collect();
    assert_eq!(rig.payloads(rig.keys.public()).await, expected);
}

#[tokio::test]
async fn one_bad_message_does_not_spoil_the_others() {
    let rig = Rig::new().await;
    let sender = rig.builder().max_message_bytes(500).build();
    let too_large = message("x".repeat(500));
    let id = too_large.id().clone();
    let results = sender.send_all([message(1), too_large, message(2)]).await;
    assert!(is_sent(&results[0]) && is_sent(&results[2]));
    match &results[1] {
        Err(error @ SendError::TooLarge { id: refused, size, limit: 500, .. }) => {
            assert_eq!(*refused, id);
            assert!(*size > 500);
            assert!(!error.outcome_unknown() && error.to_string().contains("MAX_MESSAGE_BYTES"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.payloads(rig.keys.public()).await, ["1", "2"]);
    assert_eq!(sender.send_all([]).await.len(), 0);
}

#[tokio::test]
async fn concurrent_sends_travel_together_and_each_arrives_once() {
    // A server of its own, because its command counters are looked at.
    let server = TestServer::start().await.unwrap();
    let connection = connect(&server.url()).await;
    let queue = queue();
    let sender = valkey_sender::Sender::new(connection, queue.clone());
    let sends: Vec<_> = (0..200)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message(n)).await })
        })
        .collect();
    for send in sends {
        assert!(is_sent(&send.await.unwrap()));
    }
    let listed = server.cli(&["LRANGE", queue.keys().public(), "0", "-1"]).await.unwrap();
    let mut found: Vec<i32> =
        listed.lines().map(|line| Envelope::decode(line.as_bytes()).unwrap().payload_as().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    let stats = server.cli(&["INFO", "commandstats"]).await.unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_lpush:calls=")).unwrap();
    let calls: u32 = calls.split(',').next().unwrap().parse().unwrap();
    assert!(calls < 50, "200 messages took {calls} commands");
}

#[tokio::test]
async fn cancelled_sends_do_not_disturb_the_others() {
    let rig = Rig::new().await;
    let sender = rig.sender();
    let (mut kept, mut books) = (Vec::new(), Books::default());
    for n in 0..300 {
        let sender = sender.clone();
        let send = tokio::spawn(async move { sender.send(message(n)).await });
        if n % 3 == 0 {
            // Some before they were polled, some in line, some with their push on the wire.
            if n % 2 == 0 {
                tokio::task::yield_now().await;
            }
            send.abort();
            books.drop_one();
        } else {
            kept.push((n, send));
        }
    }
    for (n, send) in kept {
        let answer = send.await.unwrap();
        books.note(n, &answer);
        assert!(is_sent(&answer));
    }
    let there = rig.payloads(rig.keys.public()).await;
    books.balance(&there).assert_whole();
    assert!(there.iter().all(|n| (0..300).contains(&n.parse::<i32>().unwrap())));
}

#[tokio::test]
async fn each_lane_is_a_list_of_raw_bytes() {
    let rig = Rig::new().await;
    let messages =
        [Lane::Low, Lane::High, Lane::Normal].map(|lane| message(lane.as_str()).with_priority(lane));
    assert!(rig.sender().send_all(messages.clone()).await.iter().all(is_sent));
    for envelope in messages {
        let raw = rig.server.cli_raw(&["RPOP", rig.lane(envelope.priority())], Bytes::new()).await.unwrap();
        assert_eq!(raw, envelope.with_queue(&rig.queue).encode().unwrap());
    }
    assert_eq!(rig.existing_keys().await, [""; 0]);
}

#[tokio::test]
async fn a_delayed_message_waits_in_the_set_under_an_id_of_ours() {
    let rig = Rig::new().await;
    let due = Timestamp::now() + Duration::from_hours(1);
    let envelope = message(1).with_not_before(due).with_priority(Lane::High);
    let results = rig.sender().send_all([envelope.clone(), envelope.clone()]).await;
    for result in results {
        let (id, durability) = (envelope.id().clone(), Durability::Fast);
        assert_eq!(result.unwrap(), Receipt::Scheduled { id, durability });
    }
    let listed = rig.cli(&["ZRANGE", rig.keys.delayed(), "0", "-1", "WITHSCORES"]).await;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "two equal messages are two members");
    for pair in lines.chunks(2) {
        let delayed = Delayed::decode(pair[0].to_owned().into()).unwrap();
        assert!(delayed.frame.is_fresh() && delayed.frame.lane == Lane::High);
        assert_eq!(delayed.frame.raw, envelope.clone().with_queue(&rig.queue).encode().unwrap());
        assert_ne!(delayed.id, envelope.id().as_str());
        assert_eq!(pair[1], due.as_millisecond().to_string());
    }
}

#[tokio::test]
async fn what_is_due_already_is_sent_at_once() {
    let rig = Rig::new().await;
    let past = message(1).with_not_before(Timestamp::now() - Duration::from_secs(5));
    assert!(is_sent(&rig.sender().send(past).await));
    assert_eq!(rig.public_length().await, 1);
}

#[tokio::test]
async fn the_bell_rings_for_what_a_parked_consumer_would_not_see() {
    let rig = Rig::new().await;
    let mut bell = rig.connection.listen(rig.keys.bell()).await.unwrap();
    let sender = rig.builder().bounded().build();
    let due = |hours| Timestamp::now() + Duration::from_hours(hours);
    let rings = async |bell: &mut valkey_connection::Listener| {
        tokio::time::timeout(Duration::from_millis(300), bell.recv()).await.is_ok()
    };
    // Connecting may ring, too.
    while rings(&mut bell).await {}
    for (envelope, expected) in [
        (message("a lone message wakes its reader itself"), false),
        (message("another lane").with_priority(Lane::Low), true),
        (message("the first that is due").with_not_before(due(2)), true),
        (message("due after it").with_not_before(due(3)), false),
        (message("due before it").with_not_before(due(1)), true),
    ] {
        let what = envelope.payload().get().to_owned();
        assert!(sender.send(envelope).await.is_ok());
        assert_eq!(rings(&mut bell).await, expected, "{what}");
    }
    assert!(sender.send_all([message(1), message(2)]).await.iter().all(is_sent));
    assert!(rings(&mut bell).await, "several messages are work for several consumers");
}

#[tokio::test]
async fn the_default_ttl_goes_to_messages_without_one_and_never_to_the_list() {
    let rig = Rig::new().await;
    let sender = rig.builder().message_ttl(Duration::from_hours(1)).build();
    let own = message(2).with_ttl(Duration::from_mins(1));
    assert!(sender.send_all([message(1), own]).await.iter().all(is_sent));
    let listed = rig.cli(&["LRANGE", rig.keys.public(), "0", "-1"]).await;
    let ttls: Vec<_> = listed.lines().map(|line| Envelope::decode(line.as_bytes()).unwrap().ttl()).collect();
    assert_eq!(ttls, [Some(Duration::from_mins(1)), Some(Duration::from_hours(1))]);
    assert_eq!(rig.cli(&["TTL", rig.keys.public()]).await, "-1");
}

#[tokio::test]
async fn an_expiry_that_another_producer_left_on_the_list_is_taken_off() {
    let (rig, mut books) = (Rig::new().await, Books::default());
    for (foreign, sender) in [("a", rig.sender()), ("b", rig.builder().bounded().build())] {
        rig.cli(&["LPUSH", rig.keys.public(), foreign]).await;
        books.confirm(foreign);
        rig.cli(&["EXPIRE", rig.keys.public(), "100"]).await;
        let answer = sender.send(message(1)).await;
        assert!(is_sent(&answer));
        books.note(answer.as_ref().unwrap().id(), &answer);
        assert_eq!(rig.cli(&["TTL", rig.keys.public()]).await, "-1");
    }
    books.balance(&rig.waiting().await).assert_whole();
}

#[tokio::test]
async fn routes_choose_the_queue_and_explain_it() {
    let rig = Rig::new().await;
    let (urgent, german) = (queue(), queue());
    let routes = Routes::new()
        .with_route(Route::to(urgent.clone()).named("urgent").kind("alarm.*"))
        .with_route(Route::to(german.clone()).header("locale", "de*").payload("/address/country", "DE"));
    let sender = rig.builder().routes(routes).build();
    let in_germany = || message(serde_json::json!({"address": {"country": "DE"}}));
    let messages = [
        message(1).with_kind("alarm.fire"),
        in_germany().with_header("locale", "de-AT"),
        in_germany().with_header("locale", "en"),
        message(4),
    ];
    assert_eq!(sender.explain(&messages[0]).rule(), Some("urgent"));
    assert_eq!(sender.explain(&messages[3]).queue(), None);
    assert!(sender.send_all(messages).await.iter().all(is_sent));
    for (queue, count) in [(&urgent, 1), (&german, 1), (&rig.queue, 2)] {
        assert_eq!(rig.count("LLEN", queue.keys().public()).await, count);
    }
    let sent = rig.cli(&["RPOP", german.keys().public()]).await;
    assert_eq!(Envelope::decode(sent.as_bytes()).unwrap().queue(), Some(german.as_str()));
}

#[derive(Debug)]
struct Mirror;

impl PayloadCodec for Mirror {
    fn name(&self) -> &'static str {
        "mirror"
    }

    fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        if plain == b"\"opaque\"" {
            return Err("it cannot be mirrored".into());
        }
        Ok(plain.iter().rev().copied().collect())
    }

    fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        self.encode(coded)
    }
}

#[tokio::test]
async fn a_codec_changes_the_payload_and_says_so() {
    let rig = Rig::new().await;
    let sender = rig.builder().codec(Arc::new(Mirror)).build();
    assert!(is_sent(&sender.send(message("hello")).await));
    let sealed = Envelope::decode(rig.cli(&["RPOP", rig.keys.public()]).await.as_bytes()).unwrap();
    assert_eq!(sealed.header("content-encoding"), Some("mirror"));
    assert!(!sealed.payload().get().contains("hello"));
    let opened = PayloadCodecs::new().with(Arc::new(Mirror)).open(sealed).unwrap();
    assert_eq!(opened.payload().get(), "\"hello\"");

    let error = sender.send(message("opaque")).await.unwrap_err();
    assert!(matches!(error, SendError::Codec { .. }), "{error:?}");
    assert_eq!(rig.public_length().await, 0);
}

#[tokio::test]
async fn go_consumers_get_their_base64() {
    let rig = Rig::new().await;
    let sender = rig.builder().payload_form(PayloadForm::Base64).build();
    assert!(is_sent(&sender.send(message(["ada"])).await));
    let sent = rig.cli(&["RPOP", rig.keys.public()]).await;
    assert!(sent.contains(r#""payload":"WyJhZGEiXQ==""#), "{sent}");
}

#[tokio::test]
async fn the_trace_of_the_caller_travels_unless_the_message_has_one() {
    let rig = Rig::new().await;
    let (current, own) = (TraceParent::new(1, 2, true).unwrap(), TraceParent::new(3, 4, false).unwrap());
    let sender = rig.builder().trace_context(move || Some(current)).build();
    assert!(sender.send_all([message(1), message(2).with_trace_parent(&own)]).await.iter().all(is_sent));
    for expected in [current, own] {
        let sent = Envelope::decode(rig.cli(&["RPOP", rig.keys.public()]).await.as_bytes()).unwrap();
        assert_eq!(sent.trace_parent(), Some(expected));
    }
}

#[tokio::test]
async fn a_message_without_an_id_gets_one() {
    let rig = Rig::new().await;
    let receipt = rig.sender().send(message(1).with_id("")).await.unwrap();
    assert!(!receipt.id().is_empty());
    let sent = Envelope::decode(rig.cli(&["RPOP", rig.keys.public()]).await.as_bytes()).unwrap();
    assert_eq!(sent.id(), receipt.id());
}
