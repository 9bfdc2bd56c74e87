//! What an operator goes by: each alarm can be raised, and the runbook names all that it is raised for.

use std::collections::BTreeSet;
use std::time::Duration;

use freeipa_consumer::registration::Refusal;
use freeipa_consumer::state::Failure;
use serde_json::Value;
use tokio::time::sleep;
use valkey_envelope::DeadReason;
use valkey_testkit::{TestServer, eventually, soon};

use crate::people::{somebody, with};
use crate::program::Process;
use crate::scene::{Scene, get};

const ALERTS: &str = include_str!("../../../../docker/freeipa/alerts.yml");
const GUIDE: &str = include_str!("../../../../docs/freeipa.md");

async fn scrape(process: &Process) -> String {
    get(process.http, "/metrics").await.1
}

async fn ready(process: &Process) -> Value {
    serde_json::from_str(&get(process.http, "/readyz").await.1).unwrap()
}

async fn until_ready(process: &Process) {
    eventually("ready", async || (ready(process).await["status"] == "ready").then_some(())).await;
}

/// The metrics that alerts look at, each with what it asks of labels: `name`, and `reason`, `a|b`.
fn selectors() -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for at in ALERTS.match_indices("valkit_").map(|(at, _)| at) {
        let rest = &ALERTS[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap();
        let labels = rest[end..].strip_prefix('{').map_or("", |labels| labels.split_once('}').unwrap().0);
        let pairs = labels.split(',').filter(|label| !label.trim().is_empty()).map(|label| {
            let (name, values) = label.split_once('=').unwrap();
            (name.trim().to_owned(), values.trim_start_matches('~').trim_matches('"').to_owned())
        });
        found.push((rest[..end].to_owned(), pairs.collect()));
    }
    found
}

