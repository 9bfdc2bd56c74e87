//! The one connection everyone shares: a pool for commands and scripts, dedicated connections for what blocks, and
//! errors that say what may be concluded from them.
//!
//! ```text
//!                     ┌─ Connection (Clone) ───────────────────────────────┐
//!  senders, admin ──► │ execute, execute_all, invoke, invoke_all            │──► a few multiplexed sockets,
//!                     │ breaker() gates who asks · health() · primaries()   │    each with a watchdog
//!                     └──┬───────────────────────────┬─────────────────────┘
//!                        │ dedicated()               │ listen(channel)
//!                        ▼                           ▼
//!                     DedicatedConnection         Listener ──► one socket each, replaced
//!  receivers, durable  (&mut self, blocking_move, (recv)       after a timeout or a loss
//!  sends ───────────►   run_acknowledged)
//! ```
//!
//! A blocking command on a multiplexed socket would stop everybody on it. So the two are different types, and
//! [`blocking_move`](DedicatedConnection::blocking_move) does not exist on [`Connection`]:
//!
//! ```compile_fail,E0599
//! # async fn example(connection: valkey_connection::Connection) {
//! connection.blocking_move("a", "b", std::time::Duration::from_secs(1)).await;
//! # }
//! ```
//!
//! # Promises
//!
//! - Every call ends within its deadline: with a reply, or with an [`Error`] that says whether the request
//!   [may have been executed](Error::outcome_unknown).
//! - Nothing is sent twice. A retry is the caller's decision, because only the caller knows what may be repeated.
//! - A connection that breaks or stops answering is replaced; after a timeout nothing has to be restarted.
//! - What a replica or the disk has is [believed](DedicatedConnection::run_acknowledged) only from the socket that carried
//!   the writes, and from a server that was [found](DedicatedConnection::examine_sync) to tell the truth about it.
//! - No password appears in `Debug`, errors or logs. No payload appears in errors.
//!
//! # Example
//!
//! ```no_run
//! use valkey_connection::{Connection, ConnectionSettings, Script};
//!
//! static TOUCH: Script = Script::new("touch", "return redis.call('INCR', KEYS[1])");
//!
//! # async fn example() -> Result<(), valkey_connection::Error> {
//! let connection = Connection::connect(&ConnectionSettings::from_url("valkey://localhost")?).await?;
//! let count = connection.invoke(TOUCH.call().key("visits")).await?.as_int()?;
//! println!("{count}");
//! # Ok(())
//! # }
//! ```

mod acknowledged;
mod arg;
mod arguments;
mod breaker;
mod classify;
mod command;
mod connection;
mod credentials;
mod dedicated;
mod driver;
mod durability;
mod endpoint;
mod error;
mod health;
mod listener;
mod node;
mod pool;
mod reply;
mod scripts;
mod settings;
pub mod telemetry;
mod tls;

pub use self::acknowledged::{Acknowledged, Acknowledgement, Call};
pub use self::arg::Arg;
pub use self::breaker::{Breaker, BreakerOpen, BreakerPolicy, BreakerState, Permit};
pub use self::command::Command;
pub use self::connection::Connection;
pub use self::dedicated::{DedicatedConnection, Unblocker};
pub use self::durability::{DurabilityRefusal, SyncFacts, SyncPolicy, Trial};
pub use self::error::{Error, ErrorKind};
pub use self::health::{ConnectionState, Health, LastError, PoolHealth, Status};
pub use self::listener::{Bell, Listener};
pub use self::node::Node;
pub use self::reply::Reply;
pub use self::scripts::{Script, ScriptCall};
pub use self::settings::{ConnectionSettings, Mode};
