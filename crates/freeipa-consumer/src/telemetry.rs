//! What is counted, and under which names. No id, no login and no person is ever a label.
//!
//! Metrics go through the [`metrics`] facade, so whoever embeds this crate may install a recorder of his own. Those of the queue
//! are counted by `valkey-receiver`, those of the connection by `valkey-connection`.

use std::sync::OnceLock;
use std::time::Duration;

use freeipa_client::{Class, Client, ServiceLogin};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use valkey_receiver::telemetry::{PAYLOAD_BYTES, TIME_IN_QUEUE_SECONDS};

use crate::park::TroubleKind;
use crate::registration::Refusal;
use crate::state::Failure;
use crate::status::Unreachable;

/// Runs that ended. Labels: `outcome` = `done|dead|retried|parked|snoozed|handed_back|nack|snooze`, `reason`.
const REGISTRATIONS_TOTAL: &str = "valkit_freeipa_registrations_total";
/// Seconds from taking a registration to its outcome. Label: `outcome`.
const REGISTRATION_DURATION_SECONDS: &str = "valkit_freeipa_registration_duration_seconds";
/// Registrations that are being worked on.
const IN_HAND: &str = "valkit_freeipa_registrations_in_hand";
/// Seconds of one step. Label: `step`.
const STEP_DURATION_SECONDS: &str = "valkit_freeipa_step_duration_seconds";
/// Calls to the directory that failed. Label: `class`.
const CALL_ERRORS_TOTAL: &str = "valkit_freeipa_call_errors_total";
/// 1 while `/readyz` says so.
const READY: &str = "valkit_freeipa_ready";
/// 1 while nothing is taken, or only to try whether it works again.
const PARKED: &str = "valkit_freeipa_parked";
/// Times that it was parked. Label: `kind`.
const TROUBLES_TOTAL: &str = "valkit_freeipa_troubles_total";
/// 1 while the directory rejects the service account.
const LOGIN_REJECTED: &str = "valkit_freeipa_service_login_rejected";
/// Logins of the service account that were not tried, or tried without asking. Label: `why` = `refused|spent|unasked`.
const LOGINS_HELD_BACK_TOTAL: &str = "valkit_freeipa_logins_held_back_total";
/// 1 for each server that answers and is given work, 0 for each other. Label: `server`.
const SERVER_WELL: &str = "valkit_freeipa_server_well";
/// Reports that were told. Label: `news`.
const REPORTS_TOTAL: &str = "valkit_freeipa_reports_total";
/// Applicants who could not be told. Label: `reason`.
const UNREPORTED_TOTAL: &str = "valkit_freeipa_unreported_total";
/// Things that the last check found wrong.
const FAULTS_FOUND: &str = "valkit_freeipa_check_faults";
/// Dead letters that were removed since their time was over.
const DEAD_LETTERS_PURGED_TOTAL: &str = "valkit_freeipa_dead_letters_purged_total";

/// From a hundredth of a second to some minutes; the shorter ones are those of the queue and the connection.
const BUCKETS: [f64; 16] =
    [1e-4, 1e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0];
/// Who waits in the queue may wait for hours; a quantile is never above the last bucket.
const WAITS: [f64; 14] =
    [1e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 180.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0];
const SIZES: [f64; 6] = [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 1_048_576.0];

/// How runs end besides with a dead letter: the outcome and its reason.
const ENDINGS: [(&str, &str); 8] = [
    ("done", "none"),
    ("handed_back", "none"),
    ("nack", "failed"),
    ("parked", "none"),
    ("retried", "none"),
    ("snooze", "overtaken"),
    ("snooze", "store"),
    ("snoozed", "none"),
];

/// Why a login was not simply tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldBack {
    /// Its password was refused before.
    Refused,
    /// Too many came to nothing.
    Spent,
    /// Of the last nobody knows what came of them.
    Unclear,
    /// Valkey could not be asked, and it was tried.
    Unasked,
}

impl HeldBack {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Spent => "spent",
            Self::Unclear => "unclear",
            Self::Unasked => "unasked",
        }
    }
}

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The recorder of this process, installed when it is asked for first; none if somebody else has installed another.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    let install = || {
        // Buckets are refused when they are none, which these are not.
        let recorder = builder().ok()?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        describe();
        begin();
        Some(handle)
    };
    RECORDER.get_or_init(install).as_ref()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let of = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets(&BUCKETS)?
        .set_buckets_for_metric(of(TIME_IN_QUEUE_SECONDS), &WAITS)?
        .set_buckets_for_metric(of(PAYLOAD_BYTES), &SIZES)
}

/// What alarms look at begins at zero: a series that is not there yet raises none, and its first event is no increase.
fn begin() {
    for (outcome, reason) in ENDINGS {
        counter!(REGISTRATIONS_TOTAL, "outcome" => outcome, "reason" => reason).absolute(0);
    }
    for reason in Failure::ALL.map(Failure::as_str).into_iter().chain(Refusal::DEAD_REASONS) {
        counter!(REGISTRATIONS_TOTAL, "outcome" => "dead", "reason" => reason).absolute(0);
    }
    for reason in Unreachable::ALL {
        counter!(UNREPORTED_TOTAL, "reason" => reason.as_str()).absolute(0);
    }
    gauge!(READY).set(0.0);
    gauge!(FAULTS_FOUND).set(0.0);
    for kind in TroubleKind::ALL {
        counter!(TROUBLES_TOTAL, "kind" => kind.as_str()).absolute(0);
    }
    gauge!(IN_HAND).set(0.0);
    gauge!(LOGIN_REJECTED).set(0.0);
    for why in [HeldBack::Refused, HeldBack::Spent, HeldBack::Unclear, HeldBack::Unasked] {
        counter!(LOGINS_HELD_BACK_TOTAL, "why" => why.as_str()).absolute(0);
    }
    counter!(DEAD_LETTERS_PURGED_TOTAL).absolute(0);
}

