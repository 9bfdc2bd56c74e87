//! `[guard]`: what concerns the node as a whole.

use std::time::Duration;

use valkey_config::{Invalid, Raw, Setting, Validate, settings};

use valkey_ratelimit::NodeId;

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

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    fn type_name() -> String {
        "`text` or `json`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}
