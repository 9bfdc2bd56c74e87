//! What docs/freeipa.md and docker/freeipa show is what the consumer understands.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use freeipa_consumer::registration::{Field, FieldMap, UserRegistrationData};
use freeipa_consumer::settings::Settings;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_shipped_settings_are_accepted_and_nothing_in_them_is_unknown() {
    let dir = std::env::temp_dir().join(format!("valkit-freeipa-settings-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut text = read("docker/freeipa/consumer.toml");
    for secret in ["service-password", "bot-token"] {
        std::fs::write(dir.join(secret), "110201543:not-a-secret").unwrap();
        let mounted = format!("/run/secrets/{secret}");
        assert!(text.contains(&mounted), "{secret}");
        text = text.replace(&mounted, dir.join(secret).to_str().unwrap());
    }
    let file = dir.join("consumer.toml");
    std::fs::write(&file, text).unwrap();
    let (settings, notices) = Settings::load(Some(file), []).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(settings.freeipa.servers.len(), 2);
}

#[test]
fn the_message_on_the_page_is_understood_whole() {
    let page = read("docs/freeipa.md");
    let message = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let data = UserRegistrationData::parse(message.as_bytes(), &FieldMap::default()).unwrap();
    // A count of 0 is none.
    for field in Field::ALL.into_iter().filter(|field| *field != Field::Attempt) {
        assert!(data.has(field), "{field}");
    }
    assert!(data.extra.is_empty() && data.telegram.extra.is_empty());
}

/// Names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split(|c| !is_part(c)).filter(|word| word.starts_with("valkit_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name)).collect()
}

#[test]
fn alerts_and_the_page_name_metrics_and_alerts_that_exist() {
    let sources =
        ["crates/freeipa-consumer/src/telemetry.rs", "crates/valkey-receiver/src/telemetry.rs"].map(read);
    let known = sources.concat();
    let (alerts, page) = (read("docker/freeipa/alerts.yml"), read("docs/freeipa.md"));
    let named: BTreeSet<&str> = metrics(&alerts).union(&metrics(&page)).copied().collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(known.contains(&format!("\"{name}\"")), "nobody counts {name}");
    }
    let rules = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let runbook = page.split("## Alerts").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for rule in rules {
        assert!(runbook.contains(&format!("| `{rule}` |")), "nobody says what to do about {rule}");
    }
}

#[test]
fn reasons_in_alerts_and_on_the_page_are_those_of_the_consumer_and_the_queue() {
    let (alerts, page) = (read("docker/freeipa/alerts.yml"), read("docs/freeipa.md"));
    let sources = [
        "crates/freeipa-consumer/src/state/words.rs",
        "crates/freeipa-consumer/src/registration/refusal.rs",
        "crates/valkey-envelope/src/dead.rs",
    ];
    let known = sources.map(read).concat();
    let in_alerts = alerts
        .split("reason=")
        .skip(1)
        .filter_map(|rest| rest.trim_start_matches('~').split('"').nth(1))
        .flat_map(|reasons| reasons.split('|'));
    let in_page = page.split("--reason ").skip(1).filter_map(|rest| rest.split([' ', '`', '\n']).next());
    let reasons: BTreeSet<&str> = in_alerts.chain(in_page).filter(|reason| *reason != "REASON").collect();
    assert!(reasons.len() >= 6, "{reasons:?}");
    for reason in reasons {
        assert!(known.contains(&format!("\"{reason}\"")), "no dead letter has the reason {reason}");
    }
}
