//! `[guard]`: what concerns the node as a whole.

use std::time::Duration;

use valkey_config::{Validate, settings};
use valkey_ratelimit::NodeId;
use valkit_service::LogFormat;

settings! {
    /// What concerns the node as a whole.
    #[derive(PartialEq)]
    pub struct IdentitySettings in [guard] {
        /// Name of this node among those that share the limits; the host's name unless set.
        #[optional_text("node name")]
        pub node_id: Option<NodeId>,
        /// How long running connections may go on after the wish to stop.
        pub drain_timeout: Duration = Duration::from_secs(30),
        /// What is logged: a level (`error`, `warn`, `info`, `debug`), or a filter as in `RUST_LOG`.
        pub log: String = "info".to_owned(),
        /// How it is logged: `text` or `json`, a line each.
        pub log_format: LogFormat = LogFormat::Text,
    }
}

impl Validate for IdentitySettings {}
