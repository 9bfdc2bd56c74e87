//! From an envelope to its queue: routing, lanes, delay, dedup, bounds, retries, a tower service.
//!
//! ```text
//!  Envelope --routes--> queue --codecs, encode--> bytes --+-- no options: LPUSH queue:NAME, many in one command
//!                                                         +-- lane, delay, dedup, bound: push.lua
//!            Receipt or SendError <-- retries <-- an outcome for each message
//! ```
//!
//! A message without options is put on the public list as plain bytes, which any consumer of that list can read.
//! Concurrent sends of one process travel together; each learns what became of its own message. Where the answer to
//! a push is lost, the error says so ([`SendError::Unknown`]), and a dedup window makes the repetition safe.
//!
//! How safe a message is before its send is answered is chosen per sender, or per send
//! ([`Sender::with_durability`]): in the server's memory, on its disk, or with its replicas. Pushes of the safer kinds
//! have connections of their own, and their wait rides in the round trip of the group. What a server cannot promise is
//! refused before anything is sent ([`SendError::DurabilityRefused`]); what it did not confirm in time is unknown.
//!
//! ```no_run
//! use std::time::Duration;
//! use valkey_connection::{Connection, ConnectionSettings};
//! use valkey_envelope::{Envelope, Lane};
//! use valkey_sender::Sender;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::connect(&ConnectionSettings::default()).await?;
//! let sender = Sender::builder(connection, "orders".parse()?).dedup(Duration::from_secs(600)).build();
//!
//! let first = sender.send(Envelope::new("now")?).await?;
//! let urgent = sender.send(Envelope::new("first of all")?.with_priority(Lane::High)).await?;
//! for result in sender.send_all((0..100).map(|n| Envelope::new(&n)).collect::<Result<Vec<_>, _>>()?).await {
//!     println!("{:?}", result?);
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod combiner;
mod dispatcher;
mod durability;
mod error;
mod item;
pub mod limit;
mod links;
mod on_full;
mod outcome;
mod outlet;
mod pattern;
mod progress;
mod pusher;
mod receipt;
mod routes;
mod routes_file;
mod scripts;
mod sender;
mod service;
mod settings;
mod telemetry;
mod watch;

pub use self::{
    builder::SenderBuilder,
    durability::{Certainty, Durability, InvalidDurability},
    error::{CheckError, SendError},
    on_full::OnFull,
    pattern::Pattern,
    receipt::Receipt,
    routes::{Consulted, Explanation, Route, Routes},
    routes_file::RoutesError,
    sender::Sender,
    service::SendFuture,
    settings::{OnFullPolicy, PayloadFormName, SenderSettings},
};
pub use valkey_connection::DurabilityRefusal;