fn describe() {
    valkey_connection::telemetry::describe();
    valkey_receiver::telemetry::describe();
    let seconds = |name, help| describe_histogram!(name, Unit::Seconds, help);
    let count = |name, help| describe_counter!(name, Unit::Count, help);
    let now = |name, help| describe_gauge!(name, Unit::Count, help);
    count(REGISTRATIONS_TOTAL, "Runs of registrations that ended, by outcome and reason");
    seconds(REGISTRATION_DURATION_SECONDS, "Duration of runs of registrations, by outcome");
    now(IN_HAND, "Registrations that are being worked on");
    seconds(STEP_DURATION_SECONDS, "Duration of steps of registrations, by step");
    count(CALL_ERRORS_TOTAL, "Calls to the directory that failed, by class");
    now(READY, "1 while registrations are taken and the queue can be served, as /readyz says");
    now(PARKED, "1 while no registrations are taken since nobody could be served, or only to try");
    count(TROUBLES_TOTAL, "Times that taking registrations was stopped, by kind of trouble");
    now(LOGIN_REJECTED, "1 while the directory rejects the service account");
    count(
        LOGINS_HELD_BACK_TOTAL,
        "Logins of the service account that were not tried for what other processes met, or tried without asking, by why",
    );
    now(SERVER_WELL, "1 for each server of the directory that answers and is given work, 0 for each other");
    count(REPORTS_TOTAL, "Reports that applicants were told, by news");
    count(UNREPORTED_TOTAL, "Applicants who could not be told, by reason");
    now(FAULTS_FOUND, "Things that the last check of all that is depended on found wrong");
    count(DEAD_LETTERS_PURGED_TOTAL, "Dead letters removed because their retention was over");
}

/// A registration is worked on until what this gives is dropped.
pub(crate) fn in_hand() -> impl Drop {
    struct InHand;
    impl Drop for InHand {
        fn drop(&mut self) {
            gauge!(IN_HAND).decrement(1.0);
        }
    }
    gauge!(IN_HAND).increment(1.0);
    InHand
}

/// A run ended.
pub(crate) fn ended(outcome: &'static str, reason: &str, took: Duration) {
    counter!(REGISTRATIONS_TOTAL, "outcome" => outcome, "reason" => reason.to_owned()).increment(1);
    histogram!(REGISTRATION_DURATION_SECONDS, "outcome" => outcome).record(took.as_secs_f64());
}

/// A step was done, whatever came of it.
pub(crate) fn step(name: &'static str, took: Duration) {
    histogram!(STEP_DURATION_SECONDS, "step" => name).record(took.as_secs_f64());
}

/// A call to the directory failed.
pub(crate) fn call_failed(class: Class) {
    counter!(CALL_ERRORS_TOTAL, "class" => class.as_str()).increment(1);
}

/// Whether `/readyz` says so.
pub(crate) fn ready(is_ready: bool) {
    gauge!(READY).set(f64::from(u8::from(is_ready)));
}

/// Whether registrations are taken.
pub(crate) fn parked(is_parked: bool) {
    gauge!(PARKED).set(f64::from(u8::from(is_parked)));
}

/// Trouble began.
pub(crate) fn trouble(kind: TroubleKind) {
    counter!(TROUBLES_TOTAL, "kind" => kind.as_str()).increment(1);
}

/// How the client of the directory stands.
pub(crate) fn directory(client: &Client) {
    let is_rejected = matches!(client.service_login(), ServiceLogin::Rejected { .. });
    gauge!(LOGIN_REJECTED).set(f64::from(u8::from(is_rejected)));
    for server in client.status() {
        gauge!(SERVER_WELL, "server" => server.name)
            .set(f64::from(u8::from(server.is_well && server.answers)));
    }
}

/// A login of the service account was not tried, or tried without knowing what others met.
pub(crate) fn login_held_back(why: HeldBack) {
    counter!(LOGINS_HELD_BACK_TOTAL, "why" => why.as_str()).increment(1);
}

/// An applicant was told.
pub(crate) fn told(news: &'static str) {
    counter!(REPORTS_TOTAL, "news" => news).increment(1);
}

/// An applicant could not be told.
pub(crate) fn unreported(why: Unreachable) {
    counter!(UNREPORTED_TOTAL, "reason" => why.as_str()).increment(1);
}

/// How many things the last check found wrong.
pub(crate) fn faults_found(faults: usize) {
    gauge!(FAULTS_FOUND).set(faults as f64);
}

/// Dead letters were removed.
pub(crate) fn purged(dead_letters: u64) {
    counter!(DEAD_LETTERS_PURGED_TOTAL).increment(dead_letters);
}
