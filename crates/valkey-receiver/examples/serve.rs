//! How do I handle each message of a queue?
//!
//! `VALKEY_RECEIVER_ADDRESS=localhost:6379 cargo run --example serve`, then
//! `valkey-cli LPUSH queue:user-registrations '{"id":"1","payload":{"email":"ada@example.org"}}'`.

use serde::Deserialize;
use valkey_config::Sources;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_receiver::{Message, Outcome, Receiver, ReceiverSettings};

#[derive(Deserialize)]
struct Registration {
    email: String,
}

async fn register(message: Message) -> Result<Outcome, std::io::Error> {
    let Ok(registration) = message.payload_as::<Registration>() else {
        // Trying again does not help: keep it for a person to look at.
        return Ok(Outcome::dead_letter("this is no registration"));
    };
    println!("registering {} (attempt {})", registration.email, message.attempt());
    // An `Err` from here would be tried again, later each time.
    Ok(Outcome::Ack)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Every setting has a default, and an environment variable: VALKEY_RECEIVER_ADDRESS, .._DEFAULT_QUEUES, ...
    let loaded = Sources::new("VALKEY_RECEIVER_")
        .env()
        .load_with_notices::<(ConnectionSettings, ReceiverSettings)>()?;
    for notice in &loaded.notices {
        eprintln!("warning: {notice}");
    }
    let (connection, receiver) = loaded.settings;
    let connection = Connection::connect(&connection).await?;
    let receiver = Receiver::builder(&connection).settings(receiver).start().await?;
    let report = receiver
        .serve(register)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    println!("{report}");
    Ok(())
}
