//! Starts real Valkeys for tests, and breaks them.
//!
//! ```no_run
//! # #[tokio::main] async fn main() -> Result<(), valkey_testkit::TestkitError> {
//! use valkey_testkit::{TestServer, unique_name};
//!
//! let server = TestServer::builder().append_only(true).start().await?;
//! let queue = unique_name("orders");
//! server.cli(&["LPUSH", &queue, "hello"]).await?;
//!
//! server.kill().await?; // SIGKILL
//! server.restart().await?; // same data, same address
//! assert_eq!(server.cli(&["RPOP", &queue]).await?, "hello");
//! # Ok(()) }
//! ```

mod builder;
mod cluster;
mod engine;
mod error;
mod name;
mod place;
mod port;
mod proxy;
mod runtime;
mod server;
mod settings;
mod supervisor;
mod tls;

pub use builder::TestServerBuilder;
pub use cluster::{SlotMigration, TestCluster};
pub use error::TestkitError;
pub use name::unique_name;
pub use proxy::{ArmedCut, ConnectionReport, Cut, CutOutcome, FaultProxy, Target, Traffic};
pub use server::TestServer;
