//! How do I handle messages of several kinds, with a limit and a timeout for one of them?
//!
//! `VALKEY_RECEIVER_ADDRESS=localhost:6379 cargo run --example router`

use std::time::Duration;

use serde::Deserialize;
use tower::ServiceBuilder;
use valkey_config::Sources;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_receiver::{
    HandlerService, Message, Outcome, Receiver, ReceiverSettings, Router, service, untyped,
};

#[derive(Deserialize)]
struct Registration {
    email: String,
}

#[derive(Deserialize)]
struct Removal {
    login: String,
}

async fn register(registration: Registration, message: Message) -> Result<(), std::io::Error> {
    println!("registering {} for {:?}", registration.email, message.envelope().header("tenant"));
    Ok(())
}

async fn remove(removal: Removal) -> Outcome {
    println!("removing {}", removal.login);
    Outcome::Ack
}

async fn report(message: Message) -> Outcome {
    println!("making report {}", message.envelope().id());
    Outcome::Ack
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Tower layers stack around a handler: at most two reports at a time, ten seconds each.
    let report = service(
        ServiceBuilder::new()
            .concurrency_limit(2)
            .timeout(Duration::from_secs(10))
            .service(HandlerService::new(report)),
    );
    let router = Router::new()
        .header("dry-run", "true", async |_: serde::de::IgnoredAny| println!("only pretending"))
        .kind("user.registration", register)
        .kind("user.removal", remove)
        .kind("report", untyped(report))
        // Without a fallback these would be dead letters, too, with the reason `unroutable`.
        .fallback(async |message: Message| {
            Outcome::dead_letter(format!("kind {:?} is not known", message.envelope().kind()))
        });

    let loaded = Sources::new("VALKEY_RECEIVER_")
        .env()
        .load_with_notices::<(ConnectionSettings, ReceiverSettings)>()?;
    for notice in &loaded.notices {
        eprintln!("warning: {notice}");
    }
    let (connection, receiver) = loaded.settings;
    let connection = Connection::connect(&connection).await?;
    let receiver = Receiver::builder(&connection).settings(receiver).start().await?;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    println!("{}", receiver.serve(router).with_graceful_shutdown(stop).await?);
    Ok(())
}
