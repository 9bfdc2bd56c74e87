//! Shared limits in front of any mail server.
//!
//! ```text
//!  SMTP client ─► gate ─► Limits ─┬─► MTA behind it, with a PROXY header        smtp-guard of node 2, 3, ..
//!                                 ├─► 421 and a close                                     │
//!  Postfix ─► policy service ─────┘                    one Valkey ◄── slots and rates ────┘
//! ```
//!
//! - `gate`: accepts connections, asks the limits, passes on what may pass.
//! - `limits`: what the gate asks of `valkey-ratelimit`, as one question with one answer.
//! - [`proxy`]: the PROXY protocol, as it is read from balancers and written to mail servers.
//! - [`policy`]: answers what Postfix asks by `check_policy_service`.
//! - `http`: metrics and health.
//! - [`Guard`]: all of it as one thing that runs and drains.

mod gate;
mod guard;
mod http;
mod limits;
mod node;
mod pace;
pub mod policy;
pub mod proxy;
mod reply;
pub mod settings;
mod store;
mod telemetry;

pub use self::guard::{Guard, GuardError};
pub use self::settings::GuardSettings;
pub use self::store::Store;

pub use valkey_ratelimit::NodeId;
pub use valkit_service::Shutdown;
