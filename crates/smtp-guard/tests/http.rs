//! Metrics and health as a scraper and a balancer see them.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smtp_guard::settings::Listen;
use smtp_guard::{Guard, GuardSettings, Shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use valkey_config::Sources;
use valkey_testkit::{TestServer, eventually, unique_name};

async fn guard(url: &str, more: &str) -> Guard {
    let text = format!(
        "[resources]\nvalkey_url = \"{url}\"\nvalkey_key_prefix = \"{}:\"\n[guard]\nnode_id = \"mx1\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[policy]\nlisten = \"127.0.0.1:0\"\n\
         [policy.limits.client-day]\nper = \"client\"\nquota = \"1/10day\"\n{more}",
        unique_name("http")
    );
    let sources = Sources::new("SMTP_GUARD_").toml_text("guard.toml", text);
    Guard::bind(GuardSettings::from_sources(&sources).unwrap().0).await.unwrap()
}

/// The head and the body of an answer.
async fn request(address: SocketAddr, line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn ask(address: &Listen, instance: &str) -> String {
    let Listen::Tcp(address) = address else { panic!("{address} is no address") };
    let mut postfix = TcpStream::connect(address).await.unwrap();
    let question = format!(
        "request=smtpd_access_policy\nprotocol_state=RCPT\ninstance={instance}\nclient_address=192.0.2.7\n\
         sender=ada@example.org\nrecipient=bob@example.net\n\n"
    );
    postfix.write_all(question.as_bytes()).await.unwrap();
    let mut answer = vec![0; 200];
    let length = postfix.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_has_the_names_of_dashboards_and_no_address_of_anybody() {
    let server = TestServer::shared().await;
    let guard = guard(&server.url(), "[gate]\nlisten = []\n").await;
    eventually("the store", async || guard.store().probe().await.ok()).await;
    let (http, policy) = (guard.http_address().unwrap(), guard.policy_addresses().remove(0));
    let shutdown = Shutdown::new();
    let running = tokio::spawn(guard.run(shutdown.clone()));

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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_store_is_ready_unless_its_gate_needs_it() {
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("valkey://{}", free.local_addr().unwrap());
    drop(free);
    for (gate, code, status) in [
        ("[gate]\nlisten = []\n", "200", "ready"),
        ("[gate]\nlisten = \"127.0.0.1:0\"\n", "200", "ready"),
        ("[gate]\nlisten = \"127.0.0.1:0\"\non_unavailable = \"deny\"\n", "503", "unavailable"),
    ] {
        let guard = guard(&url, gate).await;
        let http = guard.http_address().unwrap();
        let running = tokio::spawn(guard.run(Shutdown::new()));
        let (head, body) = request(http, "GET /readyz").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{head}");
        assert!(body.contains(&format!("\"status\":\"{status}\",\"degraded\":true")), "{body}");
        assert!(request(http, "GET /healthz").await.0.starts_with("HTTP/1.1 200 "));
        running.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_says_so_and_who_says_nothing_is_closed() {
    let server = TestServer::shared().await;
    let guard = guard(&server.url(), "[gate]\nlisten = []\n").await;
    let (http, policy) = (guard.http_address().unwrap(), guard.policy_addresses().remove(0));
    let shutdown = Shutdown::new();
    let running = tokio::spawn(guard.run(shutdown.clone()));
    let begun = Instant::now();
    let mut silent = TcpStream::connect(http).await.unwrap();
    assert_eq!(silent.read(&mut [0; 9]).await.unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // A question that has begun is waited for.
    let Listen::Tcp(address) = policy else { panic!("{policy} is no address") };
    let mut postfix = TcpStream::connect(address).await.unwrap();
    postfix.write_all(b"request=smtpd_access_policy\n").await.unwrap();
    // It has arrived when the next one, which came later, is answered.
    assert_eq!(ask(&Listen::Tcp(address), "a").await, "action=DUNNO\n\n");
    shutdown.drain();
    eventually("it drains", async || {
        request(http, "GET /readyz").await.1.contains("\"status\":\"draining\"").then_some(())
    })
    .await;
    assert!(request(http, "GET /readyz").await.0.starts_with("HTTP/1.1 503 "));
    postfix.write_all(b"\n").await.unwrap();
    let mut answer = String::new();
    postfix.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "action=DUNNO\n\n");
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}
