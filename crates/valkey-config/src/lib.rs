//! Typed settings, read in layers: defaults < TOML file < environment < explicit values.
//!
//! A crate declares its settings once, with [`settings!`]; a program says where to look, with [`Sources`], and gets
//! either the settings or one [`ConfigError`] that lists everything wrong with them.
//!
//! ```text
//!  settings! { .. } --> struct, Default, setters            Sources: file, env, explicit
//!        |                                                            |
//!        +--> Field table --> unknown names, docs                     v
//!        +--> Layer (all optional) <------- one value at a time --- entries
//!                 |
//!                 v
//!             settings --> Validate --> Loaded { settings, notices, values with origins } | ConfigError
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use valkey_config::{Contradiction, Secret, Sources, Validate, settings};
//!
//! settings! {
//!     /// How to reach the server.
//!     pub struct ConnectionSettings in [connection] {
//!         /// Password.
//!         pub password: Option<Secret>,
//!         /// Connections that are kept open.
//!         pub pool_size: u32 = 10,
//!     }
//! }
//! impl Validate for ConnectionSettings {}
//!
//! settings! {
//!     /// How a receiver behaves.
//!     pub struct ReceiverSettings in [receiver] {
//!         /// How long a claim lasts without renewal.
//!         pub lease: Duration = Duration::from_secs(15),
//!         /// How often a claim is renewed.
//!         pub heartbeat: Duration = Duration::from_secs(5),
//!     }
//! }
//! impl Validate for ReceiverSettings {
//!     fn validate(&self) -> Vec<Contradiction> {
//!         let short = self.heartbeat < self.lease;
//!         let why = "the heartbeat must be shorter than the lease";
//!         if short { Vec::new() } else { vec![Contradiction::new(["heartbeat", "lease"], why)] }
//!     }
//! }
//!
//! let sources = Sources::new("VALKEY_RECEIVER_").vars([
//!     ("VALKEY_RECEIVER_PASSWORD", "s3cret"),
//!     ("VALKEY_RECEIVER_LEASE", "1m 30s"),
//! ]);
//! let (connection, receiver): (ConnectionSettings, ReceiverSettings) = sources.load()?;
//! assert_eq!(receiver.lease, Duration::from_secs(90));
//! assert!(!format!("{connection:?}").contains("s3cret"));
//!
//! let error = Sources::new("VALKEY_RECEIVER_")
//!     .vars([("VALKEY_RECEIVER_POOL_SIZE", "many"), ("VALKEY_RECEIVER_LEASE", "2s")])
//!     .load::<(ConnectionSettings, ReceiverSettings)>()
//!     .expect_err("two problems, told together");
//! assert_eq!(error.to_string(), "\
//! 2 problems in the settings:
//!   - VALKEY_RECEIVER_POOL_SIZE: \"many\": expected a whole number from 0 to 4294967295
//!   - VALKEY_RECEIVER_HEARTBEAT=5s (default), VALKEY_RECEIVER_LEASE=2s: the heartbeat must be shorter than the lease");
//! # Ok::<(), valkey_config::ConfigError>(())
//! ```
//!
//! # Rules
//!
//! - An empty value counts as not set.
//! - Durations carry a unit (`500ms`, `1.5h`, `1m 30s`); booleans are true, false, 1, 0, yes, no, on, off in any case;
//!   lists are separated by commas.
//! - Every secret `X` may be given as `X_FILE`, the path of a file that holds it. Both at once is an error.
//! - A key in a file that no struct knows is an error, a variable is only a [`Notice`]: other programs share the
//!   environment. What Kubernetes injects for a service (`*_SERVICE_HOST`, `*_PORT_6379_TCP`, ..) is ignored.
//! - No secret appears in any `Debug`, `Display`, error or notice.

mod bounded;
mod codec;
mod duration;
mod entry;
mod error;
mod field;
mod file;
mod list;
mod load;
mod macros;
mod markdown;
mod notice;
mod origin;
mod secret;
mod secret_file;
mod setting;
mod settings;
mod sources;
mod url;
mod variables;

pub use self::{
    duration::{DurationError, HumanDuration, format_duration, parse_duration},
    error::{ConfigError, Problem, ProblemKind},
    field::{Field, Status},
    list::CsvList,
    load::{Loaded, Shown},
    markdown::markdown_table,
    notice::Notice,
    origin::Origin,
    secret::Secret,
    setting::{Invalid, Raw, Setting},
    settings::{Contradiction, Section, Settings, SettingsSet, Validate},
    sources::Sources,
    url::{Scheme, ServerUrl, ServerUrlError},
};

/// What the expansion of [`settings!`] names.
#[doc(hidden)]
pub mod __private {
    pub use crate::codec::{Codec, Native, OptionalText, Parsed, Structured, Text};
    pub use crate::field::Attribute;
    pub use crate::load::Reader;
    pub use serde;
}