/// Whether the scrape has this series, with these labels among others.
fn has(scrape: &str, name: &str, labels: &[String]) -> bool {
    scrape.lines().any(|line| {
        let series = line.rsplit_once(' ').map_or("", |(series, _)| series);
        let (its_name, its_labels) = series.split_once('{').unwrap_or((series, ""));
        its_name == name && labels.iter().all(|label| its_labels.contains(label.as_str()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_just_started_has_all_that_alerts_look_at() {
    // Valkey is away: nothing has happened yet, and nothing can.
    let scene = Scene::set("[connection]\naddress = \"valkey://127.0.0.1:1\"\n").await;
    let process = Process::start(&scene).await;
    let scraped = scrape(&process).await;
    assert!(selectors().len() > 10);
    for (name, labels) in selectors() {
        assert!(has(&scraped, &name, &[]), "{name} is not in\n{scraped}");
        for (label, values) in &labels {
            for value in values.split('|') {
                let mut wanted: Vec<String> = labels
                    .iter()
                    .filter(|(other, _)| other != label)
                    .filter(|(_, values)| !values.contains('|'))
                    .map(|(label, value)| format!("{label}=\"{value}\""))
                    .collect();
                wanted.push(format!("{label}=\"{value}\""));
                assert!(has(&scraped, &name, &wanted), "{name} with {wanted:?} is not in\n{scraped}");
            }
        }
    }
    assert!(scraped.contains("valkit_freeipa_ready 0"), "{scraped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_described_and_every_threshold_can_be_passed() {
    let scene = Scene::new().await;
    let process = Process::start(&scene).await;
    scene.send(&somebody(42, "Ada")).await;
    scene.settled().await;
    let scraped = scrape(&process).await;
    assert!(scraped.contains("valkit_freeipa_ready 1"), "{scraped}");
    let named = |word: &str| -> BTreeSet<String> {
        let lines = scraped.lines().filter_map(|line| line.strip_prefix(word));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(named("# TYPE ").difference(&named("# HELP ")).collect::<Vec<_>>(), Vec::<&String>::new());

    let mut quantiles = 0;
    for expression in ALERTS.split("alert:").filter(|alert| alert.contains("histogram_quantile")) {
        let name = &expression[expression.find("valkit_").unwrap()..];
        let name = &name[..name.find('[').unwrap()];
        let threshold = expression
            .lines()
            .find_map(|line| line.rsplit_once(" > ").and_then(|(_, number)| number.parse::<f64>().ok()))
            .unwrap_or_else(|| panic!("no threshold in {expression}"));
        let last = scraped
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.split_once("le=\"")?.1.split_once('"')?.0.parse::<f64>().ok())
            .filter(|le| le.is_finite())
            .fold(0.0, f64::max);
        assert!(threshold < last, "{name} is never above {last}, and the threshold is {threshold}");
        quantiles += 1;
    }
    assert_eq!(quantiles, 1);
}

#[test]
fn the_runbook_names_every_reason_of_dead_letters() {
    let section = GUIDE.split_once("\n## Alerts\n").unwrap().1.split_once("\n## ").unwrap().0;
    let alerted: BTreeSet<String> = selectors()
        .into_iter()
        .flat_map(|(_, labels)| labels)
        .filter(|(label, _)| label == "reason")
        .flat_map(|(_, values)| values.split('|').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for reason in DeadReason::ALL {
        assert!(alerted.contains(reason.as_str()), "nobody hears of {reason}");
    }
    let engine = DeadReason::ALL.map(|reason| reason.as_str().to_owned());
    let own = Failure::ALL.map(|failure| failure.as_str().to_owned());
    let refused = Refusal::DEAD_REASONS.map(str::to_owned);
    for reason in engine.into_iter().chain(own).chain(refused) {
        let row = section.lines().find(|line| line.starts_with(&format!("| `{reason}` |")));
        let row = row.unwrap_or_else(|| panic!("{reason} is in no row"));
        assert_eq!(row.matches(" | ").count(), 4, "meaning, told, replay and what to do: {row}");
    }
    for reason in alerted {
        assert!(section.contains(&format!("| `{reason}` |")), "{reason} is in no row");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_is_seen_and_the_log_does_not_repeat_itself() {
    let server = TestServer::start().await.unwrap();
    let scene = Scene::set(&format!("[connection]\naddress = \"{}\"\n", server.url())).await;
    let process = Process::start(&scene).await;
    until_ready(&process).await;
    let started = async || process.logged("ready: registrations are taken");
    // The log comes by another way than the answer over HTTP.
    eventually("the line of the start", async || (!started().await.is_empty()).then_some(())).await;
    assert_eq!(started().await.len(), 1);
    assert!(process.logged("registrations are taken again").is_empty());
    assert!(scrape(&process).await.contains("valkit_freeipa_ready 1"));

    server.stop().await.unwrap();
    eventually("it is seen", async || (ready(&process).await["status"] == "unserved").then_some(())).await;
    assert_eq!(ready(&process).await["kind"], "store");
    assert!(scrape(&process).await.contains("valkit_freeipa_ready 0"));
    let complaints = async || process.logged("cannot give back what was held yet");
    soon("a complaint", async {
        while complaints().await.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(complaints().await.len(), 1, "{:?}", complaints().await);

    server.restart().await.unwrap();
    until_ready(&process).await;
    assert!(scrape(&process).await.contains("valkit_freeipa_ready 1"));
    let joined = async || process.logged("joined again");
    eventually("the line of the return", async || (!joined().await.is_empty()).then_some(())).await;
    assert_eq!(joined().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_from_the_start_is_seen_though_nobody_needs_it() {
    let scene = Scene::new().await;
    let servers = format!("ipa.example.test={},ipa2.example.test=127.0.0.1:1", scene.ipa.address());
    let scene = scene.but(&format!("[freeipa]\nservers = \"{servers}\"\n"));
    let process = Process::start(&scene).await;
    until_ready(&process).await;
    let of = |server: &str, well: u8| format!("valkit_freeipa_server_well{{server=\"{server}\"}} {well}");
    eventually("it is seen", async || {
        scrape(&process).await.contains(&of("ipa2.example.test", 0)).then_some(())
    })
    .await;
    // Longer than the client leaves one alone that is unwell.
    sleep(Duration::from_secs(11)).await;
    let scraped = scrape(&process).await;
    assert!(scraped.contains(&of("ipa2.example.test", 0)), "{scraped}");
    assert!(scraped.contains(&of("ipa.example.test", 1)), "{scraped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_taken_is_no_warning_of_the_directory() {
    let scene = Scene::new().await;
    let process = Process::start(&scene).await;
    for chat in 1..=2 {
        scene.send(&with(somebody(chat, "Ada"), "requested_login", "ada")).await;
        scene.settled().await;
    }
    assert_eq!(scene.reasons().await, ["login_taken"]);
    assert_eq!(process.logged("the directory did not do it"), Vec::<String>::new());
}
