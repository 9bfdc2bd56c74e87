//! What is counted, and under which names. No address and no sender is ever a label.

use std::time::Duration;

/// Why a connection was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// `max_connections` of the whole cluster are held.
    Connections,
    /// `max_connections_per_ip` of its address are held.
    ConnectionsPerIp,
    /// Its address opened too many in the window.
    Rate,
    /// The store was away, and the rule says that nobody passes then.
    Unavailable,
    /// This process holds as many as it may.
    Local,
    /// The balancer's PROXY header was none, or late.
    Header,
    /// The mail server behind could not be reached.
    Backend,
    /// This node is about to end.
    Draining,
}

impl Refusal {
    /// As it stands in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::Rate => "rate",
            Self::Unavailable => "unavailable",
            Self::Local => "local",
            Self::Header => "header",
            Self::Backend => "backend",
            Self::Draining => "draining",
        }
    }
}

/// A client has connected.
pub(crate) fn connection_accepted() {
    metrics::counter!("smtp_guard_connections_total").increment(1);
    metrics::gauge!("smtp_guard_connections").increment(1.0);
}

/// A client is gone, or was sent away; `passed` if it had been passed on.
pub(crate) fn connection_closed(lasted: Duration, passed: bool) {
    metrics::gauge!("smtp_guard_connections").decrement(1.0);
    if passed {
        metrics::histogram!("smtp_guard_session_duration_seconds").record(lasted.as_secs_f64());
    }
}

/// A client was sent away.
pub(crate) fn connection_refused(reason: Refusal) {
    metrics::counter!("smtp_guard_refusals_total", "reason" => reason.as_str()).increment(1);
}

/// Somebody passed although a limit could not be asked.
pub(crate) fn fallback(limit: &'static str) {
    metrics::counter!("smtp_guard_fallbacks_total", "limit" => limit).increment(1);
}

/// How long it took to find out whether somebody may pass.
pub(crate) fn check_took(lasted: Duration) {
    metrics::histogram!("valkey_check_duration_seconds").record(lasted.as_secs_f64());
}
