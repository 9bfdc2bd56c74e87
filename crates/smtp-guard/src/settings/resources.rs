//! `[resources]`, as existing nodes have it.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use valkey_config::{Contradiction, ServerUrl, Validate, settings};
use valkey_ratelimit::Prefix;

settings! {
    /// The limits that all nodes share, and where they are kept. The names are those of existing nodes.
    #[derive(PartialEq)]
    pub struct ResourceSettings in [resources] {
        /// Connections at the same time, in the whole cluster.
        pub max_connections: NonZeroU32 = NonZeroU32::new(1_000).expect("not 0"),
        /// Connections at the same time from one address, in the whole cluster.
        pub max_connections_per_ip: NonZeroU32 = NonZeroU32::new(50).expect("not 0"),
        /// How long connecting to the mail server behind may take.
        pub connection_timeout: Duration = Duration::from_secs(30),
        /// How long a connection may last in all; 0s for as long as it likes.
        pub session_timeout: Duration = Duration::from_mins(5),
        /// How long a connection may say nothing, in both directions; 0s for as long as it likes.
        pub idle_timeout: Duration = Duration::from_mins(2),
        /// The window of `max_requests_per_window`.
        pub rate_limit_window: Duration = Duration::from_mins(1),
        /// Connections that one address may open in any window of that length, in the whole cluster.
        pub max_requests_per_window: NonZeroU64 = NonZeroU64::new(100).expect("not 0"),
        /// Where the limits are kept; `[connection]` says more, and is the place for a cluster or Sentinels.
        pub valkey_url: Option<ServerUrl>,
        /// What the keys of all limits begin with. The same on all nodes, or they do not share a limit.
        pub valkey_key_prefix: String = "elemta:ratelimit:".to_owned(),
    }
}

impl Validate for ResourceSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, field: &'static str, message: &str| {
            if wrong {
                found.push(Contradiction::new([field], message));
            }
        };
        refuse(self.connection_timeout.is_zero(), "connection_timeout", "zero is no time to connect in");
        refuse(
            self.rate_limit_window < Duration::from_secs(1),
            "rate_limit_window",
            "a window is at least 1s",
        );
        refuse(
            self.max_requests_per_window.get() > 10_000,
            "max_requests_per_window",
            "at most 10000: each request is kept in a sorted set, which then takes a megabyte for each address",
        );
        if let Err(invalid) = self.valkey_key_prefix.parse::<Prefix>() {
            refuse(true, "valkey_key_prefix", &invalid.to_string());
        }
        found
    }
}
