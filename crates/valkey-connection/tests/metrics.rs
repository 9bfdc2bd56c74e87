//! What is counted.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use support::{brisk, llen, lpush, until_ok};
use valkey_connection::{Command, Connection, Script, telemetry};
use valkey_testkit::{FaultProxy, TestServer};

static ONE: Script = Script::new("one", "return 1");

/// `name{label="value"}` -> count.
fn counts(snapshotter: &Snapshotter) -> HashMap<String, u64> {
    let mut all = HashMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => continue,
        };
        *all.entry(format!("{}{{{}}}", key.key().name(), labels.join(","))).or_default() += count;
    }
    all
}

// One thread, so that the recorder of this thread sees everything.
#[tokio::test(flavor = "current_thread")]
async fn commands_errors_reconnects_and_reloads_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let connection = Connection::connect(&brisk(&format!("valkey://{}", proxy.address()))).await.unwrap();

    connection.execute(lpush("q", "x")).await.unwrap();
    connection.execute(Command::new("GET").key("q")).await.unwrap_err();
    connection.invoke(ONE.call()).await.unwrap();
    connection.invoke(ONE.call()).await.unwrap();
    let seen = counts(&snapshotter);
    assert_eq!(seen[&format!("{}{{op=LPUSH}}", telemetry::STORE_COMMAND_DURATION)], 1);
    assert_eq!(
        seen[&format!("{}{{op=one}}", telemetry::STORE_COMMAND_DURATION)],
        3,
        "by hash, in full, by hash"
    );
    assert_eq!(seen[&format!("{}{{class=wrong_type}}", telemetry::STORE_ERRORS)], 1);
    assert_eq!(seen[&format!("{}{{}}", telemetry::SCRIPT_RELOADS)], 1);

    proxy.drop_connections();
    until_ok(Duration::from_secs(5), || connection.execute(llen("q"))).await;
    let mut reconnects = 0;
    support::until(Duration::from_secs(5), "the reconnect is counted", || {
        let seen = counts(&snapshotter);
        reconnects += seen
            .iter()
            .filter(|(name, _)| name.starts_with(telemetry::STORE_RECONNECTS))
            .map(|(_, count)| count)
            .sum::<u64>();
        reconnects > 0
    })
    .await;
}
