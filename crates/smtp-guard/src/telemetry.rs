//! What is counted, and under which names. No address, no sender and no key is ever a label.
//!
//! Metrics go through the [`metrics`] facade, so whoever embeds this crate may install a recorder of his own.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use valkey_ratelimit::{Health, NodeId};

use crate::policy::Answer;

/// Connections and mail that a limit refused. Label: `node_id`. The name is that of existing dashboards.
pub(crate) const REJECTIONS_TOTAL: &str = "smtp_rate_limit_rejections_total";
/// Seconds that asking the limits took. The name is that of existing dashboards.
pub(crate) const CHECK_DURATION_SECONDS: &str = "valkey_check_duration_seconds";
/// Decisions, counted by `valkey-ratelimit`.
const DECISIONS_TOTAL: &str = "valkit_limit_decisions_total";
/// Requests that were not decided, counted by `valkey-ratelimit`.
const UNDECIDED_TOTAL: &str = "valkit_limit_undecided_total";
/// How the store does: see [`state`].
pub(crate) const LIMIT_STATE: &str = "valkit_limit_state";
/// Clients that connected.
pub(crate) const CONNECTIONS_TOTAL: &str = "valkit_smtp_connections_total";
/// Clients that are connected.
pub(crate) const CONNECTIONS: &str = "valkit_smtp_connections";
/// Clients that were sent away. Label: `reason`.
pub(crate) const REFUSALS_TOTAL: &str = "valkit_smtp_refusals_total";
/// Seconds that connections lasted that were passed on.
pub(crate) const SESSION_DURATION_SECONDS: &str = "valkit_smtp_session_duration_seconds";
/// What passed although a limit could not be asked. Label: `limit`.
pub(crate) const FALLBACKS_TOTAL: &str = "valkit_smtp_fallbacks_total";
/// Places in the cluster's limits that this node holds: two for each connection, one of all and one of its address.
pub(crate) const SLOTS_HELD: &str = "valkit_smtp_slots_held";
/// Questions of Postfix. Label: `answer` = `passed|uncounted|fallback|too_much_mail|too_many_recipients|unavailable`.
pub(crate) const POLICY_REQUESTS_TOTAL: &str = "valkit_policy_requests_total";
/// Connections of Postfix.
pub(crate) const POLICY_CONNECTIONS: &str = "valkit_policy_connections";
/// Connections of Postfix that were closed at once, since there were too many.
pub(crate) const POLICY_CONNECTIONS_REFUSED_TOTAL: &str = "valkit_policy_connections_refused_total";
/// Connections that were closed because what came was no question, or came too slowly.
pub(crate) const POLICY_BROKEN_TOTAL: &str = "valkit_policy_broken_total";

/// From a twentieth of a millisecond to a second.
const CHECK_BUCKETS: [f64; 14] =
    [50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 100e-3, 250e-3, 1.0];
const SESSION_BUCKETS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 900.0];
const OTHER_BUCKETS: [f64; 12] = [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// The label of [`REJECTIONS_TOTAL`]; the first node of a process, which has only one but in tests.
static NODE: OnceLock<String> = OnceLock::new();
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

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
    /// This process has no descriptor left for the connection to the mail server.
    Descriptors,
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
            Self::Descriptors => "descriptors",
            Self::Header => "header",
            Self::Backend => "backend",
            Self::Draining => "draining",
        }
    }

    /// Whether it is a limit that the cluster shares.
    fn is_a_limit(self) -> bool {
        matches!(self, Self::Connections | Self::ConnectionsPerIp | Self::Rate)
    }
}

/// The recorder of this process, installed when it is asked for first; none if somebody else has installed another.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    let install = || {
        let check = Matcher::Full(CHECK_DURATION_SECONDS.to_owned());
        let session = Matcher::Full(SESSION_DURATION_SECONDS.to_owned());
        // Buckets are refused when they are none, which these are not.
        let recorder = PrometheusBuilder::new()
            .set_buckets(&OTHER_BUCKETS)
            .and_then(|builder| builder.set_buckets_for_metric(check, &CHECK_BUCKETS))
            .and_then(|builder| builder.set_buckets_for_metric(session, &SESSION_BUCKETS))
            .ok()?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        describe();
        Some(handle)
    };
    RECORDER.get_or_init(install).as_ref()
}

/// Says who counts, and begins what existing dashboards know at zero: a series that is not there yet raises no alarm.
pub(crate) fn begin(node: &NodeId) {
    let node = NODE.get_or_init(|| node.to_string());
    counter!(REJECTIONS_TOTAL, "node_id" => &**node).absolute(0);
}

