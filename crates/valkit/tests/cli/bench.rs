//! `valkit bench limit`

use serde_json::Value;
use valkey_testkit::{TestServer, eventually};

use crate::support::valkit;

/// The figures of a busy machine say nothing; what is exact is exact on any.
#[tokio::test]
async fn the_bench_of_limits_measures_everything_and_leaves_nothing_behind() {
    let server = TestServer::start().await.unwrap();
    let mut program = valkit(&["bench", "limit", "--quick", "-o", "json"]);
    program.env("VALKEY_URL", server.url()).env("VALKEY_READ_TIMEOUT", "30s");
    let done = program.assert().success();
    let report: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    let all = |name: &str| report[name].as_array().unwrap().clone();
    let figure = |line: &Value, name: &str| line[name].as_f64().unwrap_or(f64::NAN);

    let rows = all("rows");
    assert!(rows.len() > 30);
    for row in &rows {
        let denied = row["row"].as_str().unwrap().contains("denied");
        assert!(figure(row, "checks_a_second") > 0.0 && figure(row, "p99_us") > 0.0, "{row}");
        assert!(figure(row, "admitted") <= 0.0 || !denied, "{row}");
        assert!(figure(row, "admitted") >= 0.99 || denied, "{row}");
    }
    assert!(all("light_load").iter().all(|line| figure(line, "p50_us") > 0.0));
    assert!(all("bytes_a_key").iter().all(|line| figure(line, "after_1") > 0.0));
    let admission = all("admission");
    assert!(
        admission.iter().all(|line| line["admitted"].as_u64() >= line["at_least"].as_u64()),
        "{admission:?}"
    );
    let nodes = all("nodes");
    assert!(!nodes.is_empty() && nodes.iter().all(|line| line["admitted"] == line["limit"]), "{nodes:?}");
    for check in all("checks").iter().filter(|check| check["what"].as_str().unwrap().contains("admitted")) {
        assert_eq!(check["holds"], true, "{check}");
    }

    // What is not removed expires with its window.
    eventually("an empty store", async || {
        (server.cli(&["DBSIZE"]).await.unwrap().trim() == "0").then_some(())
    })
    .await;
}
