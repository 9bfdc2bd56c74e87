//! Names of metrics and the few places that record them.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::breaker::BreakerState;
use crate::error::Error;

/// Histogram, seconds, label `op`: command or script name. From the call to its result, queueing included.
pub const STORE_COMMAND_DURATION: &str = "valkit_store_command_duration_seconds";
/// Counter, label `class`: see [`ErrorKind::as_str`](crate::ErrorKind::as_str).
pub const STORE_ERRORS: &str = "valkit_store_errors_total";
/// Counter, label `cause`: `lost` (reconnected in place, or by way of the Sentinels), `watchdog` (a client that did not answer was replaced),
/// `role_change`, `auth`, `dedicated` and `listener` (theirs are always replaced).
pub const STORE_RECONNECTS: &str = "valkit_store_reconnects_total";
/// Counter: scripts sent in full because the server had forgotten them.
pub const SCRIPT_RELOADS: &str = "valkit_script_reloads_total";
/// Counter, label `to`: state changes of the circuit breaker.
pub const BREAKER_CHANGES: &str = "valkit_breaker_state_changes_total";
/// Counter: calls refused by an open circuit breaker.
pub const BREAKER_REFUSED: &str = "valkit_breaker_refused_total";

/// Tells the installed recorder what the metrics of this crate mean.
pub fn describe() {
    describe_histogram!(
        STORE_COMMAND_DURATION,
        Unit::Seconds,
        "From calls to their results, by command or script"
    );
    describe_counter!(STORE_ERRORS, Unit::Count, "Calls that failed, by class");
    describe_counter!(STORE_RECONNECTS, Unit::Count, "Connections made anew, by cause");
    describe_counter!(
        SCRIPT_RELOADS,
        Unit::Count,
        "Scripts sent in full because the server had forgotten them"
    );
    describe_counter!(
        BREAKER_CHANGES,
        Unit::Count,
        "Changes of the circuit breaker's state, by the new state"
    );
    describe_counter!(BREAKER_REFUSED, Unit::Count, "Calls refused by an open circuit breaker");
}

pub(crate) fn command_finished(op: &'static str, took: Duration, error: Option<&Error>) {
    histogram!(STORE_COMMAND_DURATION, "op" => op).record(took.as_secs_f64());
    if let Some(error) = error {
        store_error(error);
    }
}

pub(crate) fn store_error(error: &Error) {
    counter!(STORE_ERRORS, "class" => error.kind().as_str()).increment(1);
}

pub(crate) fn reconnected(cause: &'static str) {
    counter!(STORE_RECONNECTS, "cause" => cause).increment(1);
}

pub(crate) fn script_reloaded(name: &'static str) {
    tracing::debug!(script = name, "the server had forgotten a script; sent it again");
    counter!(SCRIPT_RELOADS).increment(1);
}

pub(crate) fn breaker_refused() {
    counter!(BREAKER_REFUSED).increment(1);
}

pub(crate) fn breaker_changed(from: BreakerState, to: BreakerState) {
    counter!(BREAKER_CHANGES, "to" => to.as_str()).increment(1);
    if to == BreakerState::Open {
        tracing::warn!(
            from = from.as_str(),
            "circuit breaker opened: the store fails, sends are refused for a while"
        );
    } else {
        tracing::info!(from = from.as_str(), to = to.as_str(), "circuit breaker changed state");
    }
}