fn describe() {
    let seconds = |name, help| describe_histogram!(name, Unit::Seconds, help);
    let count = |name, help| describe_counter!(name, Unit::Count, help);
    let now = |name, help| describe_gauge!(name, Unit::Count, help);
    count(REJECTIONS_TOTAL, "Connections and mail that a limit refused");
    seconds(CHECK_DURATION_SECONDS, "Time from a question to the limits to its answer");
    count(DECISIONS_TOTAL, "Decisions, by limit, outcome and who decided");
    count(UNDECIDED_TOTAL, "Requests that were not decided, by limit and reason");
    now(
        LIMIT_STATE,
        "How the store does: 0 healthy, 1 degraded, 2 recovering, 3 half open, 4 open (not asked), 5 never reached yet",
    );
    count(CONNECTIONS_TOTAL, "SMTP clients that connected");
    now(CONNECTIONS, "SMTP clients that are connected");
    count(REFUSALS_TOTAL, "SMTP clients that were sent away, by reason");
    seconds(SESSION_DURATION_SECONDS, "Duration of connections that were passed on");
    count(FALLBACKS_TOTAL, "What passed although a limit could not be asked, by limit");
    now(SLOTS_HELD, "Places in the limits of connections that this node holds");
    count(POLICY_REQUESTS_TOTAL, "Questions of Postfix, by answer");
    now(POLICY_CONNECTIONS, "Connections of Postfix to the policy service");
    count(
        POLICY_CONNECTIONS_REFUSED_TOTAL,
        "Connections of Postfix closed at once, since there were too many",
    );
    count(POLICY_BROKEN_TOTAL, "Connections of Postfix closed because of what came over them");
}

/// A client has connected.
pub(crate) fn connection_accepted() {
    counter!(CONNECTIONS_TOTAL).increment(1);
    gauge!(CONNECTIONS).increment(1.0);
}

/// A client is gone, or was sent away; `passed` if it had been passed on.
pub(crate) fn connection_closed(lasted: Duration, passed: bool) {
    gauge!(CONNECTIONS).decrement(1.0);
    if passed {
        histogram!(SESSION_DURATION_SECONDS).record(lasted.as_secs_f64());
    }
}

/// A client was sent away.
pub(crate) fn connection_refused(reason: Refusal) {
    counter!(REFUSALS_TOTAL, "reason" => reason.as_str()).increment(1);
    if reason.is_a_limit() {
        rejected();
    }
}

/// Somebody passed although a limit could not be asked.
pub(crate) fn fallback(limit: &str) {
    counter!(FALLBACKS_TOTAL, "limit" => limit.to_owned()).increment(1);
}

/// How long it took to find out whether somebody may pass.
pub(crate) fn check_took(lasted: Duration) {
    histogram!(CHECK_DURATION_SECONDS).record(lasted.as_secs_f64());
}

fn rejected() {
    let node = NODE.get().map_or("", String::as_str);
    counter!(REJECTIONS_TOTAL, "node_id" => node).increment(1);
}

/// How the store does, as a number; none if it was never reached.
pub(crate) fn state(health: Option<Health>) {
    let number = match health {
        Some(Health::Healthy) => 0.0,
        Some(Health::Degraded) => 1.0,
        Some(Health::Recovering) => 2.0,
        Some(Health::HalfOpen) => 3.0,
        Some(_) => 4.0,
        None => 5.0,
    };
    gauge!(LIMIT_STATE).set(number);
}

/// Places in the limits of connections that are held.
pub(crate) fn slots_held(held: u64) {
    gauge!(SLOTS_HELD).set(held as f64);
}

/// A question of Postfix was answered.
pub(crate) fn policy_answered(answer: &Answer) {
    counter!(POLICY_REQUESTS_TOTAL, "answer" => answer.as_str()).increment(1);
    if matches!(answer, Answer::TooMuchMail(_) | Answer::TooManyRecipients(_)) {
        rejected();
    }
}

/// Postfix connects; counted as open until it is dropped.
pub(crate) fn policy_connection() -> impl Drop {
    struct Open;
    impl Drop for Open {
        fn drop(&mut self) {
            gauge!(POLICY_CONNECTIONS).decrement(1.0);
        }
    }
    gauge!(POLICY_CONNECTIONS).increment(1.0);
    Open
}

/// Postfix connected, and there was no place.
pub(crate) fn policy_connection_refused() {
    counter!(POLICY_CONNECTIONS_REFUSED_TOTAL).increment(1);
}

/// What came over a connection was no question, or came too slowly.
pub(crate) fn policy_broken() {
    counter!(POLICY_BROKEN_TOTAL).increment(1);
}
