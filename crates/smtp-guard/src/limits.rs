//! What the gate asks of `valkey-ratelimit`, as one question with one answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use valkey_ratelimit::{Algorithm, Decision, Quota, Rule, Subject};

use crate::guard::GuardError;
use crate::settings::{GuardSettings, OnUnavailable};
use crate::store::Store;

/// The limits of the gate. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    per_ip: Rule,
    ipv6_prefix: u8,
    on_unavailable: OnUnavailable,
}

/// What becomes of a client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Admission {
    /// It may pass.
    Admitted,
    /// It may not.
    Refused {
        /// After how long it may be worth another try.
        retry_after: Duration,
    },
    /// The limits could not be asked, and it passes nevertheless.
    Unchecked,
    /// The limits could not be asked, and nobody passes then.
    Unavailable,
}

impl Limits {
    /// The limits that the settings describe.
    ///
    /// # Errors
    /// They are none that can be asked.
    pub fn new(settings: &GuardSettings, store: Store) -> Result<Self, GuardError> {
        let resources = &settings.resources;
        let wrong = |error: &dyn std::fmt::Display| GuardError::Limits(error.to_string());
        let quota = Quota::new(resources.max_requests_per_window.get(), resources.rate_limit_window)
            .map_err(|error| wrong(&error))?;
        let name = "ip".parse().map_err(|error| wrong(&error))?;
        let per_ip = Rule::new(name, quota)
            .with_algorithm(Algorithm::SlidingLog)
            .with_prefix(&resources.valkey_key_prefix);
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                per_ip,
                ipv6_prefix: settings.gate.ipv6_prefix,
                on_unavailable: settings.gate.on_unavailable,
            }),
        })
    }

    /// Asks whether a client may pass.
    pub async fn admit(&self, client: IpAddr) -> Admission {
        let Inner { store, per_ip, ipv6_prefix, on_unavailable } = &*self.inner;
        let client = client.to_canonical();
        let subject =
            if client.is_ipv6() { Subject::network(client, *ipv6_prefix) } else { Subject::ip(client) };
        let decision = match store.limiter() {
            Some(limiter) => limiter.check(per_ip, &subject, 1).await.ok(),
            None => None,
        };
        match (decision, on_unavailable) {
            (Some(Decision::Allowed(_)), _) => Admission::Admitted,
            (Some(Decision::Denied(denied)), _) => Admission::Refused { retry_after: denied.retry_after },
            (None, OnUnavailable::Allow) => Admission::Unchecked,
            (None, OnUnavailable::Deny) => Admission::Unavailable,
        }
    }
}
