//! Restarts of a server whose default user may do little: who may not write may not replay what scripts wrote.

use std::time::Duration;

use valkey_connection::Connection;
use valkey_envelope::Envelope;
use valkey_sender::{Receipt, Sender};
use valkey_testkit::{Figures, TestServer, eventually};

use crate::bed::Bed;

const COUNT: u32 = 100;

/// Sends by script, restarts the server properly, and tells how many messages are still there.
async fn survivors(bed: &Bed) -> usize {
    let connection = Connection::connect(&bed.through(&bed.sending)).await.unwrap();
    let sender = Sender::builder(connection, bed.queue.clone()).dedup(Duration::from_hours(1)).build();
    let send = async |number: u32| sender.send(Envelope::new("x").unwrap().with_id(number.to_string())).await;
    for number in 1..=COUNT {
        assert!(matches!(send(number).await.unwrap(), Receipt::Sent { .. }));
    }
    bed.server.restart().await.unwrap();
    eventually("the server", async || bed.direct.ping().await.ok()).await;
    let left = bed.contents().await;
    assert_eq!(
        left.keys().copied().collect::<Vec<_>>(),
        bed.remembered().await,
        "messages and their ids alike"
    );
    for number in 1..=COUNT {
        let receipt = eventually("a send", async || send(number).await.ok()).await;
        assert_eq!(matches!(receipt, Receipt::Duplicate { .. }), left.contains_key(&number), "{receipt:?}");
    }
    left.len()
}

async fn bed() -> Bed {
    let server =
        TestServer::builder().append_only(true).default_user_off().acl_user("app", "pw", "~* &* +@all");
    Bed::new("hardened", server).await
}

fn publish(case: &str, left: usize) {
    Figures::case(case)
        .sent(u64::from(COUNT))
        .confirmed(u64::from(COUNT))
        .lost((COUNT as usize - left) as u64)
        .publish();
}

#[tokio::test]
async fn what_was_sent_by_script_survives_a_restart_where_the_default_user_is_off() {
    let left = survivors(&bed().await).await;
    publish("default user off, with its rights", left);
    assert_eq!(left, COUNT as usize);
}

/// Why `valkit doctor` calls this critical.
#[tokio::test]
async fn what_was_sent_by_script_is_lost_where_the_default_user_may_not_replay() {
    let bed = bed().await;
    bed.server.cli(&["ACL", "SETUSER", "default", "resetkeys", "resetchannels", "-@all"]).await.unwrap();
    bed.server.cli(&["ACL", "SAVE"]).await.unwrap();
    let (version, mended) = bed.version().await;
    let left = survivors(&bed).await;
    publish(&format!("default user without rights, {version}"), left);
    assert_eq!(left, if mended { COUNT as usize } else { 0 }, "{version}");
}
