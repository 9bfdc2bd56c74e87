//! `[http]`: metrics and health.

use std::net::SocketAddr;

use valkey_config::{Validate, settings};

settings! {
    /// Metrics and health.
    #[derive(PartialEq)]
    pub struct HttpSettings in [http] {
        /// Where `/metrics`, `/healthz` and `/readyz` are served, to whoever can connect: it should not be the whole world.
        /// Unset: nowhere.
        #[env("HTTP_LISTEN")]
        pub listen: Option<SocketAddr>,
    }
}

impl Validate for HttpSettings {}
