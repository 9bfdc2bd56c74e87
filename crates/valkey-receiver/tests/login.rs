//! Passwords and permissions: what is wrong is named, the password never is, and what is put right needs no restart.
#![allow(clippy::unwrap_used)]

#[path = "support/log.rs"]
mod log;
mod support;

use std::path::PathBuf;
use std::time::Duration;

use valkey_connection::{Connection, ConnectionSettings, ErrorKind};
use valkey_receiver::{ReceiveError, Receiver, ReceiverBuilder, ReceiverSettings};
use valkey_testkit::{TestServer, unique_name};

use support::books::Books;
use support::{Bed, soon};

struct SecretFile(PathBuf);

impl SecretFile {
    fn new(password: &str) -> Self {
        let file = Self(std::env::temp_dir().join(unique_name("valkit-password")));
        file.write(password);
        file
    }

    fn write(&self, password: &str) {
        std::fs::write(&self.0, format!("{password}\n")).unwrap();
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server with the user `app`, a queue on it, and somebody else who watches.
async fn bed(name: &str, password: &str, rules: &str) -> Bed {
    let server =
        TestServer::builder().acl_user("watcher", "pw", "~* &* +@all").acl_user("app", password, rules);
    Bed::on(Box::leak(Box::new(server.start().await.unwrap())), name).await
}

fn settings(bed: &Bed) -> ConnectionSettings {
    ConnectionSettings::from_url(&format!("valkey://{}", bed.server.address()))
        .unwrap()
        .username(Some("app".into()))
}

fn receiver(connection: &Connection, bed: &Bed) -> ReceiverBuilder {
    let settings = ReceiverSettings::default().lease(Duration::from_secs(1));
    Receiver::builder(connection).queue(bed.queue.clone()).settings(settings)
}

fn join_error(error: ReceiveError) -> valkey_connection::Error {
    match error {
        ReceiveError::Join { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_wrong_password_names_the_user_and_never_itself() {
    log::keep();
    let bed = bed("login", "canary-right", "~* &* +@all").await;
    let books = Books::of(bed.push_numbers(1).await);
    let file = SecretFile::new("canary-right");
    let connection = Connection::connect(&settings(&bed).password_file(Some(file.0.clone()))).await.unwrap();
    file.write("canary-wrong");
    let error = soon("the start", receiver(&connection, &bed).start()).await.unwrap_err();
    let (text, debug) = (error.to_string(), format!("{error:?}"));
    assert!(text.contains("user `app`") && text.contains(bed.queue.as_str()), "{text}");
    assert!(text.contains("WRONGPASS"), "{text}");
    assert_eq!(books.publish(&bed).await.lost, 0);
    assert_eq!(join_error(error).kind(), ErrorKind::Auth);
    assert!(!text.contains("canary") && !debug.contains("canary"), "{text} {debug}");
    assert_eq!(log::lines_with(&["canary-"]), [""; 0]);
}

#[tokio::test]
async fn a_password_that_is_rotated_is_learnt_without_a_restart() {
    log::keep();
    let bed = bed("rotate", "canary-first", "~* &* +@all").await;
    let file = SecretFile::new("canary-first");
    let connection = Connection::connect(&settings(&bed).password_file(Some(file.0.clone()))).await.unwrap();
    let receiver = receiver(&connection, &bed).start().await.unwrap();
    let books = Books::of(bed.push_numbers(1).await);
    let held = books.next(&receiver).await;

    // The server is told first, and throws everybody out; the lease ends before the file follows.
    bed.server.cli(&["ACL", "SETUSER", "app", "resetpass", ">canary-second"]).await.unwrap();
    bed.server.cli(&["CLIENT", "KILL", "USER", "app"]).await.unwrap();
    soon("the end of the lease", held.lease_lost().cancelled()).await;
    log::until_line(&["WARN", bed.queue.as_str(), "user `app`"]).await;
    file.write("canary-second");
    let again = books.next(&receiver).await;
    assert_eq!((again.attempt(), again.crashes()), (1, 0));
    books.ack(again).await;

    // Now the file first, and nobody is thrown out: who is in stays in.
    bed.server.cli(&["ACL", "SETUSER", "app", ">canary-third", "<canary-second"]).await.unwrap();
    file.write("canary-third");
    books.sent(bed.push_numbers(1).await);
    let another = books.next(&receiver).await;
    books.ack(another).await;
    bed.server.cli(&["CLIENT", "KILL", "USER", "app"]).await.unwrap();
    books.sent(bed.push_numbers(1).await);
    let third = books.next(&receiver).await;
    books.ack(third).await;
    let _ = soon("the end", receiver.drain()).await.unwrap();
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "what was held");
    assert_eq!(log::lines_with(&["canary-"]), [""; 0]);
}

#[tokio::test]
async fn a_user_that_is_deleted_and_made_again_costs_no_message() {
    log::keep();
    let bed = bed("deleted", "canary-pw", "~* &* +@all").await;
    let connection = Connection::connect(&settings(&bed).password(Some("canary-pw".into()))).await.unwrap();
    let receiver = receiver(&connection, &bed).start().await.unwrap();
    let books = Books::of(bed.push_numbers(2).await);
    let held = books.next(&receiver).await;

    // Its connections end with it, and nobody comes in under its name.
    bed.server.cli(&["ACL", "DELUSER", "app"]).await.unwrap();
    soon("the end of the lease", held.lease_lost().cancelled()).await;
    log::until_line(&["WARN", bed.queue.as_str(), "user `app`"]).await;
    bed.server.cli(&["ACL", "SETUSER", "app", "on", ">canary-pw", "~*", "&*", "+@all"]).await.unwrap();
    for _ in 0..2 {
        let delivery = books.next(&receiver).await;
        assert_eq!((delivery.attempt(), delivery.crashes()), (1, 0));
        books.ack(delivery).await;
    }
    let balance = books.publish(&bed).await;
    assert_eq!((balance.lost, balance.twice), (0, 1), "what was held");
    bed.until_empty().await;
    let _ = soon("the end", receiver.drain()).await.unwrap();
    assert_eq!(log::lines_with(&["canary-"]), [""; 0]);
}

/// What the scripts need, and without which a half-done script could lose a message.
const NEEDED: &[&str] = &[
    "del",
    "evalsha",
    "exists",
    "hdel",
    "hget",
    "hgetall",
    "hkeys",
    "hlen",
    "hmget",
    "hrandfield",
    "hset",
    "info",
    "lindex",
    "llen",
    "lpush",
    "lrange",
    "persist",
    "rpop",
    "rpush",
    "time",
    "zadd",
    "zcard",
    "zrange",
    "zrangebyscore",
    "zrem",
    "zscore",
];

/// What the receiver can do without, at the price of waking later or of counting less.
const DISPENSABLE: &[&str] = &["blmove", "client", "expire", "hincrby", "spublish", "ssubscribe"];

#[tokio::test]
async fn a_permission_that_is_missing_is_named_at_the_start() {
    let bed = bed("missing", "pw", "~* &* +@all").await;
    let books = Books::of(bed.push_numbers(3).await);
    for command in NEEDED {
        bed.server.cli(&["ACL", "SETUSER", "app", "+@all", &format!("-{command}")]).await.unwrap();
        let connection = Connection::connect(&settings(&bed).password(Some("pw".into()))).await.unwrap();
        let error = soon("the start", receiver(&connection, &bed).start()).await;
        let error = join_error(error.expect_err(command));
        assert_eq!(error.kind(), ErrorKind::Denied, "{command}: {error}");
        let text = error.to_string();
        assert!(text.contains("user `app`") && text.contains(&format!("'{command}'")), "{command}: {text}");
    }
    assert_eq!(books.publish(&bed).await.lost, 0);
    assert_eq!(bed.ready().await, 3, "nothing was touched");
}

#[tokio::test]
async fn a_permission_that_is_taken_away_costs_no_message() {
    log::keep();
    let bed = bed("revoked", "pw", "~* &* +@all").await;
    let connection = Connection::connect(&settings(&bed).password(Some("pw".into()))).await.unwrap();
    let receiver = receiver(&connection, &bed).start().await.unwrap();
    let books = Books::default();
    for command in NEEDED {
        books.sent(bed.push_numbers(2).await);
        let held = [books.next(&receiver).await, books.next(&receiver).await];
        bed.server.cli(&["ACL", "SETUSER", "app", "+@all", &format!("-{command}")]).await.unwrap();
        books.sent(bed.push_numbers(2).await);
        let [first, second] = held;
        books.wanted_again(second.raw());
        let back = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            bed.server.cli(&["ACL", "SETUSER", "app", "+@all"]).await.unwrap();
        };
        let settles =
            async { tokio::join!(books.try_ack(first), second.nack(Some(Duration::from_millis(1)), None)) };
        let (settled, ()) = soon("the settles", Box::pin(async { tokio::join!(settles, back) })).await;
        let mut left = 3 + u32::from(settled.0.is_err());
        while left > 0 {
            let delivery = books.next(&receiver).await;
            assert_eq!(delivery.crashes(), 0, "{command}");
            left -= u32::from(books.try_ack(delivery).await.is_ok());
        }
        bed.until_empty().await;
    }
    let _ = soon("the end", receiver.drain()).await.unwrap();
    assert_eq!(books.publish(&bed).await.lost, 0);
}

#[tokio::test]
async fn what_is_dispensable_is_dispensed_with() {
    let bed = bed("dispensable", "pw", "~* &* +@all").await;
    for command in DISPENSABLE {
        bed.server.cli(&["ACL", "SETUSER", "app", "+@all", &format!("-{command}")]).await.unwrap();
        let connection = Connection::connect(&settings(&bed).password(Some("pw".into()))).await.unwrap();
        let receiver = receiver(&connection, &bed).start().await.unwrap();
        for _ in 0..2 {
            bed.push_numbers(1).await;
            let delivery = soon(command, receiver.recv()).await.unwrap();
            delivery.ack().await.unwrap();
        }
        assert!(soon("the end", receiver.drain()).await.unwrap().is_clean(), "{command}");
    }
}
