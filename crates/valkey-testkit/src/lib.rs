//! Starts real Valkeys for tests, and breaks them.
//!
//! # A test in ten lines
//!
//! ```no_run
//! use valkey_testkit::{Cut, FaultProxy, TestServer, TestkitError, unique_name};
//!
//! # /*
//! #[tokio::test]
//! # */
//! async fn a_push_without_an_answer_may_have_happened() -> Result<(), TestkitError> {
//!     let server = TestServer::shared().await; // one for all tests of the process
//!     let proxy = FaultProxy::start(&server.address()).await?; // stands between it and the client under test
//!     let queue = unique_name("orders"); // nobody else's
//!     let mut cut = proxy.arm(Cut::reply_before(0).of_command("LPUSH"));
//!     # struct Client; impl Client { async fn connect(_: String) -> Self { Self } }
//!     # impl Client { async fn push(&mut self, _: &str, _: &str) -> Result<(), ()> { Err(()) } }
//!     let mut client = Client::connect(proxy.address()).await; // yours
//!     assert!(client.push(&queue, "hello").await.is_err());
//!     cut.wait().await; // the server is done with what it got
//!     assert_eq!(server.cli(&["LLEN", &queue]).await?, "1"); // asked by the real valkey-cli
//!     Ok(())
//! }
//! # fn main() { let _ = a_push_without_an_answer_may_have_happened(); }
//! ```
//!
//! # What there is
//!
//! ```text
//!  client under test ──> FaultProxy ──────────────> TestServer
//!                        cut after byte k            config, append-only file, TLS, users
//!                        before byte k of a reply    kill, stop, restart: same data, same address
//!                        stall, delay, throttle      pause, resume, spoil the file
//!                        swallow, refuse, drop       cli: the real valkey-cli
//!                        count                       version: what it says it is
//!                                                TestReplication: a primary and its replicas, each behind a
//!                                                    FaultProxy of its own; or sentinels over them
//!                                                TestCluster: several primaries, slots that move, replicas that
//!                                                    take over
//! ```
//!
//! A server of its own, with whatever is special about it, costs a test a quarter of a second with Docker and some
//! 30 ms without; a cluster of three takes 2 to 3 s, a primary with two replicas 2 s, three sentinels over them 4 s
//! more, a failover 3 to 5 s:
//!
//! ```no_run
//! # async fn f() -> Result<(), valkey_testkit::TestkitError> {
//! use valkey_testkit::TestServer;
//!
//! let server = TestServer::builder()
//!     .append_only(true)
//!     .config("maxmemory", "4mb")
//!     .tls()
//!     .acl_user("app", "secret", "~queue:* &* +@all -@dangerous")
//!     .start()
//!     .await?;
//! assert!(server.url().starts_with("valkeys://app:secret@"));
//! server.kill().await?; // SIGKILL
//! server.restart().await?;
//! # Ok(()) }
//! ```
//!
//! # Which Valkey
//!
//! | variable | meaning |
//! |---|---|
//! | `VALKIT_TEST_URL` | a server that runs already; tests that want one of their own then fail and say so |
//! | `VALKIT_TEST_ENGINE` | `docker` or `binary`: that one or none |
//! | `VALKIT_TEST_IMAGE` | the image for Docker, `valkey/valkey:8.0` if not set; Redis from 7.0 on will do too |
//! | `VALKIT_TEST_IMAGE_NEWEST` | the image for [`TestServerBuilder::newest`], `valkey/valkey:9.1` if not set |
//! | `VALKIT_LONG` | `1`: tests that ask [`is_long`] do all they can |
//!
//! Without them it is Docker, if the engine answers and has the image or can pull it, else `valkey-server` and
//! `valkey-cli` on `PATH`. Each test process says once on stderr which it is, and which version the server itself
//! says it is; a test that needs what not all have asks [`TestServer::version`]. Where nothing works, the error names the
//! ways out. With Docker the tests reach a container by its own address, so the engine has to be on the same machine,
//! and that has to be Linux; anywhere else the binaries are the way.
//!
//! # What stays behind
//!
//! Nothing. A server ends and its data goes when its [`TestServer`] is dropped, and also when the test process ends
//! in any other way, `SIGKILL` and a static that is never dropped included: it hangs on a pipe from that process.
//! Containers are labelled with their process besides, and whatever an engine may still have kept of dead ones is
//! removed by the next.

mod builder;
mod clock;
mod cluster;
mod engine;
mod error;
mod eventually;
mod extent;
mod figures;
mod name;
mod place;
mod poll;
mod port;
mod proxy;
mod replication;
mod runtime;
mod server;
mod settings;
mod supervisor;
mod tls;
mod version;

pub use builder::TestServerBuilder;
pub use clock::libfaketime;
pub use cluster::{SlotMigration, TestCluster, TestClusterBuilder};
pub use error::TestkitError;
pub use eventually::{eventually, soon};
pub use extent::is_long;
pub use figures::{Figures, progress, skipped};
pub use name::unique_name;
pub use proxy::{ArmedCut, ConnectionReport, Cut, CutOutcome, FaultProxy, Target, Traffic};
pub use replication::{TestReplication, TestReplicationBuilder};
pub use server::TestServer;
pub use version::{Product, ServerVersion};
