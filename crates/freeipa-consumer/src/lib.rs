//! Registrations of a queue become FreeIPA accounts, each once, and the applicants hear of it.
//!
//! ```text
//!  queue ─► registration ─► login ─► state ─────► flow: ask the directory, tell, settle
//!           parse, check    rule     pure machine   │        │
//!                                    + record in    │        └─► status ─► text ─► Telegram | status queue
//!                                      Valkey       └─► park: nothing is taken while nobody could be served
//! ```
//!
//! - [`registration`]: the message, tolerant of forms and strict in meaning.
//! - [`login`]: what accounts may be called.
//! - [`state`]: what is done next, whatever crashed before; and what is remembered of it.
//! - [`status`]: telling applicants. [`text`]: in their language.
//! - [`settings`]: everything that can be set.
//! - `flow`: the machine's actions, done. `park`: what concerns everybody costs nobody an attempt.
//! - `lockout`: what keeps all consumers together from locking the service account.
//! - [`unreported`]: the applicants who do not know what became of them, for operators.
//! - [`Consumer`]: all of it as one thing that runs and drains. [`check`]: what it depends on, looked at.

pub mod check;
mod consumer;
mod directory;
mod files;
mod flow;
mod http;
mod lockout;
pub mod login;
mod park;
pub mod registration;
mod reporting;
mod retention;
mod scripts;
pub mod settings;
pub mod state;
pub mod status;
mod telemetry;
pub mod text;
pub mod unreported;

pub use self::consumer::{Consumer, ConsumerBuilder, ConsumerError};
pub use self::settings::Settings;

pub use valkit_service::Shutdown;
