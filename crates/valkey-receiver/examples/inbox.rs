//! How do I make the effect of a message happen once, although the message may come twice?
//!
//! `VALKEY_RECEIVER_ADDRESS=localhost:6379 cargo run --example inbox`, then twice
//! `valkey-cli LPUSH queue:user-registrations '{"id":"1","kind":"registration","payload":{"email":"ada@example.org"}}'`:
//! one registration in `registrations.txt`. Each kind shows one of the three ways:
//!
//! - a registration is written to a store with transactions, here a file; think of a database. Once.
//! - a visit is counted in Valkey itself, in one step with its mark. Once.
//! - a mail goes out into the world. At most once: where nobody can know, a person looks into it.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::PathBuf;

use serde::Deserialize;
use valkey_config::Sources;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_envelope::{DecodeError, QueueName};
use valkey_receiver::inbox::{Begun, Inbox, OnDoubt, ValkeyInbox, Write, Writes, in_transaction};
use valkey_receiver::{Message, Receiver, ReceiverSettings, Router, untyped};

/// A file as a database: a transaction holds its lock, and is one write to its end.
struct Registrations {
    path: PathBuf,
}

/// Dropped, it has written nothing, and the lock is gone with the file.
struct Tx {
    file: File,
    lines: String,
}

impl Inbox for Registrations {
    type Tx = Tx;
    type Error = std::io::Error;

    async fn begin(&self, queue: &QueueName, key: &str) -> Result<Begun<Tx>, std::io::Error> {
        let (path, mark) = (self.path.clone(), format!("mark {queue} {key}"));
        let begin = tokio::task::spawn_blocking(move || {
            let mut file = File::options().create(true).append(true).read(true).open(path)?;
            file.lock()?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let done = text.lines().any(|line| line == mark);
            Ok(if done { Begun::Done } else { Begun::First(Tx { file, lines: mark + "\n" }) })
        });
        begin.await?
    }

    async fn commit(&self, mut tx: Tx) -> Result<(), std::io::Error> {
        tx.file.write_all(tx.lines.as_bytes())?;
        tx.file.sync_data()
    }
}

#[derive(Deserialize)]
struct Registration {
    email: String,
}

async fn register(message: Message, mut tx: Tx) -> Result<Tx, DecodeError> {
    let Registration { email } = message.payload_as()?;
    // Only what goes through the transaction is once; this line may be printed again.
    println!("registering {email} (attempt {})", message.attempt());
    tx.lines += &(email + "\n");
    Ok(tx)
}

async fn count_visit(message: Message) -> Result<Writes, DecodeError> {
    let page: String = message.payload_as()?;
    let visits = message.queue().keys().app("visits");
    Ok(Write::new("HINCRBY").key(visits).arg(page).arg(1_u32).into())
}

async fn send_mail(message: Message) -> Result<(), DecodeError> {
    let Registration { email } = message.payload_as()?;
    println!("mail to {email}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let loaded = Sources::new("VALKEY_RECEIVER_")
        .env()
        .load_with_notices::<(ConnectionSettings, ReceiverSettings)>()?;
    for notice in &loaded.notices {
        eprintln!("warning: {notice}");
    }
    let (connection, receiver) = loaded.settings;
    let connection = Connection::connect(&connection).await?;
    let receiver = Receiver::builder(&connection).settings(receiver).start().await?;
    let inbox = ValkeyInbox::new(&connection);
    let store = Registrations { path: "registrations.txt".into() };
    let router = Router::new()
        .kind("registration", untyped(in_transaction(store, register)))
        .kind("visit", untyped(inbox.clone().apply(count_visit)))
        .kind("mail", untyped(inbox.guard(OnDoubt::DeadLetter, send_mail)));
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    println!("{}", receiver.serve(router).with_graceful_shutdown(stop).await?);
    Ok(())
}
