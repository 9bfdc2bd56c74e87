//! Metrics as a scraper sees them. One test alone: the metrics of a process are those of all its nodes.
#![allow(clippy::unwrap_used)]

mod web;

use std::time::Duration;

use smtp_guard::Shutdown;
use valkey_testkit::{TestServer, eventually};

use crate::web::{ask, guard, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_has_the_names_of_dashboards_and_no_address_of_anybody() {
    let server = TestServer::shared().await;
    let guard = guard(&server.url(), "listen = []\n").await;
    eventually("the store", async || guard.store().probe().await.ok()).await;
    let (http, policy) = (guard.http_address().unwrap(), guard.policy_addresses().remove(0));
    let shutdown = Shutdown::new();
    let told = shutdown.clone();
    let running = tokio::spawn(async move { guard.run(told).await.unwrap() });

    let before = request(http, "GET /metrics").await.1;
    assert!(before.contains("smtp_rate_limit_rejections_total{node_id=\"mx1\"} 0\n"), "{before}");
    assert_eq!(ask(&policy, "a").await, "action=DUNNO\n\n");
    assert!(ask(&policy, "b").await.starts_with("action=450 4.7.1 "));
    let (head, body) = request(http, "GET /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "smtp_rate_limit_rejections_total{node_id=\"mx1\"} 1\n",
        "valkey_check_duration_seconds_bucket{le=\"0.00005\"} ",
        "valkey_check_duration_seconds_bucket{le=\"1\"} 2\n",
        "valkey_check_duration_seconds_count 2\n",
        "valkit_limit_decisions_total{rule=\"client-day\",outcome=\"allowed\",source=\"store\"} 1\n",
        "valkit_policy_requests_total{answer=\"passed\"} 1\n",
        "valkit_policy_requests_total{answer=\"too_much_mail\"} 1\n",
        "valkit_policy_connections ",
        "valkit_limit_state 0\n",
        "# HELP valkey_check_duration_seconds ",
        "# TYPE valkey_check_duration_seconds histogram",
        "# HELP valkit_limit_state How the store does: 0 healthy",
    ] {
        assert!(body.contains(line), "{line} is missing in:\n{body}");
    }
    for secret in ["192.0.2.7", "example.org", "example.net"] {
        assert!(!body.contains(secret), "{secret} is in:\n{body}");
    }

    assert_eq!(request(http, "GET /healthz").await.1, "ok\n");
    let (head, body) = request(http, "GET /readyz").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "{\"status\":\"ready\",\"degraded\":false,\"node\":\"mx1\",\"store\":\"healthy\"}");
    assert!(request(http, "GET /secrets").await.0.starts_with("HTTP/1.1 404 "));
    assert!(request(http, "POST /metrics").await.0.starts_with("HTTP/1.1 405 "));
    assert_eq!(request(http, "HEAD /healthz").await.1, "");
    shutdown.drain();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}
