//! `[http]`: metrics and health.

use std::net::SocketAddr;

use valkey_config::{Validate, settings};

settings! {
    /// Metrics and health.
    #[derive(PartialEq)]
    pub struct HttpSettings in [http] {
        /// Where they are served. Unset: nowhere.
        #[env("HTTP_LISTEN")]
        pub listen: Option<SocketAddr>,
    }
}

impl Validate for HttpSettings {}
