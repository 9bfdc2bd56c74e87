//! A bit of the append-only file turns over in the middle of a payload. The server loads it without a word.

use std::collections::{BTreeMap, BTreeSet};

use valkey_connection::Connection;
use valkey_envelope::Envelope;
use valkey_receiver::{Receiver, ReceiverSettings};
use valkey_sender::Sender;
use valkey_testkit::{Figures, TestServer, eventually, soon};

use crate::bed::Bed;

const COUNT: u32 = 20;

fn login(checked: bool, number: u32) -> String {
    format!("{}-ada-{number:02}", if checked { "checked" } else { "unchecked" })
}

#[tokio::test]
async fn a_payload_that_a_disk_has_changed_is_found_by_its_checksum_and_only_by_it() {
    let bed = Bed::new("flipped", TestServer::builder().append_only(true)).await;
    let sender =
        Sender::new(Connection::connect(&bed.through(&bed.sending)).await.unwrap(), bed.queue.clone());
    let mut sent = BTreeSet::new();
    for number in 0..2 * COUNT {
        let (checked, number) = (number % 2 == 0, number / 2);
        let envelope = Envelope::new(&login(checked, number)).unwrap().with_id(login(checked, number));
        let envelope = if checked { envelope.with_checksum() } else { envelope };
        assert!(sender.send(envelope).await.unwrap().is_accepted());
        sent.insert(login(checked, number));
    }
    bed.server.stop().await.unwrap();
    let file = bed.server.append_only_file().await.unwrap();
    for checked in [true, false] {
        // "...07" becomes "...06".
        let text = format!("\"payload\":\"{}", login(checked, 7));
        let at = file.windows(text.len()).position(|some| some == text.as_bytes()).unwrap() + text.len() - 1;
        bed.server.flip_append_only_bit(at as u64).await.unwrap();
    }
    bed.server.restart().await.unwrap();

    let connection = Connection::connect(&bed.through(&bed.receiving)).await.unwrap();
    let receiver = Receiver::builder(&connection).queue(bed.queue.clone());
    let receiver = receiver.settings(ReceiverSettings::default()).start().await.unwrap();
    let (mut came, mut twice) = (BTreeMap::new(), 0);
    for _ in 1..2 * COUNT {
        let delivery = soon("a message", receiver.recv()).await.unwrap();
        let payload: String = delivery.message().payload_as().unwrap();
        let before = came.insert(delivery.envelope().id().as_str().to_owned(), payload);
        twice += u64::from(before.is_some());
        delivery.ack().await.unwrap();
    }
    let letters = eventually("the dead letter", async || {
        let letters = bed.ask(valkey_connection::Command::new("HVALS").key(bed.keys.dead_body())).await;
        let letters = letters.into_array().unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    let [letter] = <[_; 1]>::try_from(letters).unwrap();
    let letter = valkey_envelope::DeadBody::decode(letter.into_bytes().unwrap()).unwrap();
    assert_eq!(letter.meta.reason.as_str(), "undecodable");
    let error = letter.meta.error.unwrap();
    assert!(error.contains("checksum"), "{error}");
    // Its envelope cannot be believed, and says all the same which one it is.
    let kept: serde_json::Value = serde_json::from_slice(&letter.raw).unwrap();
    assert_eq!(kept["payload"], login(true, 6), "kept as it was found");
    let is_there = |id: &String| came.contains_key(id) || kept["id"] == **id;
    let lost = sent.iter().filter(|id| !is_there(id)).count();
    let wrong: Vec<_> = came.iter().filter(|(id, payload)| id != payload).collect();
    let (id, payload) = (login(false, 7), login(false, 6));
    assert_eq!(wrong, [(&id, &payload)], "without a checksum nobody can know");
    assert!(!came.contains_key(&login(true, 7)));
    let _ = soon("the end", receiver.drain()).await.unwrap();
    Figures::new()
        .sent(sent.len() as u64)
        .lost(lost as u64)
        .twice(twice)
        .note("with checksum: 1 of 1 found, a dead letter; without: 1 of 1 delivered as it is")
        .publish();
    assert_eq!((lost, twice), (0, 0));
}
