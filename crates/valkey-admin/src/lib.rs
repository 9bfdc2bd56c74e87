//! See and operate queues: depths and ages, dead letters, pause and limits, hand-back, a doctor.
//!
//! ```text
//!  Connection --> Admin --+-- queues, stats, strays, peek      look; nothing changes
//!                         +-- pause, resume, set_limits        steer; messages stay where they are
//!                         +-- hand_back, replay                move; no message is ever in no place
//!                         +-- purge, purge_dead, erase         remove
//!                         +-- doctor                           say what is wrong, why it matters, what to do
//! ```
//!
//! Whatever changes something is one atomic script call a slice, bounded in count and bytes, so that neither an
//! abort half-way nor a queue of millions does harm. Verbs that remove or move can be asked for a dry run
//! ([`Execution::DryRun`]), and a verb that was stopped half-way says how far it came ([`Tally`]).
//!
//! ```no_run
//! use valkey_admin::{Admin, DeadSelection, Execution, ReplayTo};
//! use valkey_connection::{Connection, ConnectionSettings};
//! use valkey_envelope::QueueName;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let admin = Admin::new(Connection::connect(&ConnectionSettings::default()).await?);
//! let queue: QueueName = "user-registrations".parse()?;
//!
//! let stats = admin.stats(&queue).await?;
//! println!("{} ready, {} in flight, {} dead", stats.ready.total(), stats.in_flight, stats.dead);
//!
//! let replayed = admin
//!     .replay(&queue, &DeadSelection::All, &ReplayTo::Source, Execution::Run, |_| ())
//!     .await?;
//! println!("{} dead letters are back in the queue", replayed.done());
//! # Ok(())
//! # }
//! ```

mod admin;
mod catalog;
mod control;
mod dead;
mod doctor;
mod erase;
mod error;
mod format;
mod hand_back;
mod millis;
mod peek;
mod place;
mod purge;
mod replay;
mod retries;
mod scripts;
mod slices;
mod stats;
mod strays;
mod tally;
mod words;

pub use self::{
    admin::{Admin, Execution},
    catalog::{Catalog, Consumer, Progress},
    control::{Change, Limits, LimitsChange, OddLimit},
    dead::{DeadCursor, DeadFilter, DeadLetter, DeadPage, DeadQuery, DeadSelection},
    doctor::{Diagnosis, Finding, Severity},
    error::Error,
    peek::{Peek, PeekQuery, Peeked},
    place::{InvalidPlace, Place},
    replay::ReplayTo,
    stats::{ConsumerStats, Lease, Memory, Oldest, QueueStats, Ready, Squatter},
    strays::{Stray, Strays},
    tally::Tally,
};
