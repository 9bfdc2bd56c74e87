//! Receives messages from a queue and sees to it that each is finished: queue to handler to ack, retry or dead letter.
//!
//! ```text
//!            claims (one round trip a batch)                   outcome
//!  queue ---> engine ---> source ---> worker: Router / Handler --------> policy ---> desk --+
//!               ^                                                                           |
//!               +--- acks, retries, dead letters ride in the next take ---------------------+
//! ```
//!
//! - **At least once.** A message leaves the server's keeping only when it was acked, or stands among the dead letters.
//!   It may come twice; it does not get lost, whatever dies in between.
//! - **One lease a consumer**, on the server's clock, renewed by a thread of its own. A consumer that dies is noticed when
//!   its lease ends (15 s unless set), and what it held is delivered again.
//! - **A crash is no failed attempt.** Attempts count what handlers said; crashes are counted apart, and only a message
//!   that was alone with its consumer is ever blamed for one.
//!
//! ```no_run
//! use valkey_connection::{Connection, ConnectionSettings};
//! use valkey_receiver::{Message, Receiver};
//!
//! async fn greet(message: Message) -> Result<(), valkey_envelope::DecodeError> {
//!     let name: String = message.payload_as()?;
//!     println!("hello {name}");
//!     Ok(())
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::connect(&ConnectionSettings::default()).await?;
//! let receiver = Receiver::builder(&connection).queue("greetings".parse()?).start().await?;
//! let report = receiver.serve(greet).with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) }).await?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

mod batch;
mod complaint;
mod delivery;
mod desk;
mod engine;
mod error;
mod handle;
mod handler;
mod held;
pub mod inbox;
mod lease;
mod outcome;
mod panic;
mod park;
mod policy;
mod receiver;
mod report;
mod router;
mod scripts;
mod serve;
mod settings;
mod settling;
mod source;
mod take;
pub mod telemetry;
mod throttle;
mod unreadable;
mod work;

pub use self::{
    batch::{Batch, BatchHandler, BatchOutcome, IntoBatchOutcome},
    delivery::Delivery,
    error::{ReceiveError, SettleError},
    handle::ReceiverHandle,
    handler::{Handler, HandlerService, Message, ServiceHandler, service},
    outcome::{Disposition, IntoOutcome, Outcome},
    policy::{InvalidRetryPolicy, RetryPolicy},
    receiver::{Receiver, ReceiverBuilder},
    report::DrainReport,
    router::{PayloadHandler, Router, Untyped, WholeMessage, untyped},
    serve::Serve,
    settings::ReceiverSettings,
    source::OnExpired,
    work::Work,
};
