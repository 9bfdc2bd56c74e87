//! `[policy]`: the policy service.

use std::net::SocketAddr;

use valkey_config::{CsvList, Validate, settings};

settings! {
    /// The policy service for Postfix.
    #[derive(PartialEq)]
    pub struct PolicySettings in [policy] {
        /// Where Postfix asks, one or several addresses with port. Empty: no policy service.
        #[env("POLICY_LISTEN")]
        pub listen: CsvList<SocketAddr>,
    }
}

impl Validate for PolicySettings {}
